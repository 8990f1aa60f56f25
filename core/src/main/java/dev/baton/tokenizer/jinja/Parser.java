package dev.baton.tokenizer.jinja;

import dev.baton.tokenizer.jinja.Expression.CallArguments;
import dev.baton.tokenizer.jinja.Expression.Keyword;
import dev.baton.tokenizer.jinja.Statement.Signature;
import dev.baton.tokenizer.jinja.Statement.Target;
import dev.baton.tokenizer.jinja.Token.Kind;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.HashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;

/// Parses a template's statements by recursive descent; [ExpressionParser] parses what stands inside them.
/// One use, one thread.
final class Parser {
    private final TokenStream tokens;
    private final ExpressionParser expressions;
    private final Deque<Set<String>> macroNames = new ArrayDeque<>();
    private int loops;

    private Parser(TokenStream tokens) {
        this.tokens = tokens;
        this.expressions = new ExpressionParser(tokens, this::sawName);
    }

    static List<Statement> parse(String template) {
        Parser parser = new Parser(new TokenStream(Lexer.tokenize(template)));
        return parser.body(Set.of());
    }

    private void sawName(String name) {
        for (Set<String> names : macroNames) {
            names.add(name);
        }
    }

    /// Statements up to a block that begins with one of `ends`, whose name is the next token then.
    private List<Statement> body(Set<String> ends) {
        int beginLine = tokens.line();
        List<Statement> statements = new ArrayList<>();
        while (true) {
            Token token = tokens.next();
            switch (token.kind()) {
                case DATA -> statements.add(new Statement.Data(token.text()));
                case VARIABLE_BEGIN -> {
                    statements.add(new Statement.Output(expressions.tupleOrExpression(true), token.line()));
                    tokens.expect(Kind.VARIABLE_END, "'}}'");
                }
                case BLOCK_BEGIN -> {
                    Token name = tokens.peek();
                    if (name.kind() == Kind.NAME && ends.contains(name.text())) {
                        return List.copyOf(statements);
                    }
                    statements.add(statement());
                    tokens.expect(Kind.BLOCK_END, "'%}'");
                }
                case END -> {
                    if (!ends.isEmpty()) {
                        throw new JinjaException("the block is never closed: needed " + ends, beginLine);
                    }
                    return List.copyOf(statements);
                }
                default -> throw new JinjaException("unexpected " + token.describe(), token.line());
            }
        }
    }

    /// The body of a block whose head has been read, with its closing name.
    private List<Statement> blockBody(String end) {
        tokens.skipOperator(":");
        tokens.expect(Kind.BLOCK_END, "'%}'");
        List<Statement> body = body(Set.of(end));
        tokens.next();
        return body;
    }

    private Statement statement() {
        Token name = tokens.expect(Kind.NAME, "a statement's name");
        int line = name.line();
        return switch (name.text()) {
            case "if" -> ifStatement(line);
            case "for" -> forStatement(line);
            case "set" -> setStatement(line);
            case "macro" -> macroStatement(line);
            case "call" -> callStatement(line);
            case "filter" -> filterStatement(line);
            case "with" -> withStatement(line);
            case "generation" -> new Statement.Generation(blockBody("endgeneration"), line);
            case "break" -> new Statement.Break(insideLoop(name));
            case "continue" -> new Statement.Continue(insideLoop(name));
            case "print", "include", "import", "from", "extends", "block", "autoescape", "do", "trans", "debug" ->
                throw new JinjaException("the statement '" + name.text() + "' is not supported", line);
            default -> throw new JinjaException("unknown statement '" + name.text() + "'", line);
        };
    }

    private int insideLoop(Token name) {
        if (loops == 0) {
            throw new JinjaException("'" + name.text() + "' stands outside a loop", name.line());
        }
        return name.line();
    }

    private Statement ifStatement(int line) {
        List<Statement.Branch> branches = new ArrayList<>();
        while (true) {
            Expression condition = expressions.tupleOrExpression(false);
            tokens.skipOperator(":");
            tokens.expect(Kind.BLOCK_END, "'%}'");
            branches.add(new Statement.Branch(condition, body(Set.of("elif", "else", "endif"))));
            String end = tokens.next().text();
            if (end.equals("else")) {
                return new Statement.If(List.copyOf(branches), blockBody("endif"), line);
            }
            if (end.equals("endif")) {
                return new Statement.If(List.copyOf(branches), List.of(), line);
            }
        }
    }

    private Statement forStatement(int line) {
        Target target = target(false);
        tokens.expectName("in");
        Expression values = expressions.tupleOrExpression(false);
        Optional<Expression> condition =
                tokens.skipName("if") ? Optional.of(expressions.expression()) : Optional.empty();
        if (tokens.peek().isName("recursive")) {
            throw new JinjaException("a recursive loop is not supported", line);
        }
        tokens.skipOperator(":");
        tokens.expect(Kind.BLOCK_END, "'%}'");
        loops++;
        List<Statement> body = body(Set.of("else", "endfor"));
        loops--;
        List<Statement> otherwise = tokens.next().text().equals("else") ? blockBody("endfor") : List.of();
        return new Statement.For(target, values, condition, body, otherwise, line);
    }

    private Statement setStatement(int line) {
        Target target = target(true);
        if (tokens.skipOperator("=")) {
            return new Statement.Set(target, expressions.tupleOrExpression(true), line);
        }
        Optional<Expression.Filter> filter = Optional.empty();
        while (tokens.skipOperator("|")) {
            filter = Optional.of(expressions.filter(filter.map(inner -> inner)));
        }
        return new Statement.SetBlock(target, filter, blockBody("endset"), line);
    }

    private Statement macroStatement(int line) {
        String name = tokens.expect(Kind.NAME, "the macro's name").text();
        return new Statement.Macro(signature(name, "endmacro"), line);
    }

    private Statement callStatement(int line) {
        macroNames.push(new HashSet<>());
        List<Statement.Parameter> parameters = tokens.peek().isOperator("(") ? parameters() : List.of();
        Expression call = expressions.expression();
        if (!(call instanceof Expression.Call callee)) {
            throw new JinjaException("a call block needs a call", line);
        }
        return new Statement.CallBlock(callee, closeSignature("caller", parameters, "endcall"), line);
    }

    private Signature signature(String name, String end) {
        macroNames.push(new HashSet<>());
        return closeSignature(name, parameters(), end);
    }

    private Signature closeSignature(String name, List<Statement.Parameter> parameters, String end) {
        int outerLoops = loops;
        loops = 0;
        List<Statement> body = blockBody(end);
        loops = outerLoops;
        Set<String> names = macroNames.pop();
        return new Signature(
                name, parameters, body, names.contains("varargs"), names.contains("kwargs"), names.contains("caller"));
    }

    private List<Statement.Parameter> parameters() {
        List<Statement.Parameter> parameters = new ArrayList<>();
        tokens.expectOperator("(");
        while (!tokens.peek().isOperator(")")) {
            if (!parameters.isEmpty()) {
                tokens.expectOperator(",");
            }
            String name = tokens.expect(Kind.NAME, "a parameter's name").text();
            Optional<Expression> fallback =
                    tokens.skipOperator("=") ? Optional.of(expressions.expression()) : Optional.empty();
            parameters.add(new Statement.Parameter(name, fallback));
        }
        tokens.next();
        return List.copyOf(parameters);
    }

    private Statement filterStatement(int line) {
        Expression.Filter filter = expressions.filter(Optional.empty());
        while (tokens.skipOperator("|")) {
            filter = expressions.filter(Optional.of(filter));
        }
        return new Statement.FilterBlock(filter, blockBody("endfilter"), line);
    }

    private Statement withStatement(int line) {
        List<Statement.Assignment> assignments = new ArrayList<>();
        while (tokens.peek().kind() != Kind.BLOCK_END) {
            if (!assignments.isEmpty()) {
                tokens.expectOperator(",");
            }
            Target target = target(false);
            tokens.expectOperator("=");
            assignments.add(new Statement.Assignment(target, expressions.expression()));
        }
        return new Statement.With(List.copyOf(assignments), blockBody("endwith"), line);
    }

    private Target target(boolean namespaceAllowed) {
        Target first = singleTarget(namespaceAllowed);
        if (!tokens.peek().isOperator(",")) {
            return first;
        }
        List<Target> targets = new ArrayList<>(List.of(first));
        while (tokens.skipOperator(",")) {
            boolean another = tokens.peek().kind() == Kind.NAME || tokens.peek().isOperator("(");
            if (!another || tokens.peek().isName("in")) {
                break;
            }
            targets.add(singleTarget(namespaceAllowed));
        }
        return new Target.Unpacked(List.copyOf(targets));
    }

    private Target singleTarget(boolean namespaceAllowed) {
        if (tokens.skipOperator("(")) {
            Target inner = target(namespaceAllowed);
            tokens.expectOperator(")");
            return inner;
        }
        Token name = tokens.expect(Kind.NAME, "a variable to assign to");
        if (Set.of("true", "false", "none", "True", "False", "None").contains(name.text())) {
            throw new JinjaException("cannot assign to '" + name.text() + "'", name.line());
        }
        if (namespaceAllowed && tokens.skipOperator(".")) {
            sawName(name.text());
            return new Target.NamespaceAttribute(
                    name.text(),
                    tokens.expect(Kind.NAME, "a namespace's attribute").text());
        }
        return new Target.Variable(name.text());
    }

    static CallArguments arguments(List<Expression> positional) {
        return new CallArguments(positional, List.<Keyword>of(), Optional.empty(), Optional.empty());
    }
}
