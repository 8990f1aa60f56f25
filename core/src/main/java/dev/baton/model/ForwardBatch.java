package dev.baton.model;

import java.util.Arrays;

/// The tokens of one step, flattened: the sequences' new tokens lie one after the other. Reused from step to
/// step, so that a step allocates nothing.
///
/// Filled and read by the engine's thread only.
public final class ForwardBatch {
    private final int[] tokenIds; // (maxTokens)
    private final int[] positions; // (maxTokens)
    private final int[] queryStarts; // (maxSequences + 1)
    private final int[] contextTokens; // (maxSequences)
    private final int[][] blockTables; // (maxSequences, blocks of the sequence)
    private final int[] logitsRows; // (maxTokens)
    private int numTokens;
    private int numSequences;
    private int numLogits;

    public ForwardBatch(int maxTokens, int maxSequences) {
        this.tokenIds = new int[maxTokens];
        this.positions = new int[maxTokens];
        this.queryStarts = new int[maxSequences + 1];
        this.contextTokens = new int[maxSequences];
        this.blockTables = new int[maxSequences][];
        this.logitsRows = new int[maxTokens];
    }

    /// Empties the batch.
    public void clear() {
        Arrays.fill(blockTables, 0, numSequences, EMPTY);
        numTokens = 0;
        numSequences = 0;
        numLogits = 0;
    }

    private static final int[] EMPTY = {};

    /// Adds the next tokens of one sequence.
    ///
    /// @param wantsLogits whether the logits of the last of these tokens are needed
    /// @see #add(int[], int, int, int[], int)
    public void add(int[] tokens, int from, int count, int[] blockTable, boolean wantsLogits) {
        add(tokens, from, count, blockTable, wantsLogits ? 1 : 0);
    }

    /// Adds the next tokens of one sequence.
    ///
    /// @param tokens where the tokens are read from
    /// @param from index in `tokens`, and at the same time the position, of the first token of this step
    /// @param count number of tokens of this step
    /// @param blockTable the sequence's blocks, in order; covers at least `from + count` tokens
    /// @param logits how many of these tokens, the last ones, need their logits: 0 in the middle of a prompt, 1 to
    ///     sample, more for the log-probabilities of a prompt
    public void add(int[] tokens, int from, int count, int[] blockTable, int logits) {
        System.arraycopy(tokens, from, tokenIds, numTokens, count);
        for (int i = 0; i < count; i++) {
            positions[numTokens + i] = from + i;
        }
        queryStarts[numSequences] = numTokens;
        contextTokens[numSequences] = from + count;
        blockTables[numSequences] = blockTable;
        numTokens += count;
        numSequences++;
        queryStarts[numSequences] = numTokens;
        for (int i = logits; i > 0; i--) {
            logitsRows[numLogits++] = numTokens - i;
        }
    }

    /// Adds one token of a sequence that the step before this one chooses: where steps are launched ahead, it is
    /// known on the device only.
    ///
    /// @param row of that step's logits
    /// @param position of the token
    /// @param blockTable the sequence's blocks, in order; covers at least `position + 1` tokens
    public void addNext(int row, int position, int[] blockTable) {
        tokenIds[numTokens] = ~row;
        positions[numTokens] = position;
        queryStarts[numSequences] = numTokens;
        contextTokens[numSequences] = position + 1;
        blockTables[numSequences] = blockTable;
        logitsRows[numLogits++] = numTokens++;
        queryStarts[++numSequences] = numTokens;
    }

    public int numTokens() {
        return numTokens;
    }

    public int numSequences() {
        return numSequences;
    }

    public int numLogits() {
        return numLogits;
    }

    /// The token of a row; below 0 the one that the step before chose for the row of its logits that is the
    /// complement.
    public int tokenId(int row) {
        return tokenIds[row];
    }

    public int position(int row) {
        return positions[row];
    }

    /// First row of a sequence; the row after the last one for `sequence == numSequences()`.
    public int queryStart(int sequence) {
        return queryStarts[sequence];
    }

    /// Number of tokens that the sequence has in the KV cache once this step is done.
    public int contextTokens(int sequence) {
        return contextTokens[sequence];
    }

    /// The blocks of a sequence, in order. Not to be changed; may be longer than the context needs.
    public int[] blockTable(int sequence) {
        return blockTables[sequence];
    }

    /// The row whose logits are the `i`-th row of the output. Ascends with `i`; those of one sequence are its last
    /// rows.
    public int logitsRow(int i) {
        return logitsRows[i];
    }
}
