package dev.baton.grammar;

import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.TreeMap;

/// JSON strings that are none of some texts, such as names of additional properties.
///
/// While a string is still the beginning of a forbidden one, escapes by number are not allowed: they could spell
/// the forbidden text another way.
final class OtherStrings {
    private static final int MAX_CHARS = 200_000;

    private final TreeMap<Integer, OtherStrings> next = new TreeMap<>();
    private boolean isForbidden;

    private OtherStrings() {}

    static Expr than(Collection<String> forbidden) {
        OtherStrings root = new OtherStrings();
        int chars = 0;
        for (String text : forbidden) {
            chars += text.length();
            if (chars > MAX_CHARS) {
                throw new GrammarException(
                        "the JSON schema's property names are longer than " + MAX_CHARS + " characters together");
            }
            OtherStrings at = root;
            for (int c : text.codePoints().toArray()) {
                at = at.next.computeIfAbsent(c, key -> new OtherStrings());
            }
            at.isForbidden = true;
        }
        Expr.Rule free = new Expr.Rule("rest of a string");
        free.define(Expr.seq(Expr.star(JsonText.ANY_CHAR), JsonText.QUOTE));
        return Expr.seq(JsonText.QUOTE, root.rest(Expr.ref(free)));
    }

    private Expr rest(Expr free) {
        // Children first, without recursion: names may be long.
        List<OtherStrings> order = new ArrayList<>(List.of(this));
        for (int i = 0; i < order.size(); i++) {
            order.addAll(order.get(i).next.values());
        }
        Expr result = Expr.EMPTY;
        for (int i = order.size() - 1; i >= 0; i--) {
            result = order.get(i).define(free);
        }
        return result;
    }

    private Expr defined = Expr.EMPTY;

    private Expr define(Expr free) {
        List<Expr> options = new ArrayList<>();
        CodePointSet.Builder taken = new CodePointSet.Builder();
        next.forEach((c, child) -> {
            options.add(Expr.seq(Expr.literal(JsonText.escaped(Character.toString(c))), child.defined));
            if (c == '/') {
                options.add(Expr.seq(Expr.literal("\\/"), child.defined));
            }
            taken.add(c, c);
        });
        options.add(Expr.seq(new Expr.Chars(JsonText.PLAIN.minus(taken.build())), free));
        for (int c : new int[] {'"', '\\', '\b', '\f', '\n', '\r', '\t'}) {
            if (!next.containsKey(c)) {
                options.add(Expr.seq(Expr.literal(JsonText.escaped(Character.toString(c))), free));
            }
        }
        if (!next.containsKey((int) '/')) {
            options.add(Expr.seq(Expr.literal("\\/"), free));
        }
        if (!isForbidden) {
            options.add(JsonText.QUOTE);
        }
        defined = Expr.ref(new Expr.Rule("other string").define(Expr.alt(options)));
        return defined;
    }
}
