package dev.baton.grammar;

import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/// Reads EBNF as llama.cpp (GBNF) and XGrammar write it: `name ::= alternatives`, texts in double quotes, classes
/// in brackets, `.` for any character, groups, `* + ?`, `{m}`, `{m,}`, `{m,n}`, comments from `#` to the line's
/// end. A rule ends where the next one begins. The text is derived from the rule `root`.
///
/// Escapes: those of C, `x` with 2, `u` with 4 and `U` with 8 hexadecimal digits, and any punctuation. XGrammar's
/// macros and look-aheads are refused. Not thread-safe; used once.
final class EbnfParser {
    private static final int MAX_NESTING = 200;

    private final SourceReader in;
    private final GrammarRules rules;
    private int nesting;

    private EbnfParser(String text) {
        this.in = new SourceReader("the grammar", text);
        this.rules = new GrammarRules(in, "the rule ");
    }

    /// @throws GrammarException with the position of what is malformed, or the name of a rule that is missing
    static Expr parse(String text) {
        EbnfParser parser = new EbnfParser(text);
        parser.blanks();
        while (!parser.in.atEnd()) {
            parser.rule();
        }
        return Expr.ref(parser.rules.root("the grammar", "root"));
    }

    private void rule() {
        int at = in.position();
        String name = name();
        blanks();
        if (!in.take("::=")) {
            throw in.error("needs '::=' behind the rule's name '" + name + "'");
        }
        blanks();
        Expr.Rule rule = rules.undefined(name, at);
        rule.define(alternatives());
        if (!in.atEnd() && !beginsRule()) {
            throw in.error("has '" + Character.toString(in.peek()) + "' where a rule or an end should be");
        }
    }

    private static boolean isNamePart(int c) {
        return CharClasses.WORD.contains(c) || c == '-' || c == '.';
    }

    private static boolean isNameStart(int c) {
        return isNamePart(c) && c != '.' && c != '-';
    }

    private String name() {
        int from = in.position();
        if (!isNameStart(in.peek())) {
            throw in.error("needs a rule's name");
        }
        while (isNamePart(in.peek())) {
            in.next();
        }
        return in.textBetween(from, in.position());
    }

    private boolean beginsRule() {
        if (!isNameStart(in.peek())) {
            return false;
        }
        int from = in.position();
        name();
        blanks();
        boolean result = in.looksAt("::=");
        in.moveTo(from);
        return result;
    }

    private void blanks() {
        while (true) {
            int c = in.peek();
            if (c == '#') {
                while (!in.atEnd() && in.peek() != '\n') {
                    in.next();
                }
            } else if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
                in.next();
            } else {
                return;
            }
        }
    }

    private Expr alternatives() {
        if (++nesting > MAX_NESTING) {
            throw in.error("nests groups more than " + MAX_NESTING + " deep");
        }
        List<Expr> options = new ArrayList<>();
        do {
            blanks();
            options.add(sequence());
        } while (in.take('|'));
        nesting--;
        return Expr.alt(options);
    }

    private Expr sequence() {
        List<Expr> parts = new ArrayList<>();
        while (!in.atEnd() && in.peek() != '|' && in.peek() != ')' && !beginsRule()) {
            parts.add(rules.quantified(element(), this::counted));
            blanks();
        }
        return Expr.seq(parts);
    }

    private Expr element() {
        int at = in.position();
        int c = in.peek();
        if (isNameStart(c)) {
            String name = name();
            if (in.peek() == '(') {
                throw in.errorAt(at, "has the macro '" + name + "', which is not supported,");
            }
            return Expr.ref(rules.named(name, at));
        }
        in.next();
        return switch (c) {
            case '"' -> text(at);
            case '[' -> new Expr.Chars(charClass(at));
            case '.' -> new Expr.Chars(CodePointSet.ALL);
            case '(' -> {
                if (in.peek() == '=') {
                    throw in.errorAt(at, "has a look-ahead, which is not supported,");
                }
                Expr inner = alternatives();
                if (!in.take(')')) {
                    throw in.errorAt(at, "has a '(' without ')'");
                }
                yield inner;
            }
            default -> throw in.errorAt(at, "has '" + Character.toString(c) + "' where an element should be");
        };
    }

    /// `{m}`, `{m,}` or `{m,n}`.
    private Optional<Expr> counted(Expr element, int at) {
        if (!in.take('{')) {
            return Optional.empty();
        }
        blanks();
        int min = in.number();
        int max = min;
        blanks();
        if (in.take(',')) {
            blanks();
            max = in.number();
            max = max < 0 ? Expr.Repeat.UNBOUNDED : max;
            min = Math.max(min, 0);
            blanks();
        }
        if (min < 0 || max < min || !in.take('}')) {
            throw in.errorAt(at, "has a bad repetition");
        }
        return Optional.of(Expr.repeat(element, min, max));
    }

    private Expr text(int at) {
        StringBuilder text = new StringBuilder();
        while (!in.take('"')) {
            if (in.atEnd() || in.peek() == '\n') {
                throw in.errorAt(at, "has a text without its closing '\"'");
            }
            text.appendCodePoint(character());
        }
        return Expr.literal(text.toString());
    }

    private int character() {
        int at = in.position();
        int c = in.next();
        if (c == '\\') {
            c = escaped(at);
        }
        if (c >= Character.MIN_SURROGATE && c <= Character.MAX_SURROGATE) {
            throw in.errorAt(at, "names half a surrogate pair, which is no character,");
        }
        return c;
    }

    private int escaped(int at) {
        int c = in.next();
        return switch (c) {
            case 'n' -> '\n';
            case 'r' -> '\r';
            case 't' -> '\t';
            case '0' -> 0;
            case 'a' -> 0x07;
            case 'b' -> '\b';
            case 'f' -> '\f';
            case 'v' -> 0x0b;
            case 'e' -> 0x1b;
            case 'x' -> in.hex(2);
            case 'u' -> in.hex(4);
            case 'U' -> in.hex(8);
            default -> {
                if (Character.isLetterOrDigit(c)) {
                    throw in.errorAt(at, "has the escape \\" + Character.toString(c) + ", which is not supported,");
                }
                yield c;
            }
        };
    }

    private CodePointSet charClass(int at) {
        boolean negated = in.take('^');
        CodePointSet.Builder set = new CodePointSet.Builder();
        while (!in.take(']')) {
            if (in.atEnd() || in.peek() == '\n') {
                throw in.errorAt(at, "has a '[' without ']'");
            }
            int memberAt = in.position();
            CodePointSet shorthand = shorthand();
            if (!shorthand.isEmpty()) {
                set.add(shorthand);
                continue;
            }
            int first = character();
            int last = first;
            if (in.peek() == '-' && in.peek(1) != ']') {
                in.next();
                last = character();
            }
            if (last < first) {
                throw in.errorAt(memberAt, "has a range in a class that ends before it begins");
            }
            set.add(first, last);
        }
        CodePointSet found = set.build();
        return negated ? found.complement() : found;
    }

    private CodePointSet shorthand() {
        CodePointSet set = CodePointSet.EMPTY;
        if (in.peek() == '\\') {
            set = switch (in.peek(1)) {
                case 'd' -> CharClasses.DIGIT;
                case 'w' -> CharClasses.WORD;
                case 's' -> CharClasses.SPACE;
                case 'D' -> CharClasses.DIGIT.complement();
                case 'W' -> CharClasses.WORD.complement();
                case 'S' -> CharClasses.SPACE.complement();
                default -> CodePointSet.EMPTY;
            };
            if (!set.isEmpty()) {
                in.moveTo(in.position() + 2);
            }
        }
        return set;
    }
}
