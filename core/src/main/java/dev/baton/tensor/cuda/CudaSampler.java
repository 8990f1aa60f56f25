package dev.baton.tensor.cuda;

import dev.baton.tensor.TensorException;
import dev.baton.tensor.cuda.owned.Context;
import dev.baton.tensor.cuda.owned.DeviceMemory;
import dev.baton.tensor.cuda.owned.Event;
import dev.baton.tensor.cuda.owned.PinnedMemory;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;

/// Chooses tokens of rows of logits on the device: brings what the requests want there, and counts the tokens of
/// those that have penalties.
///
/// Choices are added between [#begin] and [#launch]. What is brought to the device lies in two sets of buffers, so
/// that one launch's can be written while those of the launch before are still to be read.
///
/// Used from one thread, on the stream of its [CudaOps].
public final class CudaSampler implements AutoCloseable {
    private static final int CHOICE_BYTES = 64;
    private static final int STATE_BYTES = 16 + 2048 * 8 + 128 * 8 + 2048 * 4;

    /// What the kernels have room for.
    private static final int MAX_VOCAB = 128 * 4096;

    private static final int SIDES = 2;
    private static final int NONE = -1;
    private static final long NOBODY = -1;
    private static final double TWO_POW_53 = 0x1p53;
    private static final int UNIFORM_SHIFT = 11;

    private static final long ROW = 0;
    private static final long MASK = 4;
    private static final long COUNTS = 8;
    private static final long FIRST_BIAS = 12;
    private static final long NUM_BIASES = 16;
    private static final long TOP_K = 20;
    private static final long TEMPERATURE = 24;
    private static final long MIN_P = 28;
    private static final long TOP_P = 32;
    private static final long REPETITION = 36;
    private static final long FREQUENCY = 40;
    private static final long PRESENCE = 44;
    private static final long RANDOM = 48;

    private final CudaOps ops;
    private final int maxRows;
    private final int maxBiases;
    private final int maxTokens;
    private final int vocab;
    private final DeviceMemory memory;
    private final PinnedMemory pinned;
    private final Event historyCopied;
    private final long layoutBytes; // of one side
    private final long biasedTokensOffset;
    private final long biasesOffset;
    private final long masksOffset;
    private final int maskWords; // of 64 bits
    private final long inputs; // (sides, layoutBytes)
    private final MemorySegment history; // int (maxTokens)
    private final long deviceHistory; // int (maxTokens)
    private final long counts; // int (maxRows, vocab)
    private final long adjusted; // f32 (maxRows, vocab)
    private final long states; // (maxRows)

    private final long[] lineSequences; // (maxRows), whose counts a line holds
    private final int[] lineTokens; // (maxRows), how many of its tokens are counted
    private final long[] lineUses; // (maxRows), the launch that used it last

    private int lastLine; // found last: those of a step mostly follow each other as they did in the step before
    private long launches;
    private int side;
    private MemorySegment layout; // of this side
    private int size;
    private int numMasks;
    private int numBiases;

    /// @param maxRows most choices of a launch
    /// @param maxBiases most biased tokens of a choice
    /// @param maxTokens longest sequence
    /// @param vocab columns of the logits
    public CudaSampler(Context context, CudaOps ops, int maxRows, int maxBiases, int maxTokens, int vocab) {
        if (vocab > MAX_VOCAB) {
            throw new TensorException(
                    "the GPU chooses among at most " + MAX_VOCAB + " tokens; the model's vocabulary has " + vocab);
        }
        this.ops = ops;
        this.maxRows = maxRows;
        this.maxBiases = maxBiases;
        this.maxTokens = maxTokens;
        this.vocab = vocab;
        this.maskWords = Math.ceilDiv(vocab, Long.SIZE);
        this.biasedTokensOffset = (long) maxRows * CHOICE_BYTES;
        this.biasesOffset = biasedTokensOffset + (long) maxRows * maxBiases * Integer.BYTES;
        this.masksOffset = biasesOffset + (long) maxRows * maxBiases * Float.BYTES;
        this.layoutBytes = masksOffset + (long) maxRows * maskWords * Long.BYTES;
        this.memory = new DeviceMemory(context);
        this.pinned = new PinnedMemory(context, SIDES * layoutBytes + (long) maxTokens * Integer.BYTES);
        this.historyCopied = new Event(context);
        this.history = pinned.segment().asSlice(SIDES * layoutBytes);
        this.layout = pinned.segment().asSlice(0, layoutBytes);
        String what = "choosing tokens";
        this.inputs = memory.allocate(SIDES * layoutBytes, what);
        this.deviceHistory = memory.allocate((long) maxTokens * Integer.BYTES, what);
        this.counts = memory.allocate((long) maxRows * vocab * Integer.BYTES, what);
        this.adjusted = memory.allocate((long) maxRows * vocab * Float.BYTES, what);
        this.states = memory.allocate((long) maxRows * STATE_BYTES, what);
        ops.stream().fill(states, (byte) 0, (long) maxRows * STATE_BYTES);
        this.lineSequences = new long[maxRows];
        this.lineTokens = new int[maxRows];
        this.lineUses = new long[maxRows];
        Arrays.fill(lineSequences, NOBODY);
    }

    /// Device memory that it takes, but for what does not grow with the vocabulary.
    public static long bytes(int maxRows, int vocab) {
        return (long) maxRows * vocab * (Integer.BYTES + Float.BYTES);
    }

    /// Begins a launch's choices; of the launch before the last, all must have been read.
    public void begin() {
        side = (side + 1) % SIDES;
        layout = pinned.segment().asSlice(side * layoutBytes, layoutBytes);
        launches++;
        size = 0;
        numMasks = 0;
        numBiases = 0;
    }

    /// Adds a choice of a row's token.
    ///
    /// @param temperature 0 for the likeliest token
    /// @param topK number of candidates, 0 for all
    /// @param uniform the random number of the draw, in [0, 1), with 53 bits
    public void add(int row, float temperature, int topK, float topP, float minP, double uniform) {
        long at = (long) size++ * CHOICE_BYTES;
        layout.set(ValueLayout.JAVA_INT, at + ROW, row);
        layout.set(ValueLayout.JAVA_INT, at + MASK, NONE);
        layout.set(ValueLayout.JAVA_INT, at + COUNTS, NONE);
        layout.set(ValueLayout.JAVA_INT, at + FIRST_BIAS, 0);
        layout.set(ValueLayout.JAVA_INT, at + NUM_BIASES, 0);
        layout.set(ValueLayout.JAVA_INT, at + TOP_K, topK >= vocab ? 0 : topK);
        layout.set(ValueLayout.JAVA_FLOAT, at + TEMPERATURE, temperature);
        layout.set(ValueLayout.JAVA_FLOAT, at + MIN_P, minP);
        layout.set(ValueLayout.JAVA_FLOAT, at + TOP_P, topP);
        layout.set(ValueLayout.JAVA_FLOAT, at + REPETITION, 1);
        layout.set(ValueLayout.JAVA_FLOAT, at + FREQUENCY, 0);
        layout.set(ValueLayout.JAVA_FLOAT, at + PRESENCE, 0);
        layout.set(ValueLayout.JAVA_LONG, at + RANDOM, (long) (uniform * TWO_POW_53) << UNIFORM_SHIFT);
    }

    private long last() {
        return (size - 1L) * CHOICE_BYTES;
    }

    /// Lets only some tokens come in the last choice.
    ///
    /// @param mask one bit a token
    public void mask(long[] mask) {
        layout.set(ValueLayout.JAVA_INT, last() + MASK, numMasks);
        long at = masksOffset + (long) numMasks++ * maskWords * Long.BYTES;
        MemorySegment.copy(mask, 0, layout, ValueLayout.JAVA_LONG, at, maskWords);
    }

    /// Adds to logits of the last choice.
    public void bias(int[] tokens, float[] biases) {
        if (tokens.length > maxBiases) {
            throw new TensorException("a choice has " + tokens.length + " biases; there is room for " + maxBiases);
        }
        layout.set(ValueLayout.JAVA_INT, last() + FIRST_BIAS, numBiases);
        layout.set(ValueLayout.JAVA_INT, last() + NUM_BIASES, tokens.length);
        long offset = (long) numBiases * Integer.BYTES;
        MemorySegment.copy(tokens, 0, layout, ValueLayout.JAVA_INT, biasedTokensOffset + offset, tokens.length);
        MemorySegment.copy(biases, 0, layout, ValueLayout.JAVA_FLOAT, biasesOffset + offset, biases.length);
        numBiases += tokens.length;
    }

    /// Penalises the tokens of a sequence in the last choice; the token that is chosen is counted as its next one.
    ///
    /// @param sequence another number for every sequence, not negative
    /// @param tokens its tokens, those of the prompt first
    /// @param numTokens how many it has; of those that were chosen here since its last launch, `tokens` is not read
    public void penalise(
            float repetition,
            float frequency,
            float presence,
            long sequence,
            int[] tokens,
            int numTokens,
            int promptTokens) {
        int line = line(sequence);
        lastLine = line;
        if (lineSequences[line] != sequence || lineTokens[line] != numTokens) {
            count(line, sequence, tokens, numTokens, promptTokens);
        }
        lineTokens[line] = numTokens + 1;
        lineUses[line] = launches;
        layout.set(ValueLayout.JAVA_INT, last() + COUNTS, line);
        layout.set(ValueLayout.JAVA_FLOAT, last() + REPETITION, repetition);
        layout.set(ValueLayout.JAVA_FLOAT, last() + FREQUENCY, frequency);
        layout.set(ValueLayout.JAVA_FLOAT, last() + PRESENCE, presence);
    }

    /// The sequence's line, or the one that was not used for longest.
    private int line(long sequence) {
        int oldest = lastLine;
        for (int i = 1; i <= maxRows; i++) {
            int line = (lastLine + i) % maxRows;
            if (lineSequences[line] == sequence) {
                return line;
            }
            oldest = lineUses[line] < lineUses[oldest] ? line : oldest;
        }
        return oldest;
    }

    private void count(int line, long sequence, int[] tokens, int numTokens, int promptTokens) {
        lineSequences[line] = sequence;
        long address = counts + (long) line * vocab * Integer.BYTES;
        ops.stream().fill(address, (byte) 0, (long) vocab * Integer.BYTES);
        int known = Math.min(numTokens, maxTokens);
        historyCopied.synchronize();
        MemorySegment.copy(tokens, 0, history, ValueLayout.JAVA_INT, 0, known);
        ops.stream().copyToDevice(deviceHistory, history, (long) known * Integer.BYTES);
        historyCopied.record(ops.stream());
        ops.countTokens(deviceHistory, known, Math.min(promptTokens, known), address, vocab);
    }

    /// Chooses the tokens of the rows that were added, one at least.
    ///
    /// @param logits f32 `(rows, vocab)`, not changed
    /// @param tokens int `(rows)`; only those of the chosen rows are written: the token, -1 if a logit is NaN or
    ///     infinite, -2 if no token may come, -3 if biases and penalties made a logit infinite
    public void launch(long logits, long tokens) {
        long to = inputs + side * layoutBytes;
        copy(to, 0, (long) size * CHOICE_BYTES);
        copy(to, biasedTokensOffset, (long) numBiases * Integer.BYTES);
        copy(to, biasesOffset, (long) numBiases * Float.BYTES);
        copy(to, masksOffset, (long) numMasks * maskWords * Long.BYTES);
        CudaOps.Sampling at = new CudaOps.Sampling(
                to, to + masksOffset, to + biasedTokensOffset, to + biasesOffset, counts, adjusted, states);
        ops.sample(at, size, logits, tokens, vocab);
    }

    private void copy(long to, long offset, long bytes) {
        if (bytes > 0) {
            ops.stream().copyToDevice(to + offset, layout.asSlice(offset, bytes), bytes);
        }
    }

    @Override
    public void close() {
        historyCopied.close();
        pinned.close();
        memory.close();
    }
}
