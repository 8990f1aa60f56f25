package dev.baton.model.decoder;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.model.CausalLm;
import dev.baton.model.LoadOptions;
import dev.baton.model.ModelLoader;
import dev.baton.tensor.Quantization;
import dev.baton.tensor.cpu.OpsChoice;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/// A model whose weights become 8-bit integers when it is loaded, against the logits of transformers.
class QuantizationTest {
    private static CausalLm load(String fixture, OpsChoice ops, int threads) {
        return ModelLoader.load(
                ModelFixture.read(fixture).directory(),
                LoadOptions.defaults().withOps(ops).withCpuThreads(threads).withQuantization(Quantization.INT8));
    }

    /// The f32 fixtures have sharp attention (see the script), which multiplies every error.
    @ParameterizedTest
    @CsvSource({"llama-bf16, 0.03", "qwen2-bf16, 0.03", "qwen3-bf16, 0.03", "mistral-bf16, 0.03", "llama-f32, 0.08"})
    void logitsStayWithinAFewPercentOfTransformers(String name, double bound) {
        ModelFixture fixture = ModelFixture.read(name);
        try (CausalLm model = load(name, OpsChoice.AUTO, 2)) {
            for (int i = 0; i < fixture.positions().length; i++) {
                int length = fixture.positions()[i] + 1;
                float[] logits = ModelFixture.lastLogits(model, fixture.inputIds(), length, length, 16);
                double errors = 0;
                double squares = 0;
                for (int j = 0; j < logits.length; j++) {
                    double expected = fixture.logits()[i][j];
                    errors += (logits[j] - expected) * (logits[j] - expected);
                    squares += expected * expected;
                }
                assertThat(Math.sqrt(errors / squares))
                        .as("position %d", length - 1)
                        .isPositive()
                        .isLessThan(bound);
            }
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"llama-bf16", "llama-f32"})
    void logitsAreTheSameBitsForEveryChunkAndImplementation(String name) {
        int[] tokens = ModelFixture.read(name).inputIds();
        try (CausalLm scalar = load(name, OpsChoice.SCALAR, 1);
                CausalLm vector = load(name, OpsChoice.VECTOR, 3)) {
            float[] expected = ModelFixture.lastLogits(scalar, tokens, 75, 75, 16);
            for (int chunk : new int[] {1, 2, 7, 33, 75}) {
                assertThat(ModelFixture.lastLogits(scalar, tokens, 75, chunk, 16))
                        .containsExactly(expected);
                assertThat(ModelFixture.lastLogits(vector, tokens, 75, chunk, 16))
                        .containsExactly(expected);
            }
        }
    }
}
