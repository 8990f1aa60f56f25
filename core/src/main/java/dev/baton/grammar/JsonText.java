package dev.baton.grammar;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/// How JSON writes things: the parts that every schema is made of.
///
/// Fixed texts (constants, names of properties) and patterns have one spelling: as they are, with a backslash only
/// where JSON needs one. Free strings may use every escape.
final class JsonText {
    static final Expr QUOTE = Expr.literal("\"");

    /// Characters that stand for themselves in a string.
    static final CodePointSet PLAIN =
            CodePointSet.of(0x20, CodePointSet.MAX).minus(CodePointSet.of('"', '"', '\\', '\\'));

    /// One character of a string, in any spelling; one escaped surrogate pair is one character.
    static final Expr ANY_CHAR = anyChar();

    /// Without `-0`, as XGrammar.
    static final Expr INTEGER = RegexParser.parse("0|-?[1-9][0-9]*");

    /// As RFC 8259 has it.
    static final Expr NUMBER = RegexParser.parse("-?(0|[1-9][0-9]*)(\\.[0-9]+)?([eE][-+]?[0-9]+)?");

    private JsonText() {}

    private static Expr anyChar() {
        Expr hex = Expr.chars('0', '9', 'a', 'f', 'A', 'F');
        Expr eightToB = Expr.chars('8', '9', 'a', 'b', 'A', 'B');
        Expr cToF = Expr.chars('c', 'f', 'C', 'F');
        Expr d = Expr.chars('d', 'd', 'D', 'D');
        Expr notD = Expr.chars('0', '9', 'a', 'c', 'A', 'C', 'e', 'f', 'E', 'F');
        Expr noSurrogate = Expr.alt(Expr.seq(notD, hex, hex, hex), Expr.seq(d, Expr.chars('0', '7'), hex, hex));
        Expr pair = Expr.seq(d, eightToB, hex, hex, Expr.literal("\\u"), d, cToF, hex, hex);
        return Expr.alt(
                new Expr.Chars(PLAIN),
                Expr.seq(
                        Expr.literal("\\"),
                        Expr.alt(
                                Expr.chars(
                                        '"', '"', '\\', '\\', '/', '/', 'b', 'b', 'f', 'f', 'n', 'n', 'r', 'r', 't',
                                        't'),
                                Expr.seq(Expr.literal("u"), Expr.alt(noSurrogate, pair)))));
    }

    /// A string with its quotes, in its one spelling.
    static Expr quoted(String text) {
        return Expr.literal("\"" + escaped(text) + "\"");
    }

    static String escaped(String text) {
        StringBuilder result = new StringBuilder();
        text.codePoints().forEach(c -> {
            if (PLAIN.contains(c)) {
                result.appendCodePoint(c);
            } else {
                result.append(escape(c));
            }
        });
        return result.toString();
    }

    private static String escape(int c) {
        return switch (c) {
            case '"' -> "\\\"";
            case '\\' -> "\\\\";
            case '\b' -> "\\b";
            case '\f' -> "\\f";
            case '\n' -> "\\n";
            case '\r' -> "\\r";
            case '\t' -> "\\t";
            default -> String.format("\\u%04x", c);
        };
    }

    /// What `expr` derives, as it stands inside the quotes of a string.
    static Expr escaped(Expr expr) {
        return switch (expr) {
            case Expr.Literal literal -> Expr.literal(escaped(literal.text()));
            case Expr.Chars chars -> escaped(chars.set());
            case Expr.Seq seq ->
                Expr.seq(seq.parts().stream().map(JsonText::escaped).toList());
            case Expr.Alt alt ->
                Expr.alt(alt.options().stream().map(JsonText::escaped).toList());
            case Expr.Repeat repeat -> new Expr.Repeat(escaped(repeat.part()), repeat.min(), repeat.max());
            case Expr.Ref _ -> throw new IllegalArgumentException("a pattern has no rules");
        };
    }

    private static Expr escaped(CodePointSet set) {
        List<Expr> options = new ArrayList<>();
        CodePointSet plain = set.intersect(PLAIN);
        if (!plain.isEmpty()) {
            options.add(new Expr.Chars(plain));
        }
        CodePointSet others = set.minus(PLAIN);
        for (int range = 0; range < others.rangeCount(); range++) {
            for (int c = others.first(range); c <= others.last(range); c++) {
                options.add(Expr.literal(escape(c)));
            }
        }
        return Expr.alt(options);
    }

    /// A constant in its one spelling, without whitespace but what `whitespace` allows between its parts.
    static Expr constant(Json value, Expr whitespace) {
        return switch (value) {
            case Json.Null _ -> Expr.literal("null");
            case Json.Bool bool -> Expr.literal(Boolean.toString(bool.value()));
            // With its exponent, if it has one: 1e999999999 written out would have a thousand million digits.
            case Json.Num num -> Expr.literal(num.value().toString());
            case Json.Text text -> quoted(text.value());
            case Json.Arr arr -> {
                List<Expr> parts = new ArrayList<>(List.of(Expr.literal("["), whitespace));
                for (int i = 0; i < arr.items().size(); i++) {
                    if (i > 0) {
                        parts.addAll(List.of(Expr.literal(","), whitespace));
                    }
                    parts.addAll(List.of(constant(arr.items().get(i), whitespace), whitespace));
                }
                parts.add(Expr.literal("]"));
                yield Expr.seq(parts);
            }
            case Json.Obj obj -> {
                List<Expr> parts = new ArrayList<>(List.of(Expr.literal("{"), whitespace));
                boolean first = true;
                for (Map.Entry<String, Json> member : obj.members().entrySet()) {
                    if (!first) {
                        parts.addAll(List.of(Expr.literal(","), whitespace));
                    }
                    first = false;
                    parts.addAll(List.of(
                            quoted(member.getKey()),
                            whitespace,
                            Expr.literal(":"),
                            whitespace,
                            constant(member.getValue(), whitespace),
                            whitespace));
                }
                parts.add(Expr.literal("}"));
                yield Expr.seq(parts);
            }
        };
    }
}
