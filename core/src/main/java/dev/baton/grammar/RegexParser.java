package dev.baton.grammar;

import java.util.ArrayList;
import java.util.List;

/// Reads regular expressions as Python, Rust and JavaScript have them in common.
///
/// Supported: classes, `.` (not a line feed, unless `(?s)`), `\d \w \s` and their negations over ASCII, `\p{..}`,
/// the escapes `\n \r \t \f \v \a \e \0` and those by number (`x`, `u` and `U`), groups of every kind that only
/// groups, `| * + ? {m} {m,} {,n} {m,n}`, lazy forms (which match the same texts), `^ $ \A \z \Z` at the ends, and
/// the flags `i` and `s`: `(?i)`, `(?s)`, `(?i:..)`. Refused by name: back-references, look-around, `\b`, atomic
/// groups, possessive quantifiers, and anchors in the middle.
///
/// Not thread-safe; used once.
final class RegexParser {
    private static final int MAX_NESTING = 200;
    private static final Expr.Rule START = new Expr.Rule("^");
    private static final Expr.Rule END = new Expr.Rule("$");

    private final String what;
    private final SourceReader in;
    private boolean ignoreCase;
    private boolean dotAll;
    private int nesting;

    private RegexParser(String what, String pattern) {
        this.what = what;
        this.in = new SourceReader(what, pattern);
    }

    /// @throws GrammarException with the position of what is malformed or not supported
    static Expr parse(String pattern) {
        return parse("the regular expression", pattern, "");
    }

    /// @param what what the pattern is, for messages
    /// @param flags any of `i` and `s`
    static Expr parse(String what, String pattern, String flags) {
        RegexParser parser = new RegexParser(what, pattern);
        parser.ignoreCase = flags.indexOf('i') >= 0;
        parser.dotAll = flags.indexOf('s') >= 0;
        Expr expr = parser.alternatives();
        if (!parser.in.atEnd()) {
            throw parser.in.error("has a ')' without '('");
        }
        return parser.withoutAnchors(expr, true, true);
    }

    private Expr alternatives() {
        if (++nesting > MAX_NESTING) {
            throw in.error("nests groups more than " + MAX_NESTING + " deep");
        }
        List<Expr> options = new ArrayList<>();
        do {
            options.add(sequence());
        } while (in.take('|'));
        nesting--;
        return Expr.alt(options);
    }

    private Expr sequence() {
        List<Expr> parts = new ArrayList<>();
        while (!in.atEnd() && in.peek() != '|' && in.peek() != ')') {
            int at = in.position();
            Expr atom = atom();
            int behind = in.position();
            Expr repeated = quantified(atom);
            if (in.position() != behind && isAnchor(atom)) {
                throw in.errorAt(at, "repeats an anchor");
            }
            parts.add(repeated);
        }
        return Expr.seq(joined(parts));
    }

    /// Neighbouring single characters as one literal.
    private static List<Expr> joined(List<Expr> parts) {
        List<Expr> result = new ArrayList<>();
        StringBuilder text = new StringBuilder();
        for (Expr part : parts) {
            if (part instanceof Expr.Literal literal) {
                text.append(literal.text());
            } else {
                flush(text, result);
                result.add(part);
            }
        }
        flush(text, result);
        return result;
    }

    private static void flush(StringBuilder text, List<Expr> result) {
        if (!text.isEmpty()) {
            result.add(Expr.literal(text.toString()));
            text.setLength(0);
        }
    }

    private Expr quantified(Expr atom) {
        Expr result = atom;
        boolean isRepeated = false;
        while (true) {
            int at = in.position();
            int min;
            int max;
            if (in.take('*')) {
                min = 0;
                max = Expr.Repeat.UNBOUNDED;
            } else if (in.take('+')) {
                min = 1;
                max = Expr.Repeat.UNBOUNDED;
            } else if (in.take('?')) {
                min = 0;
                max = 1;
            } else if (in.peek() == '{') {
                in.next();
                min = in.number();
                max = min;
                if (in.take(',')) {
                    max = in.number();
                    if (min < 0 && max < 0) {
                        in.moveTo(at);
                        return result;
                    }
                    min = Math.max(0, min);
                    max = max < 0 ? Expr.Repeat.UNBOUNDED : max;
                }
                if (min < 0 || !in.take('}')) {
                    in.moveTo(at); // an ordinary brace
                    return result;
                }
                if (max < min) {
                    throw in.errorAt(at, "repeats at least " + min + " and at most " + max + " times");
                }
            } else {
                return result;
            }
            if (isRepeated) {
                throw in.errorAt(at, "repeats a repetition");
            }
            if (in.peek() == '+') {
                throw in.error("has a possessive quantifier, which is not supported,");
            }
            in.take('?'); // lazy: the same texts
            result = Expr.repeat(atom, min, max);
            isRepeated = true;
        }
    }

    private Expr atom() {
        int at = in.position();
        int c = in.next();
        return switch (c) {
            case '(' -> group(at);
            case '[' -> new Expr.Chars(charClass(at));
            case '.' -> new Expr.Chars(dotAll ? CodePointSet.ALL : CharClasses.NOT_LINE_END);
            case '^' -> Expr.ref(START);
            case '$' -> Expr.ref(END);
            case '*', '+', '?' -> throw in.errorAt(at, "has nothing to repeat before '" + Character.toString(c) + "'");
            case '\\' -> escape(at);
            default -> character(c);
        };
    }

    private Expr character(int c) {
        CodePointSet one = CodePointSet.single(c);
        if (one.isEmpty()) {
            throw in.errorAt(in.position() - 1, "holds half a surrogate pair, which is no character,");
        }
        CodePointSet set = ignoreCase ? one.ignoringCase() : one;
        return set.equals(one) ? Expr.literal(Character.toString(c)) : new Expr.Chars(set);
    }

    private Expr group(int at) {
        boolean outerIgnoreCase = ignoreCase;
        boolean outerDotAll = dotAll;
        if (in.take('?')) {
            if (in.take('#')) {
                while (in.next() != ')') {
                    // a comment
                }
                return Expr.EMPTY;
            }
            if (in.peek() == '=' || in.peek() == '!' || in.looksAt("<=") || in.looksAt("<!")) {
                throw in.errorAt(at, "has a look-around, which is not supported,");
            }
            if (in.peek() == '>') {
                throw in.errorAt(at, "has an atomic group, which is not supported,");
            }
            if (in.looksAt("P=") || in.looksAt("P>") || in.peek() == '(' || in.peek() == '|') {
                throw in.errorAt(at, "has a back-reference, call or conditional group, which is not supported,");
            }
            if (in.take("P<") || in.take('<')) {
                name();
            } else if (!flags(at)) {
                return Expr.EMPTY; // flags for the rest of the group around
            }
        }
        Expr inner = alternatives();
        if (!in.take(')')) {
            throw in.errorAt(at, "has a '(' without ')'");
        }
        ignoreCase = outerIgnoreCase;
        dotAll = outerDotAll;
        return inner;
    }

    private void name() {
        int from = in.position();
        while (in.peek() != '>') {
            int c = in.next();
            if (!Character.isLetterOrDigit(c) && c != '_') {
                throw in.errorAt(from, "has a group name with other signs than letters, digits and '_'");
            }
        }
        in.next();
    }

    /// Reads `i-s:`; false if the flags end with `)` and have no group.
    private boolean flags(int at) {
        boolean on = true;
        while (true) {
            int c = in.next();
            switch (c) {
                case ':' -> {
                    return true;
                }
                case ')' -> {
                    return false;
                }
                case '-' -> on = false;
                case 'i' -> ignoreCase = on;
                case 's' -> dotAll = on;
                case 'u', 'a' -> {
                    // classes are over ASCII, all else over Unicode, whatever the flag
                }
                default ->
                    throw in.errorAt(
                            at, "has the group or flag '(?" + Character.toString(c) + "', which is not supported,");
            }
        }
    }

    private Expr escape(int at) {
        int c = in.next();
        return switch (c) {
            case 'b', 'B' -> throw in.errorAt(at, "has the word boundary \\" + (char) c + ", which is not supported,");
            case 'A' -> Expr.ref(START);
            case 'z', 'Z' -> Expr.ref(END);
            case 'k', 'g', '1', '2', '3', '4', '5', '6', '7', '8', '9' ->
                throw in.errorAt(at, "has a back-reference, which is not supported,");
            default -> {
                in.moveTo(at + 1);
                CodePointSet set = escapedSet(at);
                if (set.rangeCount() == 1 && set.first(0) == set.last(0)) {
                    yield character(set.first(0));
                }
                yield new Expr.Chars(ignoreCase ? set.ignoringCase() : set);
            }
        };
    }

    /// What stands behind a backslash, inside or outside of a class.
    private CodePointSet escapedSet(int at) {
        int c = in.next();
        return switch (c) {
            case 'd' -> CharClasses.DIGIT;
            case 'D' -> CharClasses.DIGIT.complement();
            case 'w' -> CharClasses.WORD;
            case 'W' -> CharClasses.WORD.complement();
            case 's' -> CharClasses.SPACE;
            case 'S' -> CharClasses.SPACE.complement();
            case 'p', 'P' -> {
                String name;
                if (in.take('{')) {
                    int from = in.position();
                    while (in.next() != '}') {
                        // up to the brace
                    }
                    name = in.textBetween(from, in.position() - 1);
                } else {
                    name = Character.toString(in.next());
                }
                boolean negated = c == 'P' ^ name.startsWith("^");
                CodePointSet set = CharClasses.unicode(name.startsWith("^") ? name.substring(1) : name);
                yield negated ? set.complement() : set;
            }
            case 'n' -> CodePointSet.single('\n');
            case 'r' -> CodePointSet.single('\r');
            case 't' -> CodePointSet.single('\t');
            case 'f' -> CodePointSet.single('\f');
            case 'v' -> CodePointSet.single(0x0b);
            case 'a' -> CodePointSet.single(0x07);
            case 'e' -> CodePointSet.single(0x1b);
            case '0' -> CodePointSet.single(0);
            case 'x' -> scalar(at, in.take('{') ? in.hexInBraces() : in.hex(2));
            case 'u' -> scalar(at, in.take('{') ? in.hexInBraces() : utf16());
            case 'U' -> scalar(at, in.hex(8));
            case 'c' -> CodePointSet.single(in.next() & 0x1f);
            default -> {
                if (c < 0x80 && Character.isLetterOrDigit(c)) {
                    throw in.errorAt(at, "has the escape \\" + (char) c + ", which is not supported,");
                }
                yield CodePointSet.single(c);
            }
        };
    }

    /// Four hexadecimal digits, or a surrogate pair of two such escapes as JavaScript writes it.
    private int utf16() {
        int unit = in.hex(4);
        if (Character.isHighSurrogate((char) unit) && in.looksAt("\\u")) {
            int at = in.position();
            in.take("\\u");
            int low = in.hex(4);
            if (Character.isLowSurrogate((char) low)) {
                return Character.toCodePoint((char) unit, (char) low);
            }
            in.moveTo(at);
        }
        return unit;
    }

    private CodePointSet scalar(int at, int codePoint) {
        CodePointSet set = CodePointSet.single(codePoint);
        if (set.isEmpty()) {
            throw in.errorAt(at, "names half a surrogate pair, which is no character,");
        }
        return set;
    }

    private CodePointSet charClass(int at) {
        boolean negated = in.take('^');
        CodePointSet.Builder set = new CodePointSet.Builder();
        boolean first = true;
        while (first || in.peek() != ']') {
            if (in.atEnd()) {
                throw in.errorAt(at, "has a '[' without ']'");
            }
            first = false;
            int memberAt = in.position();
            CodePointSet low = member(memberAt);
            if (in.peek() != '-' || in.peek(1) == ']' || in.peek(1) == SourceReader.END) {
                set.add(low);
                continue;
            }
            in.next();
            CodePointSet high = member(in.position());
            if (!isSingle(low) || !isSingle(high) || low.first(0) > high.first(0)) {
                throw in.errorAt(memberAt, "has a bad range in a class");
            }
            set.add(low.first(0), high.first(0));
        }
        in.next();
        CodePointSet found = set.build();
        CodePointSet cased = ignoreCase ? found.ignoringCase() : found;
        return negated ? cased.complement() : cased;
    }

    private CodePointSet member(int at) {
        if (in.looksAt("[:")) {
            throw in.errorAt(at, "has a POSIX class, which is not supported,");
        }
        int c = in.next();
        if (c != '\\') {
            return scalar(at, c);
        }
        if (in.take('b')) {
            return CodePointSet.single('\b');
        }
        return escapedSet(at);
    }

    private static boolean isSingle(CodePointSet set) {
        return set.rangeCount() == 1 && set.first(0) == set.last(0);
    }

    private static boolean isAnchor(Expr expr) {
        return expr instanceof Expr.Ref;
    }

    /// Drops anchors at the ends, where a match of the whole text makes them true, and refuses others.
    private Expr withoutAnchors(Expr expr, boolean atStart, boolean atEnd) {
        return switch (expr) {
            case Expr.Literal _, Expr.Chars _ -> expr;
            case Expr.Ref ref -> {
                if (ref.rule() == START ? !atStart : !atEnd) {
                    throw new GrammarException(
                            what + " has the anchor '" + ref.rule().name()
                                    + "' where other text can stand before or behind it, which is not supported");
                }
                yield Expr.EMPTY;
            }
            case Expr.Seq seq -> {
                List<Expr> parts = new ArrayList<>();
                int first = 0;
                while (first < seq.parts().size() && isAnchor(seq.parts().get(first))) {
                    first++;
                }
                int last = seq.parts().size() - 1;
                while (last >= 0 && isAnchor(seq.parts().get(last))) {
                    last--;
                }
                for (int i = 0; i < seq.parts().size(); i++) {
                    parts.add(withoutAnchors(seq.parts().get(i), atStart && i <= first, atEnd && i >= last));
                }
                yield Expr.seq(parts);
            }
            case Expr.Alt alt ->
                Expr.alt(alt.options().stream()
                        .map(option -> withoutAnchors(option, atStart, atEnd))
                        .toList());
            case Expr.Repeat repeat ->
                new Expr.Repeat(
                        withoutAnchors(repeat.part(), atStart && repeat.max() == 1, atEnd && repeat.max() == 1),
                        repeat.min(),
                        repeat.max());
        };
    }
}
