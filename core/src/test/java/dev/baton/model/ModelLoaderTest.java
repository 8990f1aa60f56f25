package dev.baton.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.sun.management.ThreadMXBean;
import dev.baton.model.LoadOptions.LoadFormat;
import dev.baton.tensor.DType;
import dev.baton.tensor.PagedKv;
import dev.baton.tensor.Quantization;
import dev.baton.tensor.cpu.OpsChoice;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// Loading from a configuration alone, and what instances compare before they exchange KV blocks.
class ModelLoaderTest {
    private static final String CONFIG = """
            {"architectures": ["LlamaForCausalLM"], "vocab_size": 100, "hidden_size": 48, "intermediate_size": 72,
             "num_hidden_layers": 2, "num_attention_heads": 3, "num_key_value_heads": 1, "max_position_embeddings": 512,
             "rms_norm_eps": 1e-6, "dtype": "bfloat16", "rope_theta": 20000.0}""";

    private static final LoadOptions DUMMY =
            LoadOptions.defaults().withFormat(LoadFormat.DUMMY).withCpuThreads(2);

    @TempDir
    Path directory;

    @BeforeEach
    void writeConfig() throws IOException {
        Files.writeString(directory.resolve("config.json"), CONFIG);
    }

    private float[] logits(LoadOptions options) {
        try (CausalLm model = ModelLoader.load(directory, options);
                PagedKv kv = cache(model)) {
            ForwardBatch batch = new ForwardBatch(5, 1);
            batch.add(new int[] {1, 2, 3, 4, 99}, 0, 5, new int[] {1}, true);
            float[] logits = new float[100];
            model.forward(batch, kv, logits);
            return logits;
        }
    }

    private static PagedKv cache(CausalLm model) {
        return new PagedKv(
                2,
                model.config().numLayers(),
                model.config().numKvHeads(),
                16,
                model.config().headDim(),
                DType.F32);
    }

    @Test
    void dummyWeightsAreDrawnFromTheSeed() {
        float[] first = logits(DUMMY.withSeed(1));
        assertThat(logits(DUMMY.withSeed(1).withOps(OpsChoice.SCALAR))).containsExactly(first);
        assertThat(logits(DUMMY.withSeed(2))).isNotEqualTo(first);
        double squares = 0;
        for (float logit : first) {
            assertThat(logit).isFinite();
            squares += logit * logit;
        }
        assertThat(squares).isPositive();
    }

    @Test
    void fingerprintNamesWhatTheKvCacheDependsOn() {
        try (CausalLm model = ModelLoader.load(directory, DUMMY.withSeed(4))) {
            assertThat(model.fingerprint())
                    .containsEntry("architecture", "LlamaForCausalLM")
                    .containsEntry(
                            "decoder", "qkv_bias=false, o_bias=false, mlp_bias=false, qk_norm=false, window=none")
                    .containsEntry("attention_heads", "3")
                    .containsEntry("rms_norm_eps", "1.0E-6")
                    .containsEntry("rope_theta", "20000.0")
                    .containsEntry("rope_scaling", "default")
                    .containsEntry("vocab_size", "100")
                    .containsEntry("dtype", "F32")
                    .hasEntrySatisfying(
                            "weights_digest", digest -> assertThat(digest).matches("dummy-4-[0-9a-f]{64}"))
                    .containsEntry("quantization", "none")
                    .hasSize(10);
        }
        LoadOptions int8 = DUMMY.withSeed(4).withQuantization(Quantization.INT8);
        try (CausalLm model = ModelLoader.load(directory, int8)) {
            assertThat(model.fingerprint()).containsEntry("quantization", "int8");
            assertThat(model.backend()).endsWith(" in int8");
        }
    }

    @Test
    void quantisedLogitsAreCloseAndTheSameBitsOnEveryPath() {
        float[] exact = logits(DUMMY.withSeed(1));
        LoadOptions int8 = DUMMY.withSeed(1).withQuantization(Quantization.INT8);
        float[] quantised = logits(int8);
        assertThat(logits(int8.withOps(OpsChoice.SCALAR).withCpuThreads(1))).containsExactly(quantised);
        double squares = 0;
        double errors = 0;
        for (int i = 0; i < exact.length; i++) {
            squares += exact[i] * exact[i];
            errors += Math.pow(quantised[i] - exact[i], 2);
        }
        assertThat(Math.sqrt(errors / squares)).isPositive().isLessThan(0.02);
    }

    @ParameterizedTest
    @ValueSource(strings = {"LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"})
    void dummyWeightsFillEveryFamily(String architecture) throws IOException {
        String config = CONFIG.replace("LlamaForCausalLM", architecture).replaceFirst("\\{", "{\"head_dim\": 20, ");
        Files.writeString(directory.resolve("config.json"), config);
        float[] first = logits(DUMMY.withSeed(3));
        for (float logit : first) {
            assertThat(logit).isFinite();
        }
        assertThat(logits(DUMMY.withSeed(3).withOps(OpsChoice.SCALAR))).containsExactly(first);
        assertThat(logits(DUMMY.withSeed(4))).isNotEqualTo(first);
    }

    @Test
    void whatChangesTheMeaningOfTheKvCacheChangesTheFingerprint() throws IOException {
        String qwen = CONFIG.replace("Llama", "Qwen2");
        String windows = qwen.replaceFirst(
                "\\{", "{\"use_sliding_window\": true, \"sliding_window\": 8," + " \"max_window_layers\": 1, ");
        List<Map<String, String>> fingerprints = new ArrayList<>();
        for (String config : new String[] {
            CONFIG,
            CONFIG.replaceFirst("\\{", "{\"attention_bias\": true, "),
            CONFIG.replaceFirst("\\{", "{\"mlp_bias\": true, "),
            CONFIG.replace("\"intermediate_size\": 72", "\"intermediate_size\": 80"),
            CONFIG.replace("1e-6", "1e-5"),
            CONFIG.replaceFirst("\\{", "{\"rope_scaling\": {\"type\": \"linear\", \"factor\": 2.0}, "),
            CONFIG.replaceFirst("\\{", "{\"rope_scaling\": {\"type\": \"yarn\", \"factor\": 2.0}, "),
            qwen,
            windows,
            windows.replace("\"sliding_window\": 8", "\"sliding_window\": 9"),
            windows.replace("\"max_window_layers\": 1", "\"max_window_layers\": 0")
        }) {
            Files.writeString(directory.resolve("config.json"), config);
            try (CausalLm model = ModelLoader.load(directory, DUMMY)) {
                fingerprints.add(model.fingerprint());
            }
        }
        assertThat(fingerprints).doesNotHaveDuplicates();
        assertThat(fingerprints.get(8))
                .containsEntry(
                        "decoder",
                        "qkv_bias=true, o_bias=false, mlp_bias=false, qk_norm=false, window=none, from layer 1 8");
    }

    @Test
    void withoutWeightsOnlyTheDummyFormatLoads() {
        assertThatThrownBy(() ->
                        ModelLoader.load(directory, LoadOptions.defaults()).close())
                .isInstanceOf(ModelException.class)
                .hasMessageContaining("choose the load format dummy");
    }

    @Test
    void tokenOutsideTheVocabularyIsRefused() {
        try (CausalLm model = ModelLoader.load(directory, DUMMY);
                PagedKv kv = cache(model)) {
            ForwardBatch batch = new ForwardBatch(1, 1);
            batch.add(new int[] {100}, 0, 1, new int[] {0}, true);
            assertThatThrownBy(() -> model.forward(batch, kv, new float[100]))
                    .isInstanceOf(ModelException.class)
                    .hasMessageContaining("token 100 is not in the vocabulary of 100");
        }
    }

    @Test
    void warmUpEndsAndLeavesResultsAlone() {
        try (CausalLm model = ModelLoader.load(directory, DUMMY.withSeed(1));
                PagedKv kv = cache(model)) {
            assertThat(WarmUp.run(model, DType.F32, Duration.ofMillis(300))).isPositive();
            ForwardBatch batch = new ForwardBatch(5, 1);
            batch.add(new int[] {1, 2, 3, 4, 99}, 0, 5, new int[] {1}, true);
            float[] logits = new float[100];
            model.forward(batch, kv, logits);
            assertThat(logits).containsExactly(logits(DUMMY.withSeed(1)));
        }
    }

    /// Scalar, as the virtual machine keeps vectors on the heap until it has compiled their loop.
    @Test
    void stepAllocatesNothingOnceBuffersHaveGrown() {
        ThreadMXBean threads = (ThreadMXBean) ManagementFactory.getThreadMXBean();
        try (CausalLm model = ModelLoader.load(
                        directory, DUMMY.withOps(OpsChoice.SCALAR).withCpuThreads(1));
                PagedKv kv = cache(model)) {
            int[] tokens = new int[32];
            Arrays.fill(tokens, 7);
            int[] table = {0, 1};
            ForwardBatch batch = new ForwardBatch(32, 1);
            float[] logits = new float[100];
            long least = Long.MAX_VALUE;
            for (int round = 0; round < 50 && least > 0; round++) {
                long before = threads.getCurrentThreadAllocatedBytes();
                for (int from = 0; from < 32; from += 8) {
                    batch.clear();
                    batch.add(tokens, from, 8, table, true);
                    model.forward(batch, kv, logits);
                }
                least = Math.min(least, threads.getCurrentThreadAllocatedBytes() - before);
            }
            assertThat(least).as("bytes allocated by the best of 50 rounds").isZero();
        }
    }
}
