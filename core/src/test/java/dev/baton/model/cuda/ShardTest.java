package dev.baton.model.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.baton.model.ModelConfig;
import dev.baton.model.ModelException;
import dev.baton.model.RopeScaling;
import dev.baton.tensor.DType;
import java.util.List;
import java.util.function.Function;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class ShardTest {
    private static ModelConfig model(int heads, int kvHeads, int intermediate, int vocab) {
        return new ModelConfig(
                "LlamaForCausalLM",
                vocab,
                4096,
                intermediate,
                32,
                heads,
                kvHeads,
                128,
                8192,
                1e-5f,
                500_000,
                new RopeScaling.None(),
                false,
                DType.BF16,
                List.of(1));
    }

    private static void assertTiled(int ranks, int total, Function<Shard, Span> part) {
        int next = 0;
        for (int rank = 0; rank < ranks; rank++) {
            Span span = part.apply(new Shard(rank, ranks));
            assertThat(span.first()).isEqualTo(next);
            assertThat(span.total()).isEqualTo(total);
            next += span.count();
        }
        assertThat(next).isEqualTo(total);
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 2, 4, 8})
    void partsOfAllGpusAreTheWholeModel(int ranks) {
        ModelConfig model = model(32, 8, 14_336, 128_256);
        new Shard(0, ranks).check(model);
        assertTiled(ranks, 32 * 128, shard -> shard.of(32 * 128));
        assertTiled(ranks, 8 * 128, shard -> shard.keys(model));
        assertTiled(ranks, 14_336, shard -> shard.of(14_336));
        assertTiled(ranks, 128_256, shard -> shard.logits(model));
        ModelConfig part = new Shard(ranks - 1, ranks).of(model);
        assertThat(part.numHeads() * ranks).isEqualTo(32);
        assertThat(part.numKvHeads() * ranks).isEqualTo(8);
        assertThat(part.intermediateSize() * ranks).isEqualTo(14_336);
        assertThat(part.vocabSize()).isEqualTo(128_256);
    }

    @Test
    void gpusWithoutAKeyHeadOfTheirOwnHaveTheOneThatTheirQueriesNeed() {
        ModelConfig model = model(28, 2, 18_944, 152_064);
        for (int rank = 0; rank < 4; rank++) {
            Shard shard = new Shard(rank, 4);
            shard.check(model);
            assertThat(shard.kvHeads(model)).isEqualTo(1);
            int firstQuery = shard.of(28).first();
            int keyOfFirstQuery = firstQuery / (28 / 2);
            assertThat(shard.keys(model)).isEqualTo(new Span(keyOfFirstQuery * 128, 128, 256));
        }
    }

    @Test
    void vocabularyThatCannotBeDividedIsEverybodys() {
        assertThat(new Shard(1, 2).logits(model(32, 8, 14_336, 128_258))).isEqualTo(Span.whole(128_258));
        assertThat(new Shard(1, 2).logits(model(32, 8, 14_336, 128_256))).isEqualTo(new Span(64_128, 64_128, 128_256));
    }

    @ParameterizedTest
    @CsvSource({
        "3, 32, 8, 14336, 32 attention heads",
        "4, 28, 7, 14336, 7 key-value heads",
        "2, 4, 2, 88, intermediate size of 88",
        "0, 4, 2, 88, at least one GPU",
    })
    void modelThatCannotBeDividedIsRefusedWithTheFlag(int ranks, int heads, int kvHeads, int intermediate, String why) {
        assertThatThrownBy(() -> new Shard(0, ranks).check(model(heads, kvHeads, intermediate, 1024)))
                .isInstanceOf(ModelException.class)
                .hasMessageStartingWith("--tensor-parallel-size is " + ranks + ": ")
                .hasMessageContaining(why);
    }
}
