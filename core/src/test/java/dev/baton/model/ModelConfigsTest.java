package dev.baton.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.baton.tensor.DType;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class ModelConfigsTest {
    private static final String MINIMAL = """
            {"architectures": ["LlamaForCausalLM"], "vocab_size": 100, "hidden_size": 64, "intermediate_size": 128,
             "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 512, "rms_norm_eps": 1e-6}""";

    @TempDir
    Path directory;

    private ModelConfig read(String json) throws IOException {
        Files.writeString(directory.resolve("config.json"), json);
        return ModelConfigs.read(directory);
    }

    private static String with(String fields) {
        return MINIMAL.replaceFirst("\\{", "{" + fields + ", ");
    }

    @Test
    void fieldsThatAreNotThereHaveTransformersDefaults() throws IOException {
        ModelConfig config = read(MINIMAL);
        assertThat(config)
                .isEqualTo(new ModelConfig(
                        "LlamaForCausalLM",
                        100,
                        64,
                        128,
                        2,
                        4,
                        4,
                        16,
                        512,
                        1e-6f,
                        10_000,
                        new RopeScaling.None(),
                        false,
                        DType.F32,
                        java.util.List.of()));
    }

    @Test
    void bothSpellingsOfRotaryParametersAreRead() throws IOException {
        String llama3 = "\"factor\": 8.0, \"low_freq_factor\": 1.0, \"high_freq_factor\": 4.0,"
                + " \"original_max_position_embeddings\": 8192, \"rope_type\": \"llama3\"";
        RopeScaling expected = new RopeScaling.Llama3(8, 1, 4, 8192);
        ModelConfig older = read(with("\"rope_theta\": 500000.0, \"rope_scaling\": {" + llama3 + "}"));
        ModelConfig newer = read(with("\"rope_parameters\": {\"rope_theta\": 500000.0, " + llama3 + "}"));
        assertThat(older.ropeScaling()).isEqualTo(expected);
        assertThat(older.ropeTheta()).isEqualTo(500_000);
        assertThat(newer).isEqualTo(older);
        assertThat(read(with("\"rope_theta\": 20000, \"rope_scaling\": null")).ropeScaling())
                .isEqualTo(new RopeScaling.None());
    }

    @Test
    void endTokensComeFromTheGenerationConfigurationFirst() throws IOException {
        assertThat(read(with("\"eos_token_id\": 7")).eosTokenIds()).containsExactly(7);
        Files.writeString(directory.resolve("generation_config.json"), "{\"eos_token_id\": [3, 1]}");
        assertThat(read(with("\"eos_token_id\": 7")).eosTokenIds()).containsExactly(3, 1);
        Files.writeString(directory.resolve("generation_config.json"), "{\"eos_token_id\": 5}");
        assertThat(read(MINIMAL).eosTokenIds()).containsExactly(5);
        Files.writeString(directory.resolve("generation_config.json"), "{}");
        assertThat(read(with("\"eos_token_id\": 7")).eosTokenIds()).containsExactly(7);
    }

    @Test
    void elementTypeIsReadUnderBothNames() throws IOException {
        assertThat(read(with("\"torch_dtype\": \"bfloat16\"")).weightsDType()).isEqualTo(DType.BF16);
        assertThat(read(with("\"dtype\": \"float16\"")).weightsDType()).isEqualTo(DType.F16);
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '`',
            value = {
                "'hidden_act': 'gelu' | hidden_act is \"gelu\", which is not supported; supported: silu",
                "'quantization_config': {'bits': 4} | quantization_config is",
                "'rope_scaling': {'rope_type': 'dynamic'} | rope_type is dynamic; supported: default, linear, llama3, yarn",
                "'rope_scaling': {'type': 'yarn'} | factor is missing",
                "'rope_scaling': {'rope_type': 'llama3'} | factor is missing",
                "'num_key_value_heads': 3 | num_attention_heads is 4, which is not a multiple of num_key_value_heads, 3",
                "'head_dim': 15 | head_dim is 15, rotary embeddings need an even number",
                "'head_dim': 0 | head_dim is 0, a positive integer is needed",
                "'num_key_value_heads': 'two' | num_key_value_heads is \"two\", a positive integer is needed",
                "'eos_token_id': 'end' | eos_token_id is \"end\", an integer or a list of integers is needed",
                "'eos_token_id': -1 | eos_token_id has token id -1; vocab_size is 100, so the ids are 0 to 99",
                "'eos_token_id': [2, 100] | eos_token_id has token id 100; vocab_size is 100, so the ids are 0 to 99",
                "'dtype': 'float8_e4m3fn' | dtype is float8_e4m3fn; supported: float32, float16, bfloat16",
            })
    void whatIsNotSupportedIsNamedWithItsFile(String fields, String message) {
        assertThatThrownBy(() -> read(with(fields.replace('\'', '"'))))
                .isInstanceOf(ModelException.class)
                .hasMessageStartingWith(directory.resolve("config.json") + ": ")
                .hasMessageContaining(message.strip());
    }

    @Test
    void missingAndBrokenFilesAreNamed() throws IOException {
        assertThatThrownBy(() -> ModelConfigs.read(directory))
                .isInstanceOf(ModelException.class)
                .hasMessageContaining("there is no config.json in " + directory);
        assertThatThrownBy(() -> read("{"))
                .hasMessage(directory.resolve("config.json")
                        + " is not valid JSON: it ends too early, at line 1, column 2");
        assertThatThrownBy(() -> read("[1]")).hasMessageContaining("must hold a JSON object, not array");
        assertThatThrownBy(() -> read("{}")).hasMessageContaining("hidden_size is missing");
    }

    @Test
    void architectureThatIsNotThereIsNamedWithThoseThatAre() throws IOException {
        Files.writeString(directory.resolve("config.json"), MINIMAL.replace("LlamaFor", "MambaFor"));
        assertThatThrownBy(() -> ModelLoader.load(directory, LoadOptions.defaults()))
                .isInstanceOf(ModelException.class)
                .hasMessageContainingAll("MambaForCausalLM is not supported", "LlamaForCausalLM");
    }
}
