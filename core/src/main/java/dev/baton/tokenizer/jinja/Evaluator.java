package dev.baton.tokenizer.jinja;

import dev.baton.tokenizer.jinja.Expression.CallArguments;
import dev.baton.tokenizer.jinja.Statement.Target;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/// One rendering of a template: walks its statements and collects the text. One use, one thread.
final class Evaluator {
    /// What a statement does to the loop around it.
    private enum Flow {
        ON,
        BREAK,
        CONTINUE
    }

    private StringBuilder out = new StringBuilder();
    private Scope scope;

    Evaluator(Scope scope) {
        this.scope = scope;
    }

    String render(List<Statement> statements) {
        run(statements);
        return out.toString();
    }

    private Flow run(List<Statement> statements) {
        for (Statement statement : statements) {
            Flow flow = run(statement);
            if (flow != Flow.ON) {
                return flow;
            }
        }
        return Flow.ON;
    }

    private Flow run(Statement statement) {
        try {
            switch (statement) {
                case Statement.Data data -> out.append(data.text());
                case Statement.Output output -> out.append(Repr.str(evaluate(output.value())));
                case Statement.If choice -> {
                    return runIf(choice);
                }
                case Statement.For loop -> runFor(loop);
                case Statement.Set set -> assign(set.target(), evaluate(set.value()));
                case Statement.SetBlock set -> assign(set.target(), filtered(set.filter(), set.body()));
                case Statement.FilterBlock block ->
                    out.append(Repr.str(filtered(Optional.of(block.filter()), block.body())));
                case Statement.Macro macro ->
                    scope.set(macro.signature().name(), new Macro(macro.signature(), scope, this));
                case Statement.CallBlock block -> runCall(block);
                case Statement.With with -> runWith(with);
                case Statement.Generation generation -> out.append(capture(generation.body(), new Scope(scope)));
                case Statement.Break end -> {
                    return Flow.BREAK;
                }
                case Statement.Continue next -> {
                    return Flow.CONTINUE;
                }
            }
            return Flow.ON;
        } catch (JinjaException e) {
            throw e.at(line(statement));
        } catch (ArithmeticException e) {
            throw new JinjaException("a number is too large: " + e.getMessage(), line(statement));
        }
    }

    private static int line(Statement statement) {
        return switch (statement) {
            case Statement.Data data -> 0;
            case Statement.Output s -> s.line();
            case Statement.If s -> s.line();
            case Statement.For s -> s.line();
            case Statement.Set s -> s.line();
            case Statement.SetBlock s -> s.line();
            case Statement.FilterBlock s -> s.line();
            case Statement.Macro s -> s.line();
            case Statement.CallBlock s -> s.line();
            case Statement.With s -> s.line();
            case Statement.Generation s -> s.line();
            case Statement.Break s -> s.line();
            case Statement.Continue s -> s.line();
        };
    }

    private Flow runIf(Statement.If choice) {
        for (Statement.Branch branch : choice.branches()) {
            if (Values.isTrue(evaluate(branch.condition()))) {
                return run(branch.body());
            }
        }
        return run(choice.otherwise());
    }

    private void runFor(Statement.For loop) {
        Scope outer = scope;
        List<Object> items = Values.items(evaluate(loop.values()));
        try {
            if (loop.condition().isPresent()) {
                items = matching(loop, loop.condition().get(), items, outer);
            }
            LoopContext context = new LoopContext(items);
            for (int i = 0; i < items.size(); i++) {
                scope = new Scope(outer);
                context.moveTo(i);
                scope.set("loop", context);
                assign(loop.target(), items.get(i));
                if (run(loop.body()) == Flow.BREAK) {
                    break;
                }
            }
            if (items.isEmpty()) {
                scope = new Scope(outer);
                run(loop.otherwise());
            }
        } finally {
            scope = outer;
        }
    }

    private List<Object> matching(Statement.For loop, Expression condition, List<Object> items, Scope outer) {
        List<Object> matching = new ArrayList<>();
        for (Object item : items) {
            scope = new Scope(outer);
            assign(loop.target(), item);
            if (Values.isTrue(evaluate(condition))) {
                matching.add(item);
            }
        }
        return matching;
    }

    private void runCall(Statement.CallBlock block) {
        Arguments written = arguments(block.call().arguments());
        Map<String, Object> named = new LinkedHashMap<>(written.named());
        named.put("caller", new Macro(block.caller(), scope, this));
        Object callee = evaluate(block.call().callee());
        out.append(Repr.str(call(callee, new Arguments(written.positional(), named))));
    }

    private void runWith(Statement.With with) {
        Scope outer = scope;
        Scope inner = new Scope(outer);
        try {
            for (Statement.Assignment assignment : with.assignments()) {
                Object value = evaluate(assignment.value());
                scope = inner;
                assign(assignment.target(), value);
                scope = outer;
            }
            scope = inner;
            run(with.body());
        } finally {
            scope = outer;
        }
    }

    private Object filtered(Optional<Expression.Filter> filter, List<Statement> body) {
        String text = capture(body, new Scope(scope));
        return filter.isPresent() ? applyFilter(filter.get(), text) : text;
    }

    private Object applyFilter(Expression.Filter filter, Object headValue) {
        Object value = headValue;
        if (filter.value().isPresent()) {
            value = filter.value().get() instanceof Expression.Filter inner
                    ? applyFilter(inner, headValue)
                    : evaluate(filter.value().get());
        }
        try {
            return Filters.apply(filter.name(), value, arguments(filter.arguments()));
        } catch (JinjaException e) {
            throw e.at(filter.line());
        }
    }

    /// What `body` prints when it runs in a scope of its own.
    String capture(List<Statement> body, Scope inner) {
        StringBuilder outerOut = out;
        Scope outerScope = scope;
        out = new StringBuilder();
        scope = inner;
        try {
            run(body);
            return out.toString();
        } finally {
            out = outerOut;
            scope = outerScope;
        }
    }

    Object evaluateIn(Expression expression, Scope inner) {
        Scope outer = scope;
        scope = inner;
        try {
            return evaluate(expression);
        } finally {
            scope = outer;
        }
    }

    private void assign(Target target, Object value) {
        switch (target) {
            case Target.Variable(String name) -> scope.set(name, value);
            case Target.NamespaceAttribute(String name, String attribute) -> {
                if (scope.find(name) instanceof Namespace namespace) {
                    namespace.attributes().put(attribute, value);
                } else {
                    throw new JinjaException("cannot assign attribute on non-namespace object '" + name + "'");
                }
            }
            case Target.Unpacked(List<Target> targets) -> {
                List<Object> items = Values.items(value);
                if (items.size() != targets.size()) {
                    throw new JinjaException(
                            "cannot unpack " + items.size() + " values into " + targets.size() + " variables");
                }
                for (int i = 0; i < targets.size(); i++) {
                    assign(targets.get(i), items.get(i));
                }
            }
        }
    }

    private Object evaluate(Expression expression) {
        return switch (expression) {
            case Expression.Literal literal -> literal.value();
            case Expression.Name(String name) -> {
                Object value = scope.find(name);
                yield value != null ? value : Undefined.variable(name);
            }
            case Expression.ListOf list -> evaluateAll(list.items());
            case Expression.TupleOf tuple -> new Tuple(evaluateAll(tuple.items()));
            case Expression.DictOf dict -> {
                Map<Object, Object> values = new LinkedHashMap<>();
                for (Expression.Entry entry : dict.entries()) {
                    values.put(Values.key(evaluate(entry.key())), evaluate(entry.value()));
                }
                yield values;
            }
            case Expression.Attribute a ->
                located(a.line(), () -> Attributes.attribute(evaluate(a.object()), a.name()));
            case Expression.Item i -> located(i.line(), () -> Attributes.item(evaluate(i.object()), evaluate(i.key())));
            case Expression.Slice s ->
                located(
                        s.line(),
                        () -> Slicing.slice(
                                evaluate(s.object()),
                                evaluateOrNone(s.start()),
                                evaluateOrNone(s.stop()),
                                evaluateOrNone(s.step())));
            case Expression.Call c -> located(c.line(), () -> call(evaluate(c.callee()), arguments(c.arguments())));
            case Expression.Filter f -> applyFilter(f, None.NONE);
            case Expression.Test t ->
                located(t.line(), () -> Tests.apply(t.name(), evaluate(t.value()), arguments(t.arguments())));
            case Expression.Not not -> !Values.isTrue(evaluate(not.value()));
            case Expression.And(Expression left, Expression right) -> {
                Object value = evaluate(left);
                yield Values.isTrue(value) ? evaluate(right) : value;
            }
            case Expression.Or(Expression left, Expression right) -> {
                Object value = evaluate(left);
                yield Values.isTrue(value) ? value : evaluate(right);
            }
            case Expression.Sign(char sign, Expression value) -> Operators.sign(sign, evaluate(value));
            case Expression.Arithmetic a ->
                located(a.line(), () -> Operators.apply(a.operator(), evaluate(a.left()), evaluate(a.right())));
            case Expression.Comparison comparison -> compare(comparison);
            case Expression.Concat(List<Expression> parts) -> {
                StringBuilder text = new StringBuilder();
                for (Expression part : parts) {
                    text.append(Repr.str(evaluate(part)));
                }
                yield text.toString();
            }
            case Expression.Conditional c -> {
                if (Values.isTrue(evaluate(c.condition()))) {
                    yield evaluate(c.then());
                }
                yield c.otherwise().isPresent()
                        ? evaluate(c.otherwise().get())
                        : new Undefined("the inline if-expression evaluated to false and no else section was defined");
            }
        };
    }

    private interface Step {
        Object take();
    }

    private static Object located(int line, Step step) {
        try {
            return step.take();
        } catch (JinjaException e) {
            throw e.at(line);
        }
    }

    private Object compare(Expression.Comparison comparison) {
        Object left = evaluate(comparison.first());
        for (Expression.Comparand comparand : comparison.rest()) {
            Object right = evaluate(comparand.value());
            try {
                if (!Operators.compare(comparand.operator(), left, right)) {
                    return false;
                }
            } catch (JinjaException e) {
                throw e.at(comparison.line());
            }
            left = right;
        }
        return true;
    }

    private static Object call(Object callee, Arguments arguments) {
        Values.failIfUndefined(callee);
        if (callee instanceof Callable function) {
            return function.call(arguments);
        }
        throw new JinjaException("'" + Values.typeName(callee) + "' object is not callable");
    }

    private List<Object> evaluateAll(List<Expression> expressions) {
        List<Object> values = new ArrayList<>(expressions.size());
        for (Expression expression : expressions) {
            values.add(evaluate(expression));
        }
        return values;
    }

    private Object evaluateOrNone(Optional<Expression> expression) {
        return expression.isPresent() ? evaluate(expression.get()) : None.NONE;
    }

    private Arguments arguments(CallArguments written) {
        if (written.equals(CallArguments.NONE)) {
            return Arguments.NONE;
        }
        List<Object> positional = evaluateAll(written.positional());
        Map<String, Object> named = new LinkedHashMap<>();
        for (Expression.Keyword keyword : written.named()) {
            named.put(keyword.name(), evaluate(keyword.value()));
        }
        if (written.unpackedList().isPresent()) {
            positional.addAll(Values.items(evaluate(written.unpackedList().get())));
        }
        if (written.unpackedDict().isPresent()) {
            if (!(evaluate(written.unpackedDict().get()) instanceof Map<?, ?> map)) {
                throw new JinjaException("what follows '**' must be a mapping");
            }
            for (Object pair : Attributes.pairs(map)) {
                List<Object> entry = ((Tuple) pair).items();
                named.put(Values.string(entry.get(0), "a keyword"), entry.get(1));
            }
        }
        return new Arguments(positional, named);
    }
}
