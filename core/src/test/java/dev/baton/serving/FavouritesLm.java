package dev.baton.serving;

import dev.baton.model.CausalLm;
import dev.baton.model.ForwardBatch;
import dev.baton.model.ModelConfig;
import dev.baton.model.RopeScaling;
import dev.baton.tensor.DType;
import dev.baton.tensor.PagedKv;
import java.util.List;
import java.util.Map;

/// A model that likes some tokens better than others, whatever stands before them: a text of `l` if nothing forbids
/// it; where a grammar does, the shortest JSON object, and blanks for ever where there must be something in it. So
/// much better that the draw never takes another, also at temperature 1.
final class FavouritesLm implements CausalLm {
    static final int VOCAB = 512;

    private static final float[] LOGITS = new float[VOCAB];

    static {
        for (int id = 0; id < VOCAB; id++) {
            LOGITS[id] = -id / 10f;
        }
        LOGITS[ByteTokenizer.idOf((byte) 'l')] = 200;
        LOGITS[ByteTokenizer.idOf((byte) '}')] = 180;
        LOGITS[ByteTokenizer.idOf((byte) '{')] = 160;
        LOGITS[ByteTokenizer.END] = 140;
        LOGITS[ByteTokenizer.idOf((byte) '\t')] = 120;
    }

    volatile long stepMillis;

    @Override
    public ModelConfig config() {
        return new ModelConfig(
                "FavouritesLm",
                VOCAB,
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
                List.of(ByteTokenizer.END));
    }

    @Override
    public void forward(ForwardBatch batch, PagedKv kv, float[] logits) {
        try {
            Thread.sleep(stepMillis);
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
        for (int row = 0; row < batch.numLogits(); row++) {
            System.arraycopy(LOGITS, 0, logits, row * VOCAB, VOCAB);
        }
    }

    @Override
    public Map<String, String> fingerprint() {
        return Map.of("model", "favourites");
    }

    @Override
    public String backend() {
        return "test";
    }

    @Override
    public void close() {}
}
