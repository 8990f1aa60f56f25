package dev.baton.grammar;

import java.util.Arrays;

/// Walks the vocabulary's tree beside the nodes of a grammar and marks the tokens on the way. A byte that cannot
/// follow cuts off its whole subtree. Not thread-safe.
abstract class TrieWalk {
    /// What one walk may add to the space before its grammar counts as too costly.
    private static final long MAX_GROWTH_BYTES = 48L << 20;

    private static final int SPEND_EVERY = 1024;

    private final TokenVocabulary vocabulary;
    private final Node[] path; // (longest token + 1) the node reached at each depth
    private boolean marked;

    TrieWalk(TokenVocabulary vocabulary) {
        this.vocabulary = vocabulary;
        this.path = new Node[vocabulary.maxTokenBytes() + 1];
        Arrays.fill(path, Node.DEAD);
    }

    /// Called where rules are complete at the bottom of the graph, and longer tokens exist.
    abstract void returned(NodeSpace space, int treeNode, RuleSet rules, long[] mask);

    final void mark(boolean any) {
        marked |= any;
    }

    /// Whether any token was marked since this was last asked.
    final boolean takeMarked() {
        boolean result = marked;
        marked = false;
        return result;
    }

    /// Marks the tokens below `treeNode` that can follow `start`, which is reached at `treeNode`.
    final void walk(NodeSpace space, Node start, int treeNode, long[] mask) {
        if (start == Node.DEAD) {
            return;
        }
        long limit = space.sizeBytes() + MAX_GROWTH_BYTES;
        int[] classOfByte = space.automaton.classOfByte;
        byte[] label = vocabulary.label;
        short[] depth = vocabulary.depth;
        int[] subtreeEnd = vocabulary.subtreeEnd;
        int[] tokenAt = vocabulary.token;
        Node[] nodes = path;
        nodes[depth[treeNode]] = start;
        int end = subtreeEnd[treeNode];
        int at = treeNode + 1;
        int work = 1;
        while (at < end) {
            if (++work == SPEND_EVERY) {
                space.spend(work);
                work = 0;
            }
            int level = depth[at];
            Node before = nodes[level - 1];
            int byteClass = classOfByte[label[at] & 0xff];
            Node after = before.known(byteClass);
            if (after == null) {
                after = space.next(before, byteClass);
                if (space.sizeBytes() > limit) {
                    throw new GrammarException("the grammar is too costly: one step needs more than "
                            + (MAX_GROWTH_BYTES >> 20) + " MiB to find the tokens that may follow");
                }
            }
            if (after == Node.DEAD) {
                at = subtreeEnd[at];
                continue;
            }
            for (int token = tokenAt[at]; token >= 0; token = vocabulary.nextSameToken(token)) {
                mask[token >>> 6] |= 1L << token;
                marked = true;
            }
            int next = at + 1;
            if (next < subtreeEnd[at]) {
                RuleSet rules = after.completed;
                if (rules != null) {
                    returned(space, at, rules, mask);
                }
                nodes[level] = after;
            }
            at = next;
        }
        space.spend(work);
    }
}
