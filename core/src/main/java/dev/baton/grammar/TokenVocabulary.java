package dev.baton.grammar;

import java.util.Arrays;
import java.util.function.IntFunction;

/// The tokens of a model as bytes, with their prefix tree: built once per model and shared.
///
/// Immutable and thread-safe. Takes about 12 bytes for every node of the tree, which has about twice as many
/// nodes as there are tokens.
public final class TokenVocabulary {
    private static final int MAX_TOKEN_BYTES = 1024;

    private final byte[][] bytes; // (vocabSize), empty where a token has no text
    private final int[] endTokens;
    private final int maxTokenBytes;

    // The tree in preorder; node 0 is the root.
    final byte[] label; // (nodes) the byte that leads to a node
    final short[] depth; // (nodes)
    final int[] subtreeEnd; // (nodes) the first node behind a node's subtree
    final int[] token; // (nodes) a token that ends here, or -1
    private final int[] nextSameToken; // (vocabSize) another token with the same bytes, or -1

    private TokenVocabulary(byte[][] bytes, int[] endTokens) {
        this.bytes = bytes;
        this.endTokens = endTokens;
        this.nextSameToken = new int[bytes.length];
        Arrays.fill(nextSameToken, -1);
        int[] sorted = sortedByBytes(bytes);
        int nodes = 1;
        int longest = 0;
        byte[] previous = new byte[0];
        for (int id : sorted) {
            int common = Math.max(0, Arrays.mismatch(previous, bytes[id]));
            nodes += Arrays.equals(previous, bytes[id]) ? 0 : bytes[id].length - common;
            longest = Math.max(longest, bytes[id].length);
            previous = bytes[id];
        }
        this.maxTokenBytes = longest;
        this.label = new byte[nodes];
        this.depth = new short[nodes];
        this.subtreeEnd = new int[nodes];
        this.token = new int[nodes];
        Arrays.fill(token, -1);
        fill(sorted);
    }

    /// Builds the vocabulary.
    ///
    /// @param vocabSize how many ids the model's logits have, padding included
    /// @param tokenBytes what each id from 0 to `vocabSize - 1` stands for; empty for special tokens and ids
    ///     without a token, which no grammar ever allows
    /// @param eosTokenIds the tokens that end a text; each is allowed exactly where the text may end
    /// @throws GrammarException if a token has more than 1,024 bytes or an end token is no id
    public static TokenVocabulary of(int vocabSize, IntFunction<byte[]> tokenBytes, int[] eosTokenIds) {
        byte[][] bytes = new byte[vocabSize][];
        for (int id = 0; id < vocabSize; id++) {
            bytes[id] = tokenBytes.apply(id);
            if (bytes[id].length > MAX_TOKEN_BYTES) {
                throw new GrammarException(
                        "token " + id + " has " + bytes[id].length + " bytes; the limit is " + MAX_TOKEN_BYTES);
            }
        }
        for (int id : eosTokenIds) {
            if (id < 0 || id >= vocabSize) {
                throw new GrammarException("end token " + id + " is not in a vocabulary of " + vocabSize);
            }
            bytes[id] = new byte[0];
        }
        return new TokenVocabulary(bytes, eosTokenIds.clone());
    }

    /// How many ids there are.
    public int size() {
        return bytes.length;
    }

    /// How many `long` a mask has: one bit per id, the lowest id in the lowest bit of the first.
    public int maskWords() {
        return (bytes.length + 63) >>> 6;
    }

    int maxTokenBytes() {
        return maxTokenBytes;
    }

    byte[] bytes(int id) {
        return bytes[id];
    }

    boolean isEnd(int id) {
        for (int end : endTokens) {
            if (end == id) {
                return true;
            }
        }
        return false;
    }

    int endTokenCount() {
        return endTokens.length;
    }

    int endToken(int index) {
        return endTokens[index];
    }

    int nodeCount() {
        return label.length;
    }

    int subtreeEnd(int node) {
        return subtreeEnd[node];
    }

    /// The next token with the same bytes, or -1.
    int nextSameToken(int id) {
        return nextSameToken[id];
    }

    private static int[] sortedByBytes(byte[][] bytes) {
        Integer[] ids = new Integer[bytes.length];
        int used = 0;
        for (int id = 0; id < bytes.length; id++) {
            if (bytes[id].length > 0) {
                ids[used++] = id;
            }
        }
        Arrays.sort(ids, 0, used, (a, b) -> {
            int order = Arrays.compareUnsigned(bytes[a], bytes[b]);
            return order != 0 ? order : Integer.compare(a, b);
        });
        int[] sorted = new int[used];
        for (int i = 0; i < used; i++) {
            sorted[i] = ids[i];
        }
        return sorted;
    }

    private void fill(int[] sorted) {
        int[] path = new int[maxTokenBytes + 1]; // the open node at every depth
        int open = 0;
        int nodes = 1;
        byte[] previous = new byte[0];
        int last = -1;
        for (int id : sorted) {
            byte[] text = bytes[id];
            if (last >= 0 && Arrays.equals(previous, text)) {
                nextSameToken[last] = id;
                last = id;
                continue;
            }
            int common = Math.max(0, Arrays.mismatch(previous, text));
            for (; open > common; open--) {
                subtreeEnd[path[open]] = nodes;
            }
            for (; open < text.length; nodes++) {
                label[nodes] = text[open++];
                depth[nodes] = (short) open;
                path[open] = nodes;
            }
            token[path[open]] = id;
            previous = text;
            last = id;
        }
        for (; open >= 0; open--) {
            subtreeEnd[path[open]] = nodes;
        }
    }
}
