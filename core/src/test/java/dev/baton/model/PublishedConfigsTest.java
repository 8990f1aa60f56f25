package dev.baton.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.baton.model.decoder.DecoderSpec;
import dev.baton.tensor.DType;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Collections;
import java.util.List;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// The configurations that the families' publishers ship, and their other spellings: transformers 4 wrote
/// `torch_dtype`, `rope_theta` and `rope_scaling`, transformers 5 writes `dtype`, `rope_parameters` and
/// `layer_types`.
class PublishedConfigsTest {
    private static final String LLAMA_32_1B = """
            {"architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
             "bos_token_id": 128000, "eos_token_id": [128001, 128008, 128009], "head_dim": 64, "hidden_act": "silu",
             "hidden_size": 2048, "initializer_range": 0.02, "intermediate_size": 8192,
             "max_position_embeddings": 131072, "mlp_bias": false, "model_type": "llama", "num_attention_heads": 32,
             "num_hidden_layers": 16, "num_key_value_heads": 8, "pretraining_tp": 1, "rms_norm_eps": 1e-05,
             "rope_scaling": {"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                              "original_max_position_embeddings": 8192, "rope_type": "llama3"},
             "rope_theta": 500000.0, "tie_word_embeddings": true, "torch_dtype": "bfloat16",
             "transformers_version": "4.45.0.dev0", "use_cache": true, "vocab_size": 128256}""";

    private static final String QWEN25_05B_INSTRUCT = """
            {"architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 151643,
             "eos_token_id": 151645, "hidden_act": "silu", "hidden_size": 896, "initializer_range": 0.02,
             "intermediate_size": 4864, "max_position_embeddings": 32768, "max_window_layers": 21,
             "model_type": "qwen2", "num_attention_heads": 14, "num_hidden_layers": 24, "num_key_value_heads": 2,
             "rms_norm_eps": 1e-06, "rope_theta": 1000000.0, "sliding_window": 32768, "tie_word_embeddings": true,
             "torch_dtype": "bfloat16", "transformers_version": "4.43.1", "use_cache": true,
             "use_sliding_window": false, "vocab_size": 151936}""";

    private static final String QWEN3_06B = """
            {"architectures": ["Qwen3ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
             "bos_token_id": 151643, "eos_token_id": 151645, "head_dim": 128, "hidden_act": "silu",
             "hidden_size": 1024, "initializer_range": 0.02, "intermediate_size": 3072,
             "max_position_embeddings": 40960, "max_window_layers": 28, "model_type": "qwen3",
             "num_attention_heads": 16, "num_hidden_layers": 28, "num_key_value_heads": 8, "rms_norm_eps": 1e-06,
             "rope_scaling": null, "rope_theta": 1000000, "sliding_window": null, "tie_word_embeddings": true,
             "torch_dtype": "bfloat16", "transformers_version": "4.51.0", "use_cache": true,
             "use_sliding_window": false, "vocab_size": 151936}""";

    private static final String MISTRAL_7B_V01 = """
            {"architectures": ["MistralForCausalLM"], "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu",
             "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 14336,
             "max_position_embeddings": 32768, "model_type": "mistral", "num_attention_heads": 32,
             "num_hidden_layers": 32, "num_key_value_heads": 8, "rms_norm_eps": 1e-05, "rope_theta": 10000.0,
             "sliding_window": 4096, "tie_word_embeddings": false, "torch_dtype": "bfloat16",
             "transformers_version": "4.34.0.dev0", "use_cache": true, "vocab_size": 32000}""";

    private static final String MISTRAL_7B_V03 = """
            {"architectures": ["MistralForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 1, "eos_token_id": 2,
             "hidden_act": "silu", "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 14336,
             "max_position_embeddings": 32768, "model_type": "mistral", "num_attention_heads": 32,
             "num_hidden_layers": 32, "num_key_value_heads": 8, "rms_norm_eps": 1e-05, "rope_theta": 1000000.0,
             "sliding_window": null, "tie_word_embeddings": false, "torch_dtype": "bfloat16",
             "transformers_version": "4.42.0.dev0", "use_cache": true, "vocab_size": 32768}""";

    @TempDir
    Path directory;

    private ModelConfig config(String json) throws IOException {
        Files.writeString(directory.resolve("config.json"), json);
        return ModelLoader.config(directory);
    }

    private DecoderSpec spec(String json) throws IOException {
        ModelConfig config = config(json);
        return Architectures.family(config.architecture()).describe(ModelConfigs.fields(directory));
    }

    private static String with(String json, String fields) {
        return json.replaceFirst("\\{", "{" + fields.replace('\'', '"') + ", ");
    }

    private static String without(String json, String... fields) {
        String left = json;
        for (String field : fields) {
            left = left.replaceFirst("\"" + field + "\": (\\{[^}]*}|[^,}]*), *", "");
        }
        return left;
    }

    @Test
    void llama32() throws IOException {
        ModelConfig config = config(LLAMA_32_1B);
        assertThat(config)
                .isEqualTo(new ModelConfig(
                        "LlamaForCausalLM",
                        128256,
                        2048,
                        8192,
                        16,
                        32,
                        8,
                        64,
                        131072,
                        1e-5f,
                        500_000,
                        new RopeScaling.Llama3(32, 1, 4, 8192),
                        true,
                        DType.BF16,
                        List.of(128001, 128008, 128009)));
        assertThat(spec(LLAMA_32_1B)).isEqualTo(DecoderSpec.PLAIN);
        String newer = with(
                without(LLAMA_32_1B, "rope_scaling", "rope_theta", "torch_dtype"),
                "'dtype': 'bfloat16', 'rope_parameters': {'factor': 32.0, 'high_freq_factor': 4.0, 'low_freq_factor': 1.0,"
                        + " 'original_max_position_embeddings': 8192, 'rope_theta': 500000.0, 'rope_type': 'llama3'}");
        assertThat(config(newer)).isEqualTo(config);
    }

    @Test
    void qwen25HasBiasesAndIgnoresTheWindowThatItDoesNotUse() throws IOException {
        ModelConfig config = config(QWEN25_05B_INSTRUCT);
        assertThat(config.headDim()).isEqualTo(64);
        assertThat(config.numKvHeads()).isEqualTo(2);
        assertThat(config.ropeTheta()).isEqualTo(1e6);
        assertThat(config.eosTokenIds()).containsExactly(151645);
        assertThat(spec(QWEN25_05B_INSTRUCT))
                .isEqualTo(DecoderSpec.PLAIN.withQueryKeyValueBias(true).withWindowTokens(unbounded(24)));
        String newer = with(
                without(QWEN25_05B_INSTRUCT, "rope_theta", "torch_dtype", "sliding_window"),
                "'dtype': 'bfloat16', 'sliding_window': null, 'layer_types': ["
                        + String.join(", ", Collections.nCopies(24, "'full_attention'"))
                        + "], 'rope_parameters': {'rope_theta': 1000000.0, 'rope_type': 'default'}");
        assertThat(config(newer)).isEqualTo(config);
        assertThat(spec(newer)).isEqualTo(spec(QWEN25_05B_INSTRUCT));
    }

    @Test
    void qwen25WithYarnReachesTheStretchedContext() throws IOException {
        String yarn = with(
                QWEN25_05B_INSTRUCT,
                "'rope_scaling': {'factor': 4.0, 'original_max_position_embeddings': 32768, 'type': 'yarn'}");
        assertThat(config(yarn).ropeScaling())
                .isEqualTo(new RopeScaling.Yarn(4, 32, 1, true, 32768, (float) (0.1 * Math.log(4) + 1)));
        assertThat(config(yarn).maxPositionEmbeddings()).isEqualTo(131072);
        String linear = with(QWEN25_05B_INSTRUCT, "'rope_scaling': {'factor': 2.0, 'type': 'linear'}");
        assertThat(config(linear).ropeScaling()).isEqualTo(new RopeScaling.Linear(2));
        assertThat(config(linear).maxPositionEmbeddings()).isEqualTo(65536);
        assertThatThrownBy(() ->
                        config(with(QWEN25_05B_INSTRUCT, "'rope_scaling': {'factor': 2.0, 'rope_type': 'dynamic'}")))
                .isInstanceOf(ModelException.class)
                .hasMessageEndingWith("rope_type is dynamic; supported: default, linear, llama3, yarn");
    }

    @Test
    void qwenWindowsBeginAtMaxWindowLayersOrWhereLayerTypesSay() throws IOException {
        String used = QWEN25_05B_INSTRUCT.replace("\"use_sliding_window\": false", "\"use_sliding_window\": true");
        List<Integer> fromLayer21 = Stream.concat(unbounded(21).stream(), Collections.nCopies(3, 32768).stream())
                .toList();
        assertThat(spec(used).windowTokens()).isEqualTo(fromLayer21);
        List<String> alternating = IntStream.range(0, 24)
                .mapToObj(i -> i % 2 == 0 ? "'sliding_attention'" : "'full_attention'")
                .toList();
        DecoderSpec named = spec(with(used, "'layer_types': [" + String.join(", ", alternating) + "]"));
        assertThat(named.windowTokens(0)).isEqualTo(32768);
        assertThat(named.windowTokens(1)).isEqualTo(DecoderSpec.UNBOUNDED);
        assertThat(named.windowTokens(22)).isEqualTo(32768);
    }

    @Test
    void qwen3NormalisesHeadsAndHasItsOwnHeadDim() throws IOException {
        ModelConfig config = config(QWEN3_06B);
        assertThat(config.headDim()).isEqualTo(128);
        assertThat(config.hiddenSize()).isEqualTo(1024);
        assertThat(config.maxPositionEmbeddings()).isEqualTo(40960);
        assertThat(spec(QWEN3_06B))
                .isEqualTo(DecoderSpec.PLAIN.withQueryKeyNorm(true).withWindowTokens(unbounded(28)));
        assertThat(spec(QWEN3_06B.replace("\"attention_bias\": false", "\"attention_bias\": true")))
                .matches(DecoderSpec::queryKeyValueBias)
                .matches(DecoderSpec::attentionOutBias);
        String newer = with(
                without(QWEN3_06B, "rope_theta", "rope_scaling", "torch_dtype"),
                "'dtype': 'bfloat16', 'rope_parameters': {'rope_theta': 1000000, 'rope_type': 'default'}");
        assertThat(config(newer)).isEqualTo(config);
    }

    @Test
    void mistralHasTheWindowThatItsConfigurationSays() throws IOException {
        assertThat(config(MISTRAL_7B_V01).headDim()).isEqualTo(128);
        assertThat(config(MISTRAL_7B_V03).ropeTheta()).isEqualTo(1e6);
        assertThat(spec(MISTRAL_7B_V01)).isEqualTo(DecoderSpec.PLAIN.withWindowTokens(4096));
        assertThat(spec(MISTRAL_7B_V03)).isEqualTo(DecoderSpec.PLAIN);
        assertThat(spec(without(MISTRAL_7B_V03, "sliding_window"))).isEqualTo(DecoderSpec.PLAIN.withWindowTokens(4096));
        String newer = with(
                without(MISTRAL_7B_V01, "rope_theta", "torch_dtype"),
                "'dtype': 'bfloat16', 'head_dim': 128, 'rope_parameters': {'rope_theta': 10000.0, 'rope_type': 'default'}");
        assertThat(config(newer)).isEqualTo(config(MISTRAL_7B_V01));
        assertThat(spec(newer)).isEqualTo(spec(MISTRAL_7B_V01));
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '`',
            value = {
                "Llama | 'sliding_window': 4096 | sliding_window is 4096, which is not supported; supported: null",
                "Llama | 'attention_bias': 'yes' | attention_bias is \"yes\", true or false is needed",
                "Mistral | 'attention_bias': true | attention_bias is true, which is not supported; supported: false",
                "Mistral | 'sliding_window': 0 | sliding_window is 0, a positive integer is needed",
                "Mistral | 'layer_types': ['full_attention'] | layer_types is [\"full_attention\"], which is not supported",
                "Qwen2 | 'layer_types': ['full_attention'] | layer_types has 1 entries, num_hidden_layers is 2",
                "Qwen2 | 'layer_types': ['full_attention', 'linear_attention'] | layer_types has linear_attention; supported: full_attention, sliding_attention",
                "Qwen2 | 'layer_types': ['full_attention', 'sliding_attention'] | needs use_sliding_window to be true and sliding_window to be a number",
                "Qwen2 | 'use_sliding_window': true, 'sliding_window': 8 | max_window_layers is missing",
                "Qwen3 | 'attention_bias': false | head_dim is missing",
                "Qwen3 | 'head_dim': 8, 'rope_parameters': {'full_attention': {'rope_theta': 5.0}} | the rotary parameters of full_attention layers stand by themselves",
                "Qwen2 | 'partial_rotary_factor': 0.5 | partial_rotary_factor is 0.5, which is not supported; supported: 1.0",
            })
    void whatAFamilyDoesNotHaveIsNamed(String family, String fields, String message) {
        String small = """
                {"architectures": ["FAMILYForCausalLM"], "vocab_size": 100, "hidden_size": 64,
                 "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
                 "max_position_embeddings": 512, "rms_norm_eps": 1e-6}""".replace("FAMILY", family);
        assertThatThrownBy(() -> config(with(small, fields)))
                .isInstanceOf(ModelException.class)
                .hasMessageStartingWith(directory.resolve("config.json") + ": ")
                .hasMessageContaining(message.strip());
    }

    private static List<Integer> unbounded(int layers) {
        return Collections.nCopies(layers, DecoderSpec.UNBOUNDED);
    }
}
