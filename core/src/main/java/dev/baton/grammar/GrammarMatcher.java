package dev.baton.grammar;

import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/// Where one sequence stands in its grammar: which tokens may come next, and what changes when one came.
///
/// One thread at a time; matchers of one grammar share what they learn. Once the situations of a grammar were
/// met, [#fillMask] allocates nothing.
public final class GrammarMatcher {
    private final CompiledGrammar grammar;
    private NodeSpace space;
    private Node node;
    private Node[] callers; // the first `depth` wait for what is above them
    private int depth;
    private boolean ended;

    private @Nullable Returns returns; // scratch, made when first needed
    private Node[] savedCallers = new Node[0];

    GrammarMatcher(CompiledGrammar grammar) {
        this.grammar = grammar;
        this.space = grammar.space();
        space.beginStep(NodeSpace.MAX_MASK_WORK);
        this.node = space.start();
        this.callers = new Node[8];
    }

    private GrammarMatcher(GrammarMatcher other) {
        this.grammar = other.grammar;
        this.space = other.space;
        this.node = other.node;
        this.callers = other.callers.clone();
        this.depth = other.depth;
        this.ended = other.ended;
    }

    /// Writes which tokens may come next: one bit per token id, the lowest id in the lowest bit of the first word,
    /// all other bits 0. The end tokens are allowed exactly where the text may end; after an end token nothing is.
    ///
    /// @param mask at least [TokenVocabulary#maskWords] long; words behind that are left alone
    /// @return whether any token is allowed. False before the end means that the vocabulary cannot spell what
    ///     the grammar asks for here: end the request with an error
    /// @throws GrammarException if finding the tokens costs more than the limits allow
    public boolean fillMask(long[] mask) {
        TokenVocabulary vocabulary = grammar.vocabulary;
        int words = vocabulary.maskWords();
        if (ended) {
            Arrays.fill(mask, 0, words, 0L);
            return false;
        }
        space.beginStep(NodeSpace.MAX_MASK_WORK);
        TokenMask own = grammar.mask(space, node, 0);
        own.copyTo(mask, words);
        boolean any = own.hasTokens();
        if (depth > 0 && own.returnNode.length > 0) {
            Returns walk = returns;
            if (walk == null) {
                walk = new Returns(grammar);
                returns = walk;
            }
            any |= walk.mark(space, own, callers, depth, mask);
        }
        if (canEnd()) {
            for (int i = 0; i < vocabulary.endTokenCount(); i++) {
                int token = vocabulary.endToken(i);
                mask[token >>> 6] |= 1L << token;
                any = true;
            }
        }
        return any;
    }

    /// Takes the next token.
    ///
    /// @return whether the token was allowed; if not, nothing changed
    /// @throws GrammarException if that costs more than the limits allow; the matcher is unusable then
    public boolean accept(int token) {
        TokenVocabulary vocabulary = grammar.vocabulary;
        if (ended || token < 0 || token >= vocabulary.size()) {
            return false;
        }
        if (vocabulary.isEnd(token)) {
            ended = canEnd();
            return ended;
        }
        byte[] bytes = vocabulary.bytes(token);
        return bytes.length > 0 && accept(bytes);
    }

    /// Takes bytes, such as the text of several tokens.
    ///
    /// @return whether they were allowed; if not, nothing changed
    /// @throws GrammarException if that costs more than the limits allow; the matcher is unusable then
    public boolean accept(byte[] bytes) {
        if (ended) {
            return false;
        }
        moveToCurrentSpace();
        space.beginStep(NodeSpace.MAX_ACCEPT_WORK);
        Node savedNode = node;
        int savedDepth = depth;
        if (savedCallers.length < depth) {
            savedCallers = new Node[callers.length];
        }
        System.arraycopy(callers, 0, savedCallers, 0, depth);
        for (byte b : bytes) {
            if (!step(b & 0xff)) {
                node = savedNode;
                depth = savedDepth;
                System.arraycopy(savedCallers, 0, callers, 0, depth);
                return false;
            }
        }
        return true;
    }

    /// Whether the text may end here.
    public boolean canEnd() {
        return depth == 0 && node.completed != null;
    }

    /// Whether nothing but an end token may follow, or one was taken.
    public boolean isTerminated() {
        return ended || (canEnd() && !space.canContinue(node));
    }

    /// A matcher at the same place, which then goes its own way.
    public GrammarMatcher copy() {
        return new GrammarMatcher(this);
    }

    private boolean step(int b) {
        Node next = space.next(node, grammar.automaton.classOfByte[b]);
        if (next == Node.DEAD) {
            return false;
        }
        while (next.completed != null && depth > 0) {
            next = space.resolved(next, callers[--depth]);
        }
        for (Node.Shape shape = space.shape(next); shape != null; shape = space.shape(next)) {
            if (depth == callers.length) {
                callers = Arrays.copyOf(callers, 2 * depth);
            }
            callers[depth++] = shape.caller();
            next = shape.node();
        }
        node = next;
        return true;
    }

    private void moveToCurrentSpace() {
        NodeSpace now = grammar.space();
        if (now != space) {
            now.beginStep(NodeSpace.MAX_MASK_WORK);
            node = now.adopt(node);
            for (int i = 0; i < depth; i++) {
                callers[i] = now.adopt(callers[i]);
            }
            space = now;
        }
    }

    /// Walks on in the callers where the rules of a node are complete.
    private static final class Returns extends TrieWalk {
        /// A subtree of more nodes is worked out once per situation instead of once per mask.
        private static final int LARGE_SUBTREE = 128;

        private final CompiledGrammar grammar;
        private Node[] callers = new Node[0];
        private int level;

        Returns(CompiledGrammar grammar) {
            super(grammar.vocabulary);
            this.grammar = grammar;
        }

        boolean mark(NodeSpace space, TokenMask from, Node[] waiting, int depth, long[] mask) {
            callers = waiting;
            level = depth;
            returnedAll(space, from, mask);
            return takeMarked();
        }

        private void returnedAll(NodeSpace space, TokenMask from, long[] mask) {
            for (int i = 0; i < from.returnNode.length; i++) {
                returned(space, from.returnNode[i], from.returnRules[i], mask);
            }
        }

        @Override
        void returned(NodeSpace space, int treeNode, RuleSet rules, long[] mask) {
            int from = level;
            RuleSet completed = rules;
            // At level 0 the text ends, and only an end token follows. Not recursive: the callers may be thousands.
            while (completed != null && level > 0) {
                level--;
                space.spend(1);
                Node rest = space.popped(callers[level], completed);
                markRest(space, rest, treeNode, mask);
                completed = rest.completed;
            }
            level = from;
        }

        private void markRest(NodeSpace space, Node rest, int treeNode, long[] mask) {
            if (grammar.vocabulary.subtreeEnd(treeNode) - treeNode > LARGE_SUBTREE) {
                TokenMask below = grammar.mask(space, rest, treeNode);
                space.spend(mask.length);
                below.addTo(mask);
                mark(below.hasTokens());
                returnedAll(space, below, mask);
            } else {
                walk(space, rest, treeNode, mask);
            }
        }
    }
}
