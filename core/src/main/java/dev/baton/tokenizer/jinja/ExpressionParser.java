package dev.baton.tokenizer.jinja;

import dev.baton.tokenizer.jinja.Expression.CallArguments;
import dev.baton.tokenizer.jinja.Expression.Keyword;
import dev.baton.tokenizer.jinja.Token.Kind;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.function.Consumer;

/// Parses expressions by recursive descent, with Jinja's precedences: from loosest to tightest the conditional,
/// `or`, `and`, `not`, comparisons, `+ -`, `~`, `* / // %`, `**`, signs, then attributes, calls, filters and
/// tests.
final class ExpressionParser {
    private static final Set<String> COMPARISONS = Set.of("==", "!=", "<", "<=", ">", ">=");

    private final TokenStream tokens;
    private final Consumer<String> nameSeen;

    ExpressionParser(TokenStream tokens, Consumer<String> nameSeen) {
        this.tokens = tokens;
        this.nameSeen = nameSeen;
    }

    Expression expression() {
        return conditional();
    }

    /// One expression, or a tuple of several with commas between and no parentheses around.
    Expression tupleOrExpression(boolean conditionalAllowed) {
        return tupleOrExpression(conditionalAllowed, false);
    }

    private Expression tupleOrExpression(boolean conditionalAllowed, boolean emptyAllowed) {
        List<Expression> items = new ArrayList<>();
        boolean tuple = false;
        while (!atTupleEnd()) {
            items.add(conditionalAllowed ? conditional() : or());
            if (!tokens.skipOperator(",")) {
                break;
            }
            tuple = true;
        }
        if (!tuple && items.size() == 1) {
            return items.getFirst();
        }
        if (items.isEmpty() && !emptyAllowed) {
            throw new JinjaException(
                    "needed an expression, got " + tokens.peek().describe(), tokens.line());
        }
        return new Expression.TupleOf(List.copyOf(items));
    }

    private boolean atTupleEnd() {
        Token token = tokens.peek();
        return token.kind() == Kind.VARIABLE_END || token.kind() == Kind.BLOCK_END || token.isOperator(")");
    }

    private Expression conditional() {
        Expression value = or();
        while (tokens.skipName("if")) {
            Expression condition = or();
            Optional<Expression> otherwise = tokens.skipName("else") ? Optional.of(conditional()) : Optional.empty();
            value = new Expression.Conditional(condition, value, otherwise);
        }
        return value;
    }

    private Expression or() {
        Expression left = and();
        while (tokens.skipName("or")) {
            left = new Expression.Or(left, and());
        }
        return left;
    }

    private Expression and() {
        Expression left = not();
        while (tokens.skipName("and")) {
            left = new Expression.And(left, not());
        }
        return left;
    }

    private Expression not() {
        return tokens.skipName("not") ? new Expression.Not(not()) : comparison();
    }

    private Expression comparison() {
        int line = tokens.line();
        Expression first = sum();
        List<Expression.Comparand> rest = new ArrayList<>();
        while (true) {
            Token token = tokens.peek();
            if (token.kind() == Kind.OPERATOR && COMPARISONS.contains(token.text())) {
                tokens.next();
                rest.add(new Expression.Comparand(token.text(), sum()));
            } else if (tokens.skipName("in")) {
                rest.add(new Expression.Comparand("in", sum()));
            } else if (token.isName("not") && tokens.peekSecond().isName("in")) {
                tokens.next();
                tokens.next();
                rest.add(new Expression.Comparand("not in", sum()));
            } else {
                return rest.isEmpty() ? first : new Expression.Comparison(first, List.copyOf(rest), line);
            }
        }
    }

    private Expression sum() {
        Expression left = concat();
        while (tokens.peek().isOperator("+") || tokens.peek().isOperator("-")) {
            Token operator = tokens.next();
            left = new Expression.Arithmetic(operator.text(), left, concat(), operator.line());
        }
        return left;
    }

    private Expression concat() {
        Expression first = product();
        if (!tokens.peek().isOperator("~")) {
            return first;
        }
        List<Expression> parts = new ArrayList<>(List.of(first));
        while (tokens.skipOperator("~")) {
            parts.add(product());
        }
        return new Expression.Concat(List.copyOf(parts));
    }

    private Expression product() {
        Expression left = power();
        while (tokens.peek().kind() == Kind.OPERATOR
                && Set.of("*", "/", "//", "%").contains(tokens.peek().text())) {
            Token operator = tokens.next();
            left = new Expression.Arithmetic(operator.text(), left, power(), operator.line());
        }
        return left;
    }

    private Expression power() {
        Expression left = unary(true);
        while (tokens.peek().isOperator("**")) {
            Token operator = tokens.next();
            left = new Expression.Arithmetic("**", left, unary(true), operator.line());
        }
        return left;
    }

    private Expression unary(boolean filtersAllowed) {
        Expression value;
        if (tokens.skipOperator("-")) {
            value = new Expression.Sign('-', unary(false));
        } else if (tokens.skipOperator("+")) {
            value = new Expression.Sign('+', unary(false));
        } else {
            value = primary();
        }
        value = postfix(value);
        return filtersAllowed ? filtersAndTests(value) : value;
    }

    private Expression primary() {
        Token token = tokens.next();
        switch (token.kind()) {
            case NAME -> {
                return name(token);
            }
            case STRING -> {
                StringBuilder text = new StringBuilder(token.text());
                while (tokens.peek().kind() == Kind.STRING) {
                    text.append(tokens.next().text());
                }
                return new Expression.Literal(text.toString());
            }
            case INTEGER, FLOAT -> {
                return new Expression.Literal(token.value());
            }
            case OPERATOR -> {
                switch (token.text()) {
                    case "(" -> {
                        Expression inner = tupleOrExpression(true, true);
                        tokens.expectOperator(")");
                        return inner;
                    }
                    case "[" -> {
                        return list();
                    }
                    case "{" -> {
                        return dict();
                    }
                    default -> {}
                }
            }
            default -> {}
        }
        throw new JinjaException("unexpected " + token.describe(), token.line());
    }

    private Expression name(Token token) {
        return switch (token.text()) {
            case "true", "True" -> new Expression.Literal(true);
            case "false", "False" -> new Expression.Literal(false);
            case "none", "None" -> new Expression.Literal(None.NONE);
            default -> {
                nameSeen.accept(token.text());
                yield new Expression.Name(token.text());
            }
        };
    }

    private Expression list() {
        List<Expression> items = new ArrayList<>();
        while (!tokens.skipOperator("]")) {
            if (!items.isEmpty()) {
                tokens.expectOperator(",");
                if (tokens.skipOperator("]")) {
                    break;
                }
            }
            items.add(expression());
        }
        return new Expression.ListOf(List.copyOf(items));
    }

    private Expression dict() {
        List<Expression.Entry> entries = new ArrayList<>();
        while (!tokens.skipOperator("}")) {
            if (!entries.isEmpty()) {
                tokens.expectOperator(",");
                if (tokens.skipOperator("}")) {
                    break;
                }
            }
            Expression key = expression();
            tokens.expectOperator(":");
            entries.add(new Expression.Entry(key, expression()));
        }
        return new Expression.DictOf(List.copyOf(entries));
    }

    private Expression postfix(Expression object) {
        Expression value = object;
        while (true) {
            int line = tokens.line();
            if (tokens.skipOperator(".")) {
                value = attribute(value, line);
            } else if (tokens.skipOperator("[")) {
                value = subscript(value, line);
            } else if (tokens.peek().isOperator("(")) {
                value = new Expression.Call(value, callArguments(), line);
            } else {
                return value;
            }
        }
    }

    private Expression attribute(Expression object, int line) {
        Token name = tokens.next();
        return switch (name.kind()) {
            case NAME -> new Expression.Attribute(object, name.text(), line);
            case INTEGER -> new Expression.Item(object, new Expression.Literal(name.value()), line);
            default -> throw new JinjaException("needed an attribute's name, got " + name.describe(), line);
        };
    }

    private Expression subscript(Expression object, int line) {
        Optional<Expression> start = sliceBound();
        if (start.isPresent() && tokens.skipOperator("]")) {
            return new Expression.Item(object, start.get(), line);
        }
        if (!tokens.skipOperator(":")) {
            throw new JinjaException("needed ']' or ':', got " + tokens.peek().describe(), line);
        }
        Optional<Expression> stop = sliceBound();
        Optional<Expression> step = tokens.skipOperator(":") ? sliceBound() : Optional.empty();
        tokens.expectOperator("]");
        return new Expression.Slice(object, start, stop, step, line);
    }

    private Optional<Expression> sliceBound() {
        return tokens.peek().isOperator(":") || tokens.peek().isOperator("]")
                ? Optional.empty()
                : Optional.of(expression());
    }

    private Expression filtersAndTests(Expression object) {
        Expression value = object;
        while (true) {
            int line = tokens.line();
            if (tokens.skipOperator("|")) {
                value = filter(Optional.of(value));
            } else if (tokens.skipName("is")) {
                value = test(value, line);
            } else if (tokens.peek().isOperator("(")) {
                value = new Expression.Call(value, callArguments(), line);
            } else {
                return value;
            }
        }
    }

    /// A filter whose `|` has been read.
    Expression.Filter filter(Optional<Expression> value) {
        Token name = tokens.expect(Kind.NAME, "a filter's name");
        CallArguments arguments = tokens.peek().isOperator("(") ? callArguments() : CallArguments.NONE;
        return new Expression.Filter(value, name.text(), arguments, name.line());
    }

    private Expression test(Expression value, int line) {
        boolean negated = tokens.skipName("not");
        String name = tokens.expect(Kind.NAME, "a test's name").text();
        CallArguments arguments = CallArguments.NONE;
        if (tokens.peek().isOperator("(")) {
            arguments = callArguments();
        } else if (beginsTestArgument(tokens.peek())) {
            arguments = Parser.arguments(List.of(postfix(primary())));
        }
        Expression test = new Expression.Test(value, name, arguments, line);
        return negated ? new Expression.Not(test) : test;
    }

    private static boolean beginsTestArgument(Token token) {
        if (token.isName("is")) {
            throw new JinjaException("tests with 'is' cannot be chained", token.line());
        }
        return switch (token.kind()) {
            case NAME -> !Set.of("else", "or", "and").contains(token.text());
            case STRING, INTEGER, FLOAT -> true;
            case OPERATOR -> token.text().equals("[") || token.text().equals("{");
            default -> false;
        };
    }

    private CallArguments callArguments() {
        tokens.expectOperator("(");
        List<Expression> positional = new ArrayList<>();
        List<Keyword> named = new ArrayList<>();
        Optional<Expression> unpackedList = Optional.empty();
        Optional<Expression> unpackedDict = Optional.empty();
        boolean first = true;
        while (!tokens.skipOperator(")")) {
            if (!first) {
                tokens.expectOperator(",");
                if (tokens.skipOperator(")")) {
                    break;
                }
            }
            first = false;
            int line = tokens.line();
            if (tokens.skipOperator("*")) {
                unpackedList = Optional.of(expression());
            } else if (tokens.skipOperator("**")) {
                unpackedDict = Optional.of(expression());
            } else if (tokens.peek().kind() == Kind.NAME && tokens.peekSecond().isOperator("=")) {
                String name = tokens.next().text();
                tokens.next();
                named.add(new Keyword(name, expression()));
            } else {
                if (!named.isEmpty() || unpackedList.isPresent() || unpackedDict.isPresent()) {
                    throw new JinjaException("a positional argument follows a named one", line);
                }
                positional.add(expression());
            }
        }
        return new CallArguments(List.copyOf(positional), List.copyOf(named), unpackedList, unpackedDict);
    }
}
