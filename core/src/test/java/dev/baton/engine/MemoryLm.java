package dev.baton.engine;

import dev.baton.model.CausalLm;
import dev.baton.model.ForwardBatch;
import dev.baton.model.ModelConfig;
import dev.baton.model.RopeScaling;
import dev.baton.tensor.DType;
import dev.baton.tensor.PagedKv;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.List;
import java.util.Map;

/// A model without weights whose next token is a hash of everything it reads back from the KV cache: one wrong
/// block, a wrong order, a stale or overwritten slot, and the token is another one.
///
/// Like a transformer it has two layers of memory. Layer 0 keeps token and position; the "key" of layer 1 keeps
/// a digest of all of layer 0 up to that position, read through the block table when it was written, so that a
/// later token depends on what an earlier step read, too.
public class MemoryLm implements CausalLm {
    public static final int VOCAB = 61;
    public static final int EOS = 7;
    private static final int DIGEST_MASK = 0xffffff; // exact in a float

    private final ModelConfig config;
    private final double eosShare;
    volatile boolean closed;
    volatile long forwards;
    volatile long rows;

    /// @param eosShare share of steps in which the end-of-sequence token is likeliest
    public MemoryLm(double eosShare) {
        this(eosShare, 2);
    }

    /// @param headDim floats a head, of which two are used: the others make blocks longer
    public MemoryLm(double eosShare, int headDim) {
        this.eosShare = eosShare;
        this.config = new ModelConfig(
                "MemoryLm",
                VOCAB,
                4,
                4,
                2,
                1,
                1,
                headDim,
                4096,
                1e-5f,
                10_000,
                new RopeScaling.None(),
                true,
                DType.F32,
                List.of(EOS));
    }

    @Override
    public ModelConfig config() {
        return config;
    }

    @Override
    public void forward(ForwardBatch batch, PagedKv kv, float[] logits) {
        forwards++;
        rows += batch.numTokens();
        int logit = 0;
        for (int s = 0; s < batch.numSequences(); s++) {
            int[] table = batch.blockTable(s);
            int first = batch.queryStart(s);
            int end = batch.queryStart(s + 1);
            // As in a real model, layer by layer: all keys and values of the chunk are written before any is read.
            for (int row = first; row < end; row++) {
                set(kv, table, 0, batch.position(row), batch.tokenId(row), batch.position(row));
            }
            int previous = first == end ? 0 : layer0(kv, table, batch.position(first));
            for (int row = first; row < end; row++) {
                int position = batch.position(row);
                previous = mix(previous, get(kv, table, 0, 0, position), get(kv, table, 0, 1, position));
                set(kv, table, 1, position, previous & DIGEST_MASK, position);
            }
            for (; logit < batch.numLogits() && batch.logitsRow(logit) < end; logit++) {
                writeLogits(layer1(kv, table, batch.position(batch.logitsRow(logit)) + 1), logits, logit * VOCAB);
            }
        }
    }

    /// The logits after each token of a prompt.
    float[][] logits(int[] prompt) {
        float[][] rows = new float[prompt.length][VOCAB];
        int digest0 = 0;
        int digest1 = 0;
        for (int i = 0; i < prompt.length; i++) {
            digest0 = mix(digest0, prompt[i], i);
            digest1 = mix(digest1, digest0 & DIGEST_MASK, i);
            writeLogits(digest1, rows[i], 0);
        }
        return rows;
    }

    /// The tokens that a correct engine generates greedily.
    public int[] reference(int[] prompt, int maxTokens, int maxModelLen) {
        int[] tokens = java.util.Arrays.copyOf(prompt, prompt.length + maxTokens);
        float[] logits = new float[VOCAB];
        int n = prompt.length;
        int digest0 = 0;
        int digest1 = 0;
        int done = 0;
        while (n - prompt.length < maxTokens && n < maxModelLen) {
            for (; done < n; done++) {
                digest0 = mix(digest0, tokens[done], done);
                digest1 = mix(digest1, digest0 & DIGEST_MASK, done);
            }
            writeLogits(digest1, logits, 0);
            int best = 0;
            for (int i = 1; i < VOCAB; i++) {
                best = logits[i] > logits[best] ? i : best;
            }
            tokens[n++] = best;
            if (best == EOS) {
                break;
            }
        }
        return java.util.Arrays.copyOfRange(tokens, prompt.length, n);
    }

    private static int layer0(PagedKv kv, int[] table, int length) {
        int digest = 0;
        for (int p = 0; p < length; p++) {
            digest = mix(digest, get(kv, table, 0, 0, p), get(kv, table, 0, 1, p));
        }
        return digest;
    }

    private static int layer1(PagedKv kv, int[] table, int length) {
        int digest = 0;
        for (int p = 0; p < length; p++) {
            digest = mix(digest, get(kv, table, 1, 0, p), get(kv, table, 1, 1, p));
        }
        return digest;
    }

    private void writeLogits(int digest, float[] logits, int offset) {
        int state = digest;
        for (int i = 0; i < VOCAB; i++) {
            state = mix(state, i, 17);
            logits[offset + i] = (state >>> 8) * 0x1p-22f; // [0, 4)
        }
        logits[offset + EOS] = (mix(digest, 99, 99) >>> 8) * 0x1p-24 < eosShare ? 5f : -5f;
    }

    private static int mix(int hash, int a, int b) {
        int h = (hash ^ a * 0x9e3779b9) * 0x85ebca6b;
        h ^= h >>> 15;
        h = (h + b * 0xc2b2ae35) * 0x27d4eb2f;
        return h ^ h >>> 13;
    }

    private static void set(PagedKv kv, int[] table, int layer, int position, int a, int b) {
        long offset = offset(kv, table, layer, position);
        MemorySegment segment = kv.segment();
        segment.set(ValueLayout.JAVA_FLOAT, offset, a);
        segment.set(ValueLayout.JAVA_FLOAT, offset + 4, b);
        // The value side is written too, so that nothing of a block stays unset.
        long value = offset + kv.valueOffsetBytes(0, 0, 0) - kv.keyOffsetBytes(0, 0, 0);
        segment.set(ValueLayout.JAVA_FLOAT, value, a);
        segment.set(ValueLayout.JAVA_FLOAT, value + 4, b);
    }

    private static int get(PagedKv kv, int[] table, int layer, int field, int position) {
        long offset = offset(kv, table, layer, position);
        long value = offset + kv.valueOffsetBytes(0, 0, 0) - kv.keyOffsetBytes(0, 0, 0);
        float key = kv.segment().get(ValueLayout.JAVA_FLOAT, offset + 4L * field);
        float copy = kv.segment().get(ValueLayout.JAVA_FLOAT, value + 4L * field);
        return key == copy ? (int) key : -1;
    }

    private static long offset(PagedKv kv, int[] table, int layer, int position) {
        int block = table[position / kv.blockTokens()];
        return kv.keyOffsetBytes(block, layer, 0) + (long) (position % kv.blockTokens()) * kv.headDim() * 4;
    }

    @Override
    public Map<String, String> fingerprint() {
        return Map.of("weights_digest", "none");
    }

    @Override
    public String backend() {
        return "test";
    }

    @Override
    public void close() {
        closed = true;
    }
}
