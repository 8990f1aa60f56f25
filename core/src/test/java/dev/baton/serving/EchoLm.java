package dev.baton.serving;

import dev.baton.model.CausalLm;
import dev.baton.model.ForwardBatch;
import dev.baton.model.ModelConfig;
import dev.baton.model.RopeScaling;
import dev.baton.tensor.DType;
import dev.baton.tensor.PagedKv;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import java.util.List;
import java.util.Map;

/// A model that says its prompt's script over and over: the script is everything up to the first line break. A
/// byte 4 in the script is said as end of sequence. Without a line break it says `a`. The runner-up is always the
/// next id, at odds (e^-30) that no temperature up to 1 draws.
///
/// Keeps tokens in the KV cache and reads them back from there, so that it sees prefix hits, preemptions and
/// transfers as a real model does.
class EchoLm implements CausalLm {
    private static final int NEWLINE = ByteTokenizer.idOf((byte) '\n');
    private static final int END_MARK = ByteTokenizer.idOf((byte) 4);

    private final List<Integer> eosTokenIds;
    volatile long stepMillis;
    volatile boolean broken;
    volatile long forwards;

    EchoLm() {
        this(List.of(ByteTokenizer.END));
    }

    /// @param eosTokenIds those that its configuration names
    EchoLm(List<Integer> eosTokenIds) {
        this.eosTokenIds = List.copyOf(eosTokenIds);
    }

    @Override
    public ModelConfig config() {
        return new ModelConfig(
                "EchoLm",
                ByteTokenizer.VOCAB,
                4,
                4,
                1,
                1,
                1,
                2,
                4096,
                1e-5f,
                10_000,
                new RopeScaling.None(),
                true,
                DType.F32,
                eosTokenIds);
    }

    @Override
    public void forward(ForwardBatch batch, PagedKv kv, float[] logits) {
        forwards++;
        if (broken) {
            throw new IllegalStateException("the model is broken");
        }
        if (stepMillis > 0) {
            try {
                Thread.sleep(stepMillis);
            } catch (InterruptedException e) {
                throw new IllegalStateException(e);
            }
        }
        int row = 0;
        for (int s = 0; s < batch.numSequences(); s++) {
            int[] blocks = batch.blockTable(s);
            for (int i = batch.queryStart(s); i < batch.queryStart(s + 1); i++) {
                int position = batch.position(i);
                kv.segment().set(ValueLayout.JAVA_FLOAT, slot(kv, blocks, position), batch.tokenId(i));
            }
            for (; row < batch.numLogits() && batch.logitsRow(row) < batch.queryStart(s + 1); row++) {
                int next = next(kv, blocks, batch.position(batch.logitsRow(row)) + 1);
                int from = row * ByteTokenizer.VOCAB;
                Arrays.fill(logits, from, from + ByteTokenizer.VOCAB, 0f);
                // 30 apart: at 10 a request of temperature 1 draws the runner-up once in 22,000 tokens
                logits[from + next] = 40f;
                logits[from + (next + 1) % ByteTokenizer.VOCAB] = 10f;
            }
        }
    }

    private static long slot(PagedKv kv, int[] blocks, int position) {
        int size = kv.blockTokens();
        return kv.keyOffsetBytes(blocks[position / size], 0, 0) + (long) (position % size) * kv.headDim() * Float.BYTES;
    }

    private static int token(PagedKv kv, int[] blocks, int position) {
        return (int) kv.segment().get(ValueLayout.JAVA_FLOAT, slot(kv, blocks, position));
    }

    private static int next(PagedKv kv, int[] blocks, int context) {
        for (int p = 0; p < context; p++) {
            if (token(kv, blocks, p) == NEWLINE) {
                int token = token(kv, blocks, context - (p + 1));
                return token == END_MARK ? ByteTokenizer.END : token;
            }
        }
        return ByteTokenizer.idOf((byte) 'a');
    }

    @Override
    public Map<String, String> fingerprint() {
        return Map.of("model", "echo");
    }

    @Override
    public String backend() {
        return "test";
    }

    @Override
    public void close() {}
}
