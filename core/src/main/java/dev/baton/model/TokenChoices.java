package dev.baton.model;

import java.util.Arrays;

/// How the tokens of some rows of a step are to be chosen where the model computes; rows that are not named
/// take the likeliest token. Reused from step to step, so that a step allocates nothing once every part was
/// used.
///
/// The order of operations is that of vLLM: mask, biases, repetition, frequency and presence penalty, then the
/// likeliest token, or temperature, min-p, top-k, top-p and one draw.
///
/// Filled and read by the engine's thread only.
public final class TokenChoices {
    /// Most biased tokens of a row.
    public static final int MAX_BIASES = 1024;

    private static final int[] NO_TOKENS = {};
    private static final float[] NO_BIASES = {};
    private static final long[] NO_MASK = {};

    private final int[] rows; // (maxSequences)
    private final Draw[] draws; // (maxSequences)
    private final Penalties[] penalties; // (maxSequences)
    private final double[] uniforms; // (maxSequences)
    private final long[][] masks; // (maxSequences, ceil(vocabSize / 64)), made when they are needed
    private final boolean[] masked; // (maxSequences)
    private final int[][] biasedTokens; // (maxSequences, tokens that have a bias)
    private final float[][] biases; // (maxSequences, tokens that have a bias)
    private final long[] sequences; // (maxSequences)
    private final int[][] tokens; // (maxSequences, at least numTokens)
    private final int[] numTokens; // (maxSequences)
    private final int[] promptTokens; // (maxSequences)
    private int size;

    /// How a row's token is drawn.
    ///
    /// @param temperature 0 for the likeliest token
    /// @param topK number of candidates, 0 for all
    /// @param topP share of the candidates' probability, 1 for all
    /// @param minP smallest probability relative to the likeliest token's, 0 for any
    public record Draw(float temperature, int topK, float topP, float minP) {}

    /// What a token's logit loses for what was there before.
    ///
    /// @param repetition 1 for none, of the prompt and the output
    /// @param frequency 0 for none, for each time in the output
    /// @param presence 0 for none, for being in the output
    public record Penalties(float repetition, float frequency, float presence) {
        public static final Penalties NONE = new Penalties(1, 0, 0);
    }

    public TokenChoices(int maxSequences) {
        this.rows = new int[maxSequences];
        this.draws = new Draw[maxSequences];
        this.penalties = new Penalties[maxSequences];
        this.uniforms = new double[maxSequences];
        this.masks = new long[maxSequences][];
        this.masked = new boolean[maxSequences];
        this.biasedTokens = new int[maxSequences][];
        this.biases = new float[maxSequences][];
        this.sequences = new long[maxSequences];
        this.tokens = new int[maxSequences][];
        this.numTokens = new int[maxSequences];
        this.promptTokens = new int[maxSequences];
        Arrays.fill(masks, NO_MASK);
        Arrays.fill(tokens, NO_TOKENS);
    }

    /// Removes all.
    public void clear() {
        Arrays.fill(tokens, 0, size, NO_TOKENS); // a sequence that ended is not kept alive
        size = 0;
    }

    /// Adds a row.
    ///
    /// @param row of the step's logits
    /// @param uniform the random number of the draw, in [0, 1)
    public void add(int row, Draw draw, double uniform) {
        rows[size] = row;
        draws[size] = draw;
        penalties[size] = Penalties.NONE;
        uniforms[size] = uniform;
        masked[size] = false;
        biasedTokens[size] = NO_TOKENS;
        biases[size] = NO_BIASES;
        numTokens[size] = 0;
        size++;
    }

    /// Lets only some tokens come in the row that was added last.
    ///
    /// @param mask one bit a token id; copied
    public void mask(long[] mask) {
        int last = size - 1;
        if (masks[last].length < mask.length) {
            masks[last] = new long[mask.length];
        }
        System.arraycopy(mask, 0, masks[last], 0, mask.length);
        masked[last] = true;
    }

    /// Adds to logits of the row that was added last.
    ///
    /// @param tokenIds at most [#MAX_BIASES], each once; not copied
    public void bias(int[] tokenIds, float[] values) {
        biasedTokens[size - 1] = tokenIds;
        biases[size - 1] = values;
    }

    /// Penalises what is in the sequence of the row that was added last.
    ///
    /// @param sequence another number for every sequence
    /// @param all its tokens, those of the prompt first; not copied
    /// @param count how many there are before the one that is to be chosen; if a step is launched before the one in
    ///     front of it has ended, `all` lacks the last one of them
    /// @param prompt how many of them are the prompt
    public void penalise(Penalties values, long sequence, int[] all, int count, int prompt) {
        int last = size - 1;
        penalties[last] = values;
        sequences[last] = sequence;
        tokens[last] = all;
        numTokens[last] = count;
        promptTokens[last] = prompt;
    }

    public int size() {
        return size;
    }

    /// The row of logits of the `i`-th choice.
    public int row(int i) {
        return rows[i];
    }

    public Draw draw(int i) {
        return draws[i];
    }

    public Penalties penalties(int i) {
        return penalties[i];
    }

    public double uniform(int i) {
        return uniforms[i];
    }

    /// Whether only some tokens may come.
    public boolean isMasked(int i) {
        return masked[i];
    }

    /// One bit a token id that may come; not to be changed, and of meaning only if the choice is masked.
    public long[] mask(int i) {
        return masks[i];
    }

    /// The tokens that have a bias; not to be changed.
    public int[] biasedTokens(int i) {
        return biasedTokens[i];
    }

    /// The biases of [#biasedTokens]; not to be changed.
    public float[] biases(int i) {
        return biases[i];
    }

    /// Whether what was there before is penalised.
    public boolean isPenalised(int i) {
        return numTokens[i] > 0;
    }

    /// The number of a penalised sequence.
    public long sequence(int i) {
        return sequences[i];
    }

    /// The tokens of a penalised sequence in the first [#numTokens] places; not to be changed.
    public int[] tokens(int i) {
        return tokens[i];
    }

    /// Tokens of a penalised sequence before the one that is to be chosen.
    public int numTokens(int i) {
        return numTokens[i];
    }

    /// Tokens of a penalised sequence's prompt.
    public int promptTokens(int i) {
        return promptTokens[i];
    }
}
