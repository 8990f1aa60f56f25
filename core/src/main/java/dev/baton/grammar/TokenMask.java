package dev.baton.grammar;

import java.util.Arrays;

/// The tokens that a node allows whoever called, and the places in the vocabulary's tree where it depends on the
/// caller: the node's rules are complete there and longer tokens go on in what waits. Immutable, thread-safe.
///
/// Few tokens are kept as a list, many as bits.
final class TokenMask {
    private final int[] tokens;
    private final long[] bits; // (mask words), empty if the list holds all
    final int[] returnNode; // (returns) where in the tree
    final RuleSet[] returnRules; // (returns) what is complete there

    TokenMask(long[] mask, int[] returnNode, RuleSet[] returnRules) {
        int count = 0;
        for (long word : mask) {
            count += Long.bitCount(word);
        }
        if (count <= mask.length / 2) {
            tokens = new int[count];
            int used = 0;
            for (int w = 0; w < mask.length; w++) {
                for (long word = mask[w]; word != 0; word &= word - 1) {
                    tokens[used++] = 64 * w + Long.numberOfTrailingZeros(word);
                }
            }
            bits = new long[0];
        } else {
            tokens = new int[0];
            bits = mask.clone();
        }
        this.returnNode = returnNode;
        this.returnRules = returnRules;
    }

    /// Overwrites `mask`.
    void copyTo(long[] mask, int words) {
        if (bits.length > 0) {
            System.arraycopy(bits, 0, mask, 0, words);
        } else {
            Arrays.fill(mask, 0, words, 0L);
            addTo(mask);
        }
    }

    /// Adds the tokens to `mask`.
    void addTo(long[] mask) {
        for (int word = 0; word < bits.length; word++) {
            mask[word] |= bits[word];
        }
        for (int token : tokens) {
            mask[token >>> 6] |= 1L << token;
        }
    }

    boolean hasTokens() {
        return tokens.length + bits.length > 0;
    }

    long sizeBytes() {
        return 100 + 4L * tokens.length + 8L * bits.length + 8L * returnNode.length;
    }
}
