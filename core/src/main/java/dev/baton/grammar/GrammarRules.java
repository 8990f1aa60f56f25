package dev.baton.grammar;

import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;

/// What the notations for grammars have in common: rules that are used before they are defined, and repetitions
/// behind an element. Not thread-safe; used once.
final class GrammarRules {
    /// Repetitions of one repetition, as in `"a"+?`.
    private static final int MAX_QUANTIFIERS = 4;

    private final SourceReader in;
    private final String kind;
    private final Map<String, Expr.Rule> rules = new LinkedHashMap<>();
    private final Map<String, Integer> firstUse = new LinkedHashMap<>();

    /// A repetition that the notation writes in its own way.
    @FunctionalInterface
    interface Counted {
        /// The element repeated, or nothing if no such repetition stands here.
        Optional<Expr> read(Expr element, int at);
    }

    /// @param kind what stands before a rule's name in messages, with a blank behind it if it is not empty
    GrammarRules(SourceReader in, String kind) {
        this.in = in;
        this.kind = kind;
    }

    /// The rule of this name, used at a position.
    Expr.Rule named(String name, int at) {
        firstUse.putIfAbsent(name, at);
        return rules.computeIfAbsent(name, Expr.Rule::new);
    }

    /// The rule of this name, to be defined now.
    ///
    /// @throws GrammarException if it has been
    Expr.Rule undefined(String name, int at) {
        Expr.Rule rule = named(name, at);
        if (rule.isDefined()) {
            throw in.errorAt(at, "defines " + kind + "'" + name + "' twice");
        }
        return rule;
    }

    /// The rule that the whole text is derived from.
    ///
    /// @param what the grammar, as it stands in messages
    /// @throws GrammarException if it, or a rule that is used, is not defined
    Expr.Rule root(String what, String name) {
        Expr.Rule root = rules.get(name);
        if (root == null || !root.isDefined()) {
            throw new GrammarException(what + " has no rule '" + name + "'");
        }
        rules.forEach((used, rule) -> {
            if (!rule.isDefined()) {
                throw in.errorAt(
                        firstUse.getOrDefault(used, 0), "uses " + kind + "'" + used + "', which it does not define,");
            }
        });
        return root;
    }

    /// An element with the repetitions that stand behind it: `*`, `+`, `?` and those that are counted.
    Expr quantified(Expr element, Counted counted) {
        Expr result = element;
        for (int quantifiers = 0; ; quantifiers++) {
            int at = in.position();
            if (in.take('*')) {
                result = Expr.star(result);
            } else if (in.take('+')) {
                result = Expr.plus(result);
            } else if (in.take('?')) {
                result = Expr.optional(result);
            } else {
                Optional<Expr> repeated = counted.read(result, at);
                if (repeated.isEmpty()) {
                    return result;
                }
                result = repeated.get();
            }
            if (quantifiers == MAX_QUANTIFIERS) {
                throw in.errorAt(at, "repeats an element more than " + MAX_QUANTIFIERS + " times over");
            }
        }
    }
}
