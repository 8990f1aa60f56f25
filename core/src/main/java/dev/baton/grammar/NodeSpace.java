package dev.baton.grammar;

import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicLong;
import org.jspecify.annotations.Nullable;

/// The nodes of one automaton that were needed so far; makes the others. Thread-safe.
///
/// Tail calls hand on their caller instead of adding a node to come back to (Leo 1991), so that a list that is
/// written right-recursive costs no more than a loop.
final class NodeSpace {
    /// More than this at one place of a text means a grammar that is ambiguous beyond use.
    private static final int MAX_ITEMS = 20_000;

    private static final int BYTES_PER_ITEM = 20;

    /// Items, edges and nodes of the vocabulary's tree that one mask may look at. Counted rather than timed, so
    /// that a grammar fares alike on every machine. Costly patterns over 131,072 tokens need 0.7 million.
    static final long MAX_MASK_WORK = 4_000_000;

    /// The same for one token that is taken: some bytes, each of which needs tens of looks, or hundreds.
    static final long MAX_ACCEPT_WORK = 250_000;

    private static final int SPEND_EVERY = 4096;

    final Automaton automaton;
    private final ConcurrentHashMap<Key, Node> nodes = new ConcurrentHashMap<>();
    private final ConcurrentHashMap<Ints, RuleSet> ruleSets = new ConcurrentHashMap<>();
    private final AtomicLong ids = new AtomicLong(3);
    private final AtomicLong bytes = new AtomicLong();
    private final AtomicLong workLeft = new AtomicLong(MAX_MASK_WORK);

    NodeSpace(Automaton automaton) {
        this.automaton = automaton;
    }

    private record Key(
            int[] states,
            int[] counts,
            int[] rules,
            Node[] origins,
            @Nullable RuleSet completed) {
        @Override
        public boolean equals(@Nullable Object other) {
            return other instanceof Key key
                    && Objects.equals(completed, key.completed)
                    && Arrays.equals(states, key.states)
                    && Arrays.equals(counts, key.counts)
                    && Arrays.equals(rules, key.rules)
                    && sameOrigins(key);
        }

        private boolean sameOrigins(Key key) {
            for (int i = 0; i < origins.length; i++) {
                if (origins[i] != key.origins[i]) {
                    return false;
                }
            }
            return true;
        }

        @Override
        public int hashCode() {
            int hash = Arrays.hashCode(states) * 31 + Arrays.hashCode(counts);
            hash = hash * 31 + Arrays.hashCode(rules);
            for (Node origin : origins) {
                hash = hash * 31 + Long.hashCode(origin.id);
            }
            return completed == null ? hash : hash * 31 + Long.hashCode(completed.id());
        }
    }

    private record Ints(int[] values) {
        @Override
        public boolean equals(@Nullable Object other) {
            return other instanceof Ints ints && Arrays.equals(values, ints.values);
        }

        @Override
        public int hashCode() {
            return Arrays.hashCode(values);
        }
    }

    /// About how much memory the nodes take.
    long sizeBytes() {
        return bytes.get();
    }

    void addBytes(long more) {
        bytes.addAndGet(more);
    }

    /// A step begins: one mask, or one token. Steps that others take in this space at the same time share its work.
    ///
    /// @param work that it may need
    void beginStep(long work) {
        workLeft.set(work);
    }

    /// Counts work of the step.
    ///
    /// @throws GrammarException if that is more than a step may cost
    void spend(long work) {
        if (workLeft.addAndGet(-work) < 0) {
            throw new GrammarException(
                    "the grammar is too costly: what may follow here takes too long to find;" + " it may be ambiguous");
        }
    }

    /// What is left of the step's work.
    long workLeft() {
        return workLeft.get();
    }

    /// Before the first byte.
    Node start() {
        Closure closure = new Closure();
        closure.add(automaton.ruleStart[automaton.rootRule], 0, automaton.rootRule, Node.BOTTOM);
        return closure.finish();
    }

    /// What follows `node` on a byte of the class.
    Node next(Node node, int byteClass) {
        Node known = node.known(byteClass);
        return known != null ? known : step(node, byteClass);
    }

    private Node step(Node node, int byteClass) {
        int b = automaton.byteOfClass[byteClass];
        Closure closure = new Closure();
        for (int i = 0; i < node.size; i++) {
            int state = node.state[i];
            closure.charge(1 + automaton.edgeStart[state + 1] - automaton.edgeStart[state]);
            for (int e = automaton.edgeStart[state]; e < automaton.edgeStart[state + 1]; e++) {
                if (automaton.edgeFirst[e] <= b && b <= automaton.edgeLast[e]) {
                    closure.add(automaton.edgeTarget[e], 0, node.rule[i], outside(node.origin[i], node));
                }
            }
        }
        Node next = closure.finish();
        node.learn(byteClass, next);
        return next;
    }

    private static Node outside(Node origin, Node node) {
        return origin == Node.SELF ? node : origin;
    }

    /// The node as a graph of its own where all its items wait for one caller; null where they do not.
    Node.@Nullable Shape shape(Node node) {
        if (node.kernelSize == 0 || node.completed != null) {
            return null;
        }
        Node caller = node.origin[0];
        if (caller == Node.BOTTOM) {
            return null;
        }
        Node.Shape known = node.shape();
        if (known != null) {
            return known;
        }
        for (int i = 1; i < node.kernelSize; i++) {
            if (node.origin[i] != caller) {
                return null;
            }
        }
        Closure closure = new Closure();
        for (int i = 0; i < node.kernelSize; i++) {
            closure.add(node.state[i], node.count[i], node.rule[i], Node.BOTTOM);
        }
        Node.Shape found = new Node.Shape(closure.finish(), caller);
        node.learnShape(found);
        return found;
    }

    /// The rest of `caller`'s text once the rules are complete that it called; in the caller's graph.
    Node popped(Node caller, RuleSet rules) {
        Node known = caller.popped().get(rules.id());
        if (known != null) {
            return known;
        }
        Closure closure = new Closure();
        closure.complete(rules, caller);
        Node found = closure.finish();
        caller.popped().put(rules.id(), found);
        return found;
    }

    /// `node`, which completes rules at its bottom, together with what follows in `caller`; in the caller's graph.
    Node resolved(Node node, Node caller) {
        RuleSet rules = node.completed;
        if (node.kernelSize == 0 && rules != null) {
            return popped(caller, rules);
        }
        Node known = caller.resolved().get(node.id);
        if (known != null) {
            return known;
        }
        Map<Node, Node> moved = new HashMap<>();
        moved.put(Node.BOTTOM, caller);
        Closure closure = new Closure();
        for (int i = 0; i < node.kernelSize; i++) {
            closure.add(node.state[i], node.count[i], node.rule[i], moved(node.origin[i], moved));
        }
        if (rules != null) {
            closure.complete(rules, caller);
        }
        Node found = closure.finish();
        caller.resolved().put(node.id, found);
        return found;
    }

    /// `node` with other origins, all the way down.
    private Node moved(Node node, Map<Node, Node> moved) {
        Node known = moved.get(node);
        if (known != null) {
            return known;
        }
        Closure closure = new Closure();
        for (int i = 0; i < node.kernelSize; i++) {
            closure.add(node.state[i], node.count[i], node.rule[i], moved(node.origin[i], moved));
        }
        Node found = closure.finish();
        moved.put(node, found);
        return found;
    }

    /// A node of another space of the same automaton, in this one.
    Node adopt(Node node) {
        Map<Node, Node> moved = new HashMap<>();
        moved.put(Node.BOTTOM, Node.BOTTOM);
        Closure closure = new Closure();
        for (int i = 0; i < node.kernelSize; i++) {
            closure.add(node.state[i], node.count[i], node.rule[i], moved(node.origin[i], moved));
        }
        if (node.completed != null) {
            for (int rule : node.completed.rules()) {
                closure.completeAtBottom(rule);
            }
        }
        return closure.finish();
    }

    /// A node that allows the same next `bytes` bytes: the rounds of long loops are alike while neither the lower
    /// nor the upper bound is that near.
    Node alike(Node node, int bytes) {
        Node known = node.alike();
        if (known != null) {
            return known;
        }
        Node found = node;
        for (int i = 0; i < node.kernelSize; i++) {
            if (representative(node.state[i], node.count[i], bytes) != node.count[i]) {
                found = withRepresentatives(node, bytes);
                break;
            }
        }
        node.learnAlike(found);
        return found;
    }

    private Node withRepresentatives(Node node, int bytes) {
        Closure closure = new Closure();
        for (int i = 0; i < node.kernelSize; i++) {
            int count = representative(node.state[i], node.count[i], bytes);
            closure.add(node.state[i], count, node.rule[i], node.origin[i]);
        }
        if (node.completed != null) {
            for (int rule : node.completed.rules()) {
                closure.completeAtBottom(rule);
            }
        }
        return closure.finish();
    }

    private int representative(int state, int count, int bytes) {
        if (automaton.loopBody[state] < 0) {
            return count;
        }
        int min = automaton.loopMin[state];
        int max = automaton.loopMax[state];
        if (count < min) {
            return count < min - bytes ? 0 : count;
        }
        return max == Expr.Repeat.UNBOUNDED || count < max - bytes ? min : count;
    }

    /// Whether any byte can follow.
    boolean canContinue(Node node) {
        for (int i = 0; i < node.size; i++) {
            if (automaton.edgeStart[node.state[i]] < automaton.edgeStart[node.state[i] + 1]) {
                return true;
            }
        }
        return false;
    }

    private RuleSet ruleSet(int[] rules) {
        Arrays.sort(rules);
        return ruleSets.computeIfAbsent(new Ints(rules), key -> new RuleSet(ids.getAndIncrement(), key.values()));
    }

    /// Collects the items of a node: the ones that are added, the rules that they call, and what follows the rules
    /// that are complete. Rules that derive the empty text are stepped over when they are called (Aycock and
    /// Horspool 2002).
    private final class Closure {
        private final Items items = new Items();
        private final IntBuffer completed = new IntBuffer();
        private final Items returned = new Items(); // rules at callers that went on already
        private int done;
        private int work; // not yet spent

        void add(int state, int count, int rule, Node origin) {
            if (items.add(state, count, rule, origin) && items.size() > MAX_ITEMS) {
                throw new GrammarException(
                        "the grammar is too ambiguous: more than " + MAX_ITEMS + " ways to read the text at one place");
            }
        }

        void charge(int more) {
            work += more;
            if (work >= SPEND_EVERY) {
                spendCharged();
            }
        }

        private void spendCharged() {
            spend(work);
            work = 0;
        }

        void completeAtBottom(int rule) {
            charge(completed.size());
            for (int i = 0; i < completed.size(); i++) {
                if (completed.get(i) == rule) {
                    return;
                }
            }
            completed.add(rule);
        }

        void complete(RuleSet rules, Node caller) {
            for (int rule : rules.rules()) {
                complete(rule, caller);
            }
        }

        /// What waits in `caller` for the rule goes on.
        private void complete(int rule, Node caller) {
            for (int i = 0; i < caller.size; i++) {
                int state = caller.state[i];
                charge(1 + automaton.callStart[state + 1] - automaton.callStart[state]);
                for (int c = automaton.callStart[state]; c < automaton.callStart[state + 1]; c++) {
                    if (automaton.callRule[c] == rule) {
                        add(automaton.callTarget[c], 0, caller.rule[i], outside(caller.origin[i], caller));
                    }
                }
                if (automaton.loopBody[state] == rule && caller.count[i] < automaton.loopMax[state]) {
                    int rounds = automaton.loopMax[state] == Expr.Repeat.UNBOUNDED
                            ? Math.min(caller.count[i] + 1, automaton.loopMin[state])
                            : caller.count[i] + 1;
                    add(state, rounds, caller.rule[i], outside(caller.origin[i], caller));
                }
            }
        }

        private void expand(int state, int count, int rule, Node origin) {
            charge(1 + automaton.callStart[state + 1] - automaton.callStart[state]);
            if (automaton.isFinal[state]) {
                if (origin == Node.BOTTOM) {
                    completeAtBottom(rule);
                } else if (origin != Node.SELF && returned.add(0, 0, rule, origin)) {
                    complete(rule, origin);
                }
            }
            for (int l = automaton.loopStart[state]; l < automaton.loopStart[state + 1]; l++) {
                add(automaton.loopState[l], 0, rule, origin);
            }
            for (int c = automaton.callStart[state]; c < automaton.callStart[state + 1]; c++) {
                int called = automaton.callRule[c];
                int target = automaton.callTarget[c];
                if (automaton.isTail[target]) {
                    add(automaton.ruleStart[called], 0, rule, origin);
                } else {
                    add(automaton.ruleStart[called], 0, called, Node.SELF);
                }
                if (automaton.isNullable[called]) {
                    add(target, 0, rule, origin);
                }
            }
            int body = automaton.loopBody[state];
            if (body >= 0) {
                if (count < automaton.loopMax[state]) {
                    add(automaton.ruleStart[body], 0, body, Node.SELF);
                }
                if (count >= automaton.loopMin[state]) {
                    add(automaton.loopExit[state], 0, rule, origin);
                }
            }
        }

        Node finish() {
            for (; done < items.size(); done++) {
                expand(items.state(done), items.count(done), items.rule(done), items.origin(done));
            }
            charge(items.size());
            spendCharged();
            Items kernel = new Items();
            for (int i = 0; i < items.size(); i++) {
                if (items.origin(i) != Node.SELF && isUseful(items.state(i))) {
                    kernel.add(items.state(i), items.count(i), items.rule(i), items.origin(i));
                }
            }
            if (kernel.size() == 0 && completed.size() == 0) {
                return Node.DEAD;
            }
            Items all = kernel.sorted();
            int kernelSize = all.size();
            RuleSet rules = completed.size() == 0 ? null : ruleSet(completed.toArray());
            Key key = new Key(all.states(), all.counts(), all.rules(), all.origins(), rules);
            Node known = nodes.get(key);
            if (known != null) {
                return known;
            }
            for (int i = 0; i < items.size(); i++) {
                if (items.origin(i) == Node.SELF && isUseful(items.state(i))) {
                    all.add(items.state(i), items.count(i), items.rule(i), items.origin(i));
                }
            }
            Node created = new Node(ids.getAndIncrement(), all, kernelSize, rules, automaton.byteOfClass.length);
            Node raced = nodes.putIfAbsent(key, created);
            if (raced != null) {
                return raced;
            }
            bytes.addAndGet(300L + 4L * automaton.byteOfClass.length + (long) BYTES_PER_ITEM * all.size());
            return created;
        }

        private boolean isUseful(int state) {
            return automaton.edgeStart[state] < automaton.edgeStart[state + 1]
                    || automaton.callStart[state] < automaton.callStart[state + 1]
                    || automaton.loopBody[state] >= 0;
        }
    }
}
