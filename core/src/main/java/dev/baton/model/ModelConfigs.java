package dev.baton.model;

import dev.baton.tensor.DType;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import tools.jackson.databind.JsonNode;

/// Reads a [ModelConfig] from a Hugging Face folder, in the spelling of transformers 4 and of transformers 5.
/// What a configuration asks for and is not built is refused by name.
public final class ModelConfigs {
    private static final String CONFIG = "config.json";
    private static final String GENERATION_CONFIG = "generation_config.json";

    private ModelConfigs() {}

    /// Reads `config.json` and, if it is there, `generation_config.json`.
    ///
    /// @throws ModelException naming the file, the field, what it says and what is needed
    public static ModelConfig read(Path directory) {
        return read(directory, fields(directory));
    }

    /// The fields of `config.json`.
    static ConfigFields fields(Path directory) {
        Path file = directory.resolve(CONFIG);
        if (!Files.isRegularFile(file)) {
            throw new ModelException("there is no " + CONFIG + " in " + directory
                    + ": a model is a Hugging Face folder with config.json, model.safetensors and tokenizer.json");
        }
        return new ConfigFields(file, JsonFile.readObject(file));
    }

    /// Reads what all families have in common.
    static ModelConfig read(Path directory, ConfigFields config) {
        config.mustBe("hidden_act", "silu");
        config.mustBe("quantization_config", "null");

        int hiddenSize = config.positive("hidden_size");
        int numHeads = config.positive("num_attention_heads");
        int numKvHeads = config.has("num_key_value_heads") ? config.positive("num_key_value_heads") : numHeads;
        if (numHeads % numKvHeads != 0) {
            throw config.wrong("num_attention_heads is " + numHeads
                    + ", which is not a multiple of num_key_value_heads, " + numKvHeads);
        }
        if (!config.has("head_dim") && hiddenSize % numHeads != 0) {
            throw config.wrong("hidden_size is " + hiddenSize + ", which is not a multiple of num_attention_heads, "
                    + numHeads + ", and there is no head_dim");
        }
        int headDim = config.has("head_dim") ? config.positive("head_dim") : hiddenSize / numHeads;
        if (headDim % 2 != 0) {
            throw config.wrong("head_dim is " + headDim + ", rotary embeddings need an even number");
        }
        int vocabSize = config.positive("vocab_size");
        int positions = config.positive("max_position_embeddings");
        RopeConfig rope = RopeConfig.read(config, positions);
        return new ModelConfig(
                architecture(config),
                vocabSize,
                hiddenSize,
                config.positive("intermediate_size"),
                config.positive("num_hidden_layers"),
                numHeads,
                numKvHeads,
                headDim,
                rope.scaling().positions(positions),
                (float) config.number("rms_norm_eps"),
                rope.theta(),
                rope.scaling(),
                config.flag("tie_word_embeddings", false),
                dtype(config),
                eosTokenIds(directory, config, vocabSize));
    }

    private static String architecture(ConfigFields config) {
        JsonNode names = config.node("architectures");
        if (!names.isArray() || names.isEmpty()) {
            throw config.wrong("architectures must be a list with one name, for example [\"LlamaForCausalLM\"]");
        }
        return names.get(0).asString();
    }

    private static DType dtype(ConfigFields config) {
        String name = config.has("dtype")
                ? config.node("dtype").asString()
                : config.has("torch_dtype") ? config.node("torch_dtype").asString() : "float32";
        return DType.ofTorchName(name)
                .orElseThrow(() -> config.wrong("dtype is " + name + "; supported: float32, float16, bfloat16"));
    }

    private static List<Integer> eosTokenIds(Path directory, ConfigFields config, int vocabSize) {
        Path generation = directory.resolve(GENERATION_CONFIG);
        if (Files.isRegularFile(generation)) {
            ConfigFields fields = new ConfigFields(generation, JsonFile.readObject(generation));
            if (fields.has("eos_token_id")) {
                return fields.tokenIds("eos_token_id", vocabSize);
            }
        }
        return config.has("eos_token_id") ? config.tokenIds("eos_token_id", vocabSize) : List.of();
    }
}
