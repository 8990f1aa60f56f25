package dev.baton.grammar;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;

/// Reads grammars of the Python parser Lark: rules in small letters, terminals in capitals, `name: alternatives`,
/// texts in double quotes and regular expressions between slashes, both with the flags `i` and `s`, ranges
/// `"a".."z"`, groups, `[optional]`, `* + ?`, `~m`, `~m..n`, aliases `-> name`, priorities `name.2:`, `%ignore`,
/// `%import common.NAME`. The text is derived from `start`.
///
/// What is ignored may stand behind every terminal of a rule, not before the first. Priorities and the greed of
/// terminals only choose between readings, so they change nothing here. Templates, other imports and other
/// directives are refused. Not thread-safe; used once.
final class LarkParser {
    private static final int MAX_NESTING = 200;

    /// The terminals of Lark's `common` module that make sense in a generated text.
    private static final Map<String, String> COMMON = Map.ofEntries(
            Map.entry("DIGIT", "[0-9]"),
            Map.entry("HEXDIGIT", "[0-9a-fA-F]"),
            Map.entry("INT", "[0-9]+"),
            Map.entry("SIGNED_INT", "[+-]?[0-9]+"),
            Map.entry("DECIMAL", "[0-9]+\\.[0-9]*|\\.[0-9]+"),
            Map.entry("FLOAT", "[0-9]+[eE][+-]?[0-9]+|(?:[0-9]+\\.[0-9]*|\\.[0-9]+)(?:[eE][+-]?[0-9]+)?"),
            Map.entry(
                    "SIGNED_FLOAT", "[+-]?(?:[0-9]+[eE][+-]?[0-9]+|(?:[0-9]+\\.[0-9]*|\\.[0-9]+)(?:[eE][+-]?[0-9]+)?)"),
            Map.entry("NUMBER", "(?:[0-9]+\\.?[0-9]*|\\.[0-9]+)(?:[eE][+-]?[0-9]+)?"),
            Map.entry("SIGNED_NUMBER", "[+-]?(?:[0-9]+\\.?[0-9]*|\\.[0-9]+)(?:[eE][+-]?[0-9]+)?"),
            Map.entry("ESCAPED_STRING", "\"(?:[^\"\\\\\\n]|\\\\[^\\n])*\""),
            Map.entry("LCASE_LETTER", "[a-z]"),
            Map.entry("UCASE_LETTER", "[A-Z]"),
            Map.entry("LETTER", "[A-Za-z]"),
            Map.entry("WORD", "[A-Za-z]+"),
            Map.entry("CNAME", "[A-Za-z_][A-Za-z0-9_]*"),
            Map.entry("WS_INLINE", "[ \\t]+"),
            Map.entry("WS", "[ \\t\\f\\r\\n]+"),
            Map.entry("CR", "\\r"),
            Map.entry("LF", "\\n"),
            Map.entry("NEWLINE", "(?:\\r?\\n)+"));

    private final SourceReader in;
    private final GrammarRules rules;
    private final List<Expr> ignored = new ArrayList<>();
    private final Expr.Rule ignoring = new Expr.Rule("%ignore");
    private boolean inTerminal;
    private int nesting;

    private LarkParser(String text) {
        this.in = new SourceReader("the Lark grammar", text);
        this.rules = new GrammarRules(in, "");
    }

    /// Whether no line of a grammar defines a rule with `::=`; vLLM tells the two forms apart in this way.
    static boolean isLikelyLark(String text) {
        return !text.isBlank()
                && text.lines().map(line -> line.replaceAll("(#|//).*$", "")).noneMatch(line -> line.contains("::="));
    }

    /// @throws GrammarException with the position of what is malformed, or the name of a rule that is missing
    static Expr parse(String text) {
        LarkParser parser = new LarkParser(text);
        parser.blanks(true);
        while (!parser.in.atEnd()) {
            parser.statement();
            parser.blanks(true);
        }
        Expr.Rule start = parser.rules.root("the Lark grammar", "start");
        parser.ignoring.define(Expr.star(Expr.alt(parser.ignored)));
        return Expr.ref(start);
    }

    private void statement() {
        if (in.peek() == '%') {
            directive();
            return;
        }
        int at = in.position();
        if (!in.take('?')) {
            in.take('!');
        }
        String name = name();
        if (in.peek() == '{') {
            throw in.error("has a template, which is not supported,");
        }
        if (in.take('.')) {
            in.number();
        }
        blanks(false);
        in.expect(':');
        Expr.Rule rule = rules.undefined(name, at);
        inTerminal = isTerminal(name);
        rule.define(alternatives());
        if (!in.atEnd() && in.peek() != '\n') {
            throw in.error("has '" + Character.toString(in.peek()) + "' where the rule should end");
        }
    }

    private void directive() {
        int at = in.position();
        if (in.take("%ignore")) {
            inTerminal = true;
            ignored.add(alternatives());
        } else if (in.take("%import")) {
            blanks(false);
            if (!in.take("common.")) {
                throw in.errorAt(at, "has an %import from another module than common, which is not supported,");
            }
            String name = name();
            String pattern = COMMON.get(name);
            if (pattern == null) {
                throw in.errorAt(at, "imports common." + name + ", which is not supported,");
            }
            blanks(false);
            String alias = name;
            if (in.take("->")) {
                blanks(false);
                alias = name();
            }
            rules.named(alias, at).define(RegexParser.parse(pattern));
        } else {
            throw in.errorAt(at, "has a directive other than %ignore and %import, which is not supported,");
        }
    }

    private static boolean isTerminal(String name) {
        return name.equals(name.toUpperCase(Locale.ROOT));
    }

    private static boolean isNamePart(int c) {
        return CharClasses.WORD.contains(c);
    }

    private String name() {
        int from = in.position();
        while (isNamePart(in.peek())) {
            in.next();
        }
        if (in.position() == from) {
            throw in.error("needs a name");
        }
        return in.textBetween(from, in.position());
    }

    /// Skips blanks and comments; line ends only if `lines`.
    private void blanks(boolean lines) {
        while (true) {
            int c = in.peek();
            if (in.looksAt("//") || c == '#') {
                while (!in.atEnd() && in.peek() != '\n') {
                    in.next();
                }
            } else if (c == ' ' || c == '\t' || c == '\r' || (lines && c == '\n')) {
                in.next();
            } else {
                return;
            }
        }
    }

    /// A new line that begins with `|` goes on with the alternatives; inside brackets every new line goes on.
    private boolean anotherAlternative() {
        blanks(nesting > 1);
        int at = in.position();
        blanks(true);
        if (in.take('|')) {
            return true;
        }
        in.moveTo(at);
        return false;
    }

    private Expr alternatives() {
        if (++nesting > MAX_NESTING) {
            throw in.error("nests groups more than " + MAX_NESTING + " deep");
        }
        List<Expr> options = new ArrayList<>();
        do {
            options.add(sequence());
        } while (anotherAlternative());
        nesting--;
        return Expr.alt(options);
    }

    private Expr sequence() {
        List<Expr> parts = new ArrayList<>();
        while (true) {
            blanks(nesting > 1);
            int c = in.peek();
            if (in.take("->")) {
                blanks(false);
                name();
                return Expr.seq(parts);
            }
            if (c == SourceReader.END || c == '|' || c == ')' || c == ']' || c == '\n') {
                return Expr.seq(parts);
            }
            parts.add(rules.quantified(atom(), this::counted));
        }
    }

    private Expr atom() {
        int at = in.position();
        int c = in.peek();
        if (isNamePart(c)) {
            String name = name();
            if (in.peek() == '{') {
                throw in.errorAt(at, "has a template, which is not supported,");
            }
            Expr ref = Expr.ref(rules.named(name, at));
            return isTerminal(name) ? terminal(ref) : ref;
        }
        return switch (c) {
            case '"' -> {
                String text = text(at);
                if (in.take("..")) {
                    String last = text(in.position());
                    if (text.codePointCount(0, text.length()) != 1 || last.codePointCount(0, last.length()) != 1) {
                        throw in.errorAt(at, "has a range between texts that are no single characters");
                    }
                    yield terminal(Expr.chars(text.codePointAt(0), last.codePointAt(0)));
                }
                yield terminal(in.take('i') ? ignoringCase(text) : Expr.literal(text));
            }
            case '/' -> terminal(regex(at));
            case '(', '[' -> {
                in.next();
                Expr inner = alternatives();
                in.expect(c == '(' ? ')' : ']');
                yield c == '(' ? inner : Expr.optional(inner);
            }
            default -> throw in.error("has '" + Character.toString(c) + "' where an element should be");
        };
    }

    private Expr terminal(Expr expr) {
        return inTerminal ? expr : Expr.seq(expr, Expr.ref(ignoring));
    }

    private static Expr ignoringCase(String text) {
        List<Expr> parts = new ArrayList<>();
        text.codePoints()
                .forEach(c -> parts.add(new Expr.Chars(CodePointSet.single(c).ignoringCase())));
        return Expr.seq(parts);
    }

    private String text(int at) {
        in.expect('"');
        StringBuilder text = new StringBuilder();
        while (!in.take('"')) {
            if (in.atEnd() || in.peek() == '\n') {
                throw in.errorAt(at, "has a text without its closing '\"'");
            }
            int c = in.next();
            if (c == '\\') {
                c = in.next();
                c = switch (c) {
                    case 'n' -> '\n';
                    case 'r' -> '\r';
                    case 't' -> '\t';
                    case 'f' -> '\f';
                    case 'x' -> in.hex(2);
                    case 'u' -> in.hex(4);
                    case 'U' -> in.hex(8);
                    default -> c;
                };
            }
            text.appendCodePoint(c);
        }
        return text.toString();
    }

    private Expr regex(int at) {
        in.expect('/');
        StringBuilder pattern = new StringBuilder();
        while (!in.take('/')) {
            if (in.atEnd() || in.peek() == '\n') {
                throw in.errorAt(at, "has a regular expression without its closing '/'");
            }
            int c = in.next();
            pattern.appendCodePoint(c);
            if (c == '\\') {
                pattern.appendCodePoint(in.next());
            }
        }
        StringBuilder flags = new StringBuilder();
        while (isNamePart(in.peek())) {
            int flag = in.next();
            if ("isu".indexOf(flag) < 0) {
                throw in.error("has the flag '" + Character.toString(flag) + "', which is not supported,");
            }
            flags.appendCodePoint(flag);
        }
        return RegexParser.parse(
                "the regular expression /" + pattern + "/ of the Lark grammar", pattern.toString(), flags.toString());
    }

    /// `~m` or `~m..n`.
    private Optional<Expr> counted(Expr atom, int at) {
        if (!in.take('~')) {
            return Optional.empty();
        }
        blanks(false);
        int min = in.number();
        int max = in.take("..") ? in.number() : min;
        if (min < 0 || max < min) {
            throw in.errorAt(at, "has a bad repetition");
        }
        return Optional.of(Expr.repeat(atom, min, max));
    }
}
