package dev.baton.grammar;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/// A pattern under bounds on its length in characters: the product of the pattern's automaton, whose edges are
/// sets of characters, with a counter. Not thread-safe; used once.
final class LengthBounds {
    private static final int MAX_STATES = 4_000;
    private static final int MAX_PLACES = 40_000;
    /// Of all places together: states that are looked at without a character, and characters that lead on.
    private static final int MAX_STEPS = 500_000;

    private record Edge(CodePointSet set, int to) {}

    private record Place(int state, int count) {}

    private final String what;
    private final String path;
    private int steps;
    private final List<List<Edge>> edges = new ArrayList<>();
    private final List<List<Integer>> empty = new ArrayList<>();

    private LengthBounds(String what, String path) {
        this.what = what;
        this.path = path;
    }

    /// The texts of `pattern` with `min` to `max` characters (-1: no upper bound), as they stand in a JSON string.
    static Expr written(Expr pattern, int min, int max, String what, String path) {
        LengthBounds bounds = new LengthBounds(what, path);
        int start = bounds.newState();
        int end = bounds.build(pattern, start);
        return bounds.product(start, end, min, max);
    }

    private GrammarException tooLarge() {
        return new GrammarException("the JSON schema's " + what + " at " + path + " is too large to be counted");
    }

    private int newState() {
        if (edges.size() == MAX_STATES) {
            throw tooLarge();
        }
        edges.add(new ArrayList<>());
        empty.add(new ArrayList<>());
        return edges.size() - 1;
    }

    /// As in [AutomatonBuilder]: edges lead out of `from` and into states that are made here.
    private int build(Expr expr, int from) {
        int to = newState();
        switch (expr) {
            case Expr.Literal literal -> {
                int at = from;
                for (int c : literal.text().codePoints().toArray()) {
                    int next = newState();
                    edges.get(at).add(new Edge(CodePointSet.single(c), next));
                    at = next;
                }
                empty.get(at).add(to);
            }
            case Expr.Chars chars -> edges.get(from).add(new Edge(chars.set(), to));
            case Expr.Seq seq -> {
                int at = from;
                for (Expr part : seq.parts()) {
                    at = build(part, at);
                }
                empty.get(at).add(to);
            }
            case Expr.Alt alt ->
                alt.options().forEach(option -> empty.get(build(option, from)).add(to));
            case Expr.Repeat repeat -> {
                int at = from;
                for (int i = 0; i < repeat.min(); i++) {
                    at = build(repeat.part(), at);
                }
                if (repeat.max() == Expr.Repeat.UNBOUNDED) {
                    int loop = newState();
                    empty.get(at).add(loop);
                    empty.get(build(repeat.part(), loop)).add(loop);
                    at = loop;
                } else {
                    for (int i = repeat.min(); i < repeat.max(); i++) {
                        empty.get(at).add(to);
                        at = build(repeat.part(), at);
                    }
                }
                empty.get(at).add(to);
            }
            case Expr.Ref _ -> throw new IllegalArgumentException("a pattern has no rules");
        }
        return to;
    }

    private Expr product(int start, int end, int min, int max) {
        int counted = max >= 0 ? max : min; // further counts are alike
        Map<Place, Expr.Rule> rules = new HashMap<>();
        Deque<Place> open = new ArrayDeque<>();
        Expr root = ref(new Place(start, 0), rules, open);
        while (!open.isEmpty()) {
            if (rules.size() > MAX_PLACES) {
                throw tooLarge();
            }
            Place place = open.remove();
            List<Expr> options = new ArrayList<>();
            boolean mayEnd = false;
            for (int state : closure(place.state())) {
                mayEnd |= state == end;
                for (Edge edge : edges.get(state)) {
                    if (max < 0 || place.count() < max) {
                        Place next = new Place(edge.to(), Math.min(place.count() + 1, counted));
                        countStep();
                        options.add(Expr.seq(JsonText.escaped(new Expr.Chars(edge.set())), ref(next, rules, open)));
                    }
                }
            }
            if (mayEnd && place.count() >= min) {
                options.add(Expr.EMPTY);
            }
            Expr.Rule rule = rules.get(place);
            if (rule != null) {
                rule.define(Expr.alt(options));
            }
        }
        return root;
    }

    private static Expr ref(Place place, Map<Place, Expr.Rule> rules, Deque<Place> open) {
        return Expr.ref(rules.computeIfAbsent(place, key -> {
            open.add(key);
            return new Expr.Rule("counted");
        }));
    }

    private Set<Integer> closure(int state) {
        Set<Integer> seen = new HashSet<>(Set.of(state));
        Deque<Integer> open = new ArrayDeque<>(seen);
        while (!open.isEmpty()) {
            for (int next : empty.get(open.remove())) {
                if (seen.add(next)) {
                    countStep();
                    open.add(next);
                }
            }
        }
        return seen;
    }

    private void countStep() {
        if (++steps > MAX_STEPS) {
            throw tooLarge();
        }
    }
}
