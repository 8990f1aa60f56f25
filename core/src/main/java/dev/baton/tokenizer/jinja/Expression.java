package dev.baton.tokenizer.jinja;

import java.util.List;
import java.util.Optional;

/// An expression of a template, as parsed. Immutable.
sealed interface Expression {
    record Literal(Object value) implements Expression {}

    record Name(String name) implements Expression {}

    record ListOf(List<Expression> items) implements Expression {}

    record TupleOf(List<Expression> items) implements Expression {}

    record DictOf(List<Entry> entries) implements Expression {}

    record Entry(Expression key, Expression value) {}

    record Attribute(Expression object, String name, int line) implements Expression {}

    record Item(Expression object, Expression key, int line) implements Expression {}

    record Slice(
            Expression object,
            Optional<Expression> start,
            Optional<Expression> stop,
            Optional<Expression> step,
            int line)
            implements Expression {}

    record Call(Expression callee, CallArguments arguments, int line) implements Expression {}

    /// `value | name(arguments)`; without a value it is the head of a filter block, which brings its own.
    record Filter(Optional<Expression> value, String name, CallArguments arguments, int line) implements Expression {}

    record Test(Expression value, String name, CallArguments arguments, int line) implements Expression {}

    record Not(Expression value) implements Expression {}

    record And(Expression left, Expression right) implements Expression {}

    record Or(Expression left, Expression right) implements Expression {}

    record Sign(char sign, Expression value) implements Expression {}

    record Arithmetic(String operator, Expression left, Expression right, int line) implements Expression {}

    /// `first op1 a op2 b ...`, chained as in Python.
    record Comparison(Expression first, List<Comparand> rest, int line) implements Expression {}

    record Comparand(String operator, Expression value) {}

    record Concat(List<Expression> parts) implements Expression {}

    record Conditional(Expression condition, Expression then, Optional<Expression> otherwise) implements Expression {}

    /// The arguments of a call, as written.
    record CallArguments(
            List<Expression> positional,
            List<Keyword> named,
            Optional<Expression> unpackedList,
            Optional<Expression> unpackedDict) {
        static final CallArguments NONE = new CallArguments(List.of(), List.of(), Optional.empty(), Optional.empty());
    }

    record Keyword(String name, Expression value) {}
}
