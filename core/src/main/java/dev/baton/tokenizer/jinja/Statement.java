package dev.baton.tokenizer.jinja;

import java.util.List;
import java.util.Optional;

/// A statement of a template, as parsed. Immutable.
sealed interface Statement {
    record Data(String text) implements Statement {}

    record Output(Expression value, int line) implements Statement {}

    record If(List<Branch> branches, List<Statement> otherwise, int line) implements Statement {}

    record Branch(Expression condition, List<Statement> body) {}

    record For(
            Target target,
            Expression values,
            Optional<Expression> condition,
            List<Statement> body,
            List<Statement> otherwise,
            int line)
            implements Statement {}

    record Set(Target target, Expression value, int line) implements Statement {}

    record SetBlock(Target target, Optional<Expression.Filter> filter, List<Statement> body, int line)
            implements Statement {}

    record Macro(Signature signature, int line) implements Statement {}

    /// `{% call(parameters) callee(...) %} body {% endcall %}`.
    record CallBlock(Expression.Call call, Signature caller, int line) implements Statement {}

    record FilterBlock(Expression.Filter filter, List<Statement> body, int line) implements Statement {}

    record With(List<Assignment> assignments, List<Statement> body, int line) implements Statement {}

    record Assignment(Target target, Expression value) {}

    /// `{% generation %}`: prints its body; only training looks at where it stands.
    record Generation(List<Statement> body, int line) implements Statement {}

    record Break(int line) implements Statement {}

    record Continue(int line) implements Statement {}

    /// What a macro or a call block's body takes, and its body.
    ///
    /// @param takesVarargs the body names `varargs`, so that surplus positional arguments are welcome
    /// @param takesKwargs the body names `kwargs`
    /// @param takesCaller the body names `caller`
    record Signature(
            String name,
            List<Parameter> parameters,
            List<Statement> body,
            boolean takesVarargs,
            boolean takesKwargs,
            boolean takesCaller) {}

    record Parameter(String name, Optional<Expression> fallback) {}

    /// What an assignment writes to.
    sealed interface Target {
        record Variable(String name) implements Target {}

        record NamespaceAttribute(String namespace, String attribute) implements Target {}

        record Unpacked(List<Target> targets) implements Target {}
    }
}
