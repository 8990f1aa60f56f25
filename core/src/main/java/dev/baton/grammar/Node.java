package dev.baton.grammar;

import org.jspecify.annotations.Nullable;

/// Where a text stands in its rules: a set of items, each a state of the automaton, how often its counted loop
/// went round, which rule it will complete, and the node that waits for that rule. Together the nodes are an
/// Earley parser's sets (Earley 1970) as a graph that is made while it is walked, so that equal situations are
/// one node and a byte that was once seen is one array access.
///
/// The bottom of a graph is open: the origin [#BOTTOM] stands for whoever called. So what happens inside an object
/// is worked out once, whatever the object is nested in (XGrammar's idea of tokens that do not depend on the
/// context); the callers are a stack beside it ([GrammarMatcher]).
///
/// Immutable but for its caches, which are written without locks: every value written is the same up to
/// duplicates, and immutable. Thread-safe.
final class Node {
    /// The origin of items whose caller is outside of this graph.
    static final Node BOTTOM = new Node(0, new Items(), 0, null, 1);
    /// The origin of items that begin at the node itself.
    static final Node SELF = new Node(1, new Items(), 0, null, 1);
    /// Where no text can go on.
    static final Node DEAD = new Node(2, new Items(), 0, null, 1);

    final long id;
    final int size;
    final int[] state; // (size)
    final int[] count; // (size) rounds of the state's loop, 0 for others
    final int[] rule; // (size) what is complete when the item is
    final Node[] origin; // (size)
    /// The first items came from elsewhere; the others begin here and follow from them.
    final int kernelSize;
    /// The rules that are complete here for the caller at the bottom; null is none.
    final @Nullable RuleSet completed;

    private final @Nullable Node[] next; // (byte classes)
    private @Nullable Shape shape;
    private @Nullable Node alike;
    private final LongMap<TokenMask> masks = new LongMap<>();
    private final LongMap<Node> resolved = new LongMap<>();
    private final LongMap<Node> popped = new LongMap<>();

    Node(long id, Items items, int kernelSize, @Nullable RuleSet completed, int classes) {
        this.id = id;
        this.size = items.size();
        this.state = items.states();
        this.count = items.counts();
        this.rule = items.rules();
        this.origin = items.origins();
        this.kernelSize = kernelSize;
        this.completed = completed;
        this.next = new @Nullable Node[classes];
    }

    /// A node whose items all have one caller, as a graph of its own, and that caller.
    record Shape(Node node, Node caller) {}

    /// What follows a byte of the class, or null if that was not yet worked out.
    @Nullable
    Node known(int byteClass) {
        return next[byteClass];
    }

    void learn(int byteClass, Node node) {
        next[byteClass] = node;
    }

    @Nullable
    Shape shape() {
        return shape;
    }

    void learnShape(Shape found) {
        shape = found;
    }

    @Nullable
    Node alike() {
        return alike;
    }

    void learnAlike(Node node) {
        alike = node;
    }

    /// By the node of the vocabulary's tree below which the tokens are.
    LongMap<TokenMask> masks() {
        return masks;
    }

    LongMap<Node> resolved() {
        return resolved;
    }

    LongMap<Node> popped() {
        return popped;
    }
}
