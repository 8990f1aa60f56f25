package dev.baton.grammar;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;

/// What a rule derives: the form that schemas, regular expressions and grammars are turned into before they
/// become an automaton. Over characters; UTF-8 comes later.
sealed interface Expr {
    Expr EMPTY = new Seq(List.of());
    Expr NOTHING = new Alt(List.of());

    /// Exactly this text.
    record Literal(String text) implements Expr {
        byte[] utf8() {
            return text.getBytes(StandardCharsets.UTF_8);
        }
    }

    /// One character of a set.
    record Chars(CodePointSet set) implements Expr {}

    /// One after another.
    record Seq(List<Expr> parts) implements Expr {}

    /// One of several; none of them means that nothing matches.
    record Alt(List<Expr> options) implements Expr {}

    /// A part `min` to `max` times; [#UNBOUNDED] is no upper bound.
    record Repeat(Expr part, int min, int max) implements Expr {
        static final int UNBOUNDED = Integer.MAX_VALUE;
    }

    /// A rule by name.
    record Ref(Rule rule) implements Expr {}

    /// A named rule, whose body is set once; so rules can refer to each other. Compared by identity.
    final class Rule {
        private final String name;
        private Expr body = NOTHING;
        private boolean defined;

        Rule(String name) {
            this.name = name;
        }

        String name() {
            return name;
        }

        Expr body() {
            return body;
        }

        boolean isDefined() {
            return defined;
        }

        Rule define(Expr expression) {
            body = expression;
            defined = true;
            return this;
        }
    }

    static Expr literal(String text) {
        return text.isEmpty() ? EMPTY : new Literal(text);
    }

    static Expr chars(int... pairs) {
        return new Chars(CodePointSet.of(pairs));
    }

    static Expr seq(Expr... parts) {
        return seq(List.of(parts));
    }

    static Expr seq(List<Expr> parts) {
        List<Expr> flat = new ArrayList<>();
        for (Expr part : parts) {
            if (part instanceof Seq inner) {
                flat.addAll(inner.parts());
            } else {
                flat.add(part);
            }
        }
        return flat.size() == 1 ? flat.getFirst() : new Seq(List.copyOf(flat));
    }

    static Expr alt(Expr... options) {
        return alt(List.of(options));
    }

    static Expr alt(List<Expr> options) {
        return options.size() == 1 ? options.getFirst() : new Alt(List.copyOf(options));
    }

    static Expr optional(Expr part) {
        return repeat(part, 0, 1);
    }

    static Expr star(Expr part) {
        return repeat(part, 0, Repeat.UNBOUNDED);
    }

    static Expr plus(Expr part) {
        return repeat(part, 1, Repeat.UNBOUNDED);
    }

    static Expr repeat(Expr part, int min, int max) {
        if (max == 0) {
            return EMPTY;
        }
        return min == 1 && max == 1 ? part : new Repeat(part, min, max);
    }

    static Expr ref(Rule rule) {
        return new Ref(rule);
    }
}
