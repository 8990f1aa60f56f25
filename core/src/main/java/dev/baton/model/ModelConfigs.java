package dev.baton.model;

import dev.baton.tensor.DType;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/// Reads a [ModelConfig] from a Hugging Face folder, in the spelling of transformers 4 and of transformers 5.
/// What a configuration asks for and is not built is refused by name.
public final class ModelConfigs {
    private static final String CONFIG = "config.json";
    private static final String GENERATION_CONFIG = "generation_config.json";
    private static final double DEFAULT_ROPE_THETA = 10_000;

    private ModelConfigs() {}

    /// Reads `config.json` and, if it is there, `generation_config.json`.
    ///
    /// @throws ModelException naming the file, the field, what it says and what is needed
    public static ModelConfig read(Path directory) {
        Path file = directory.resolve(CONFIG);
        if (!Files.isRegularFile(file)) {
            throw new ModelException("there is no " + CONFIG + " in " + directory
                    + ": a model is a Hugging Face folder with config.json, model.safetensors and tokenizer.json");
        }
        Fields config = new Fields(file, JsonFile.readObject(file));
        config.mustBe("hidden_act", "silu");
        config.mustBe("attention_bias", "false");
        config.mustBe("mlp_bias", "false");
        config.mustBe("sliding_window", "null");
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
        return new ModelConfig(
                architecture(config),
                vocabSize,
                hiddenSize,
                config.positive("intermediate_size"),
                config.positive("num_hidden_layers"),
                numHeads,
                numKvHeads,
                headDim,
                config.positive("max_position_embeddings"),
                (float) config.number("rms_norm_eps"),
                ropeTheta(config),
                ropeScaling(config),
                config.has("tie_word_embeddings")
                        && config.node("tie_word_embeddings").asBoolean(),
                dtype(config),
                eosTokenIds(directory, config, vocabSize));
    }

    private static String architecture(Fields config) {
        JsonNode names = config.node("architectures");
        if (!names.isArray() || names.isEmpty()) {
            throw config.wrong("architectures must be a list with one name, for example [\"LlamaForCausalLM\"]");
        }
        return names.get(0).asString();
    }

    /// The rotary fields: `rope_parameters` holds all of them since transformers 5, before that `rope_theta` stood
    /// beside `rope_scaling`.
    private static Fields rope(Fields config) {
        for (String name : new String[] {"rope_parameters", "rope_scaling"}) {
            if (config.has(name)) {
                return new Fields(config.file(), config.node(name));
            }
        }
        return new Fields(config.file(), JsonMapper.shared().createObjectNode());
    }

    private static double ropeTheta(Fields config) {
        Fields rope = rope(config);
        if (rope.has("rope_theta")) {
            return rope.number("rope_theta");
        }
        return config.has("rope_theta") ? config.number("rope_theta") : DEFAULT_ROPE_THETA;
    }

    private static RopeScaling ropeScaling(Fields config) {
        Fields rope = rope(config);
        String type = rope.has("rope_type")
                ? rope.node("rope_type").asString()
                : rope.has("type") ? rope.node("type").asString() : "default";
        return switch (type) {
            case "default" -> new RopeScaling.None();
            case "llama3" ->
                new RopeScaling.Llama3(
                        rope.number("factor"),
                        rope.number("low_freq_factor"),
                        rope.number("high_freq_factor"),
                        rope.positive("original_max_position_embeddings"));
            default -> throw config.wrong("rope_type is " + type + "; supported: default, llama3");
        };
    }

    private static DType dtype(Fields config) {
        String name = config.has("dtype")
                ? config.node("dtype").asString()
                : config.has("torch_dtype") ? config.node("torch_dtype").asString() : "float32";
        return DType.ofTorchName(name)
                .orElseThrow(() -> config.wrong("dtype is " + name + "; supported: float32, float16, bfloat16"));
    }

    private static List<Integer> eosTokenIds(Path directory, Fields config, int vocabSize) {
        Path generation = directory.resolve(GENERATION_CONFIG);
        if (Files.isRegularFile(generation)) {
            Fields fields = new Fields(generation, JsonFile.readObject(generation));
            if (fields.has("eos_token_id")) {
                return fields.tokenIds("eos_token_id", vocabSize);
            }
        }
        return config.has("eos_token_id") ? config.tokenIds("eos_token_id", vocabSize) : List.of();
    }

    /// The fields of one JSON object, with errors that name the file.
    private record Fields(Path file, JsonNode object) {
        boolean has(String name) {
            return object.hasNonNull(name);
        }

        JsonNode node(String name) {
            JsonNode value = object.get(name);
            if (value == null || value.isNull()) {
                throw wrong(name + " is missing");
            }
            return value;
        }

        int positive(String name) {
            JsonNode value = node(name);
            if (!value.isIntegralNumber() || !value.canConvertToInt() || value.asInt() < 1) {
                throw wrong(name + " is " + value + ", a positive integer is needed");
            }
            return value.asInt();
        }

        double number(String name) {
            JsonNode value = node(name);
            if (!value.isNumber()) {
                throw wrong(name + " is " + value + ", a number is needed");
            }
            return value.asDouble();
        }

        /// A token id or a list of them.
        List<Integer> tokenIds(String name, int vocabSize) {
            JsonNode value = node(name);
            List<Integer> integers = new ArrayList<>();
            for (JsonNode element : value.isArray() ? value.values() : List.of(value)) {
                if (!element.canConvertToInt()) {
                    throw wrong(name + " is " + value + ", an integer or a list of integers is needed");
                }
                if (element.asInt() < 0 || element.asInt() >= vocabSize) {
                    throw wrong(name + " has token id " + element.asInt() + "; vocab_size is " + vocabSize
                            + ", so the ids are 0 to " + (vocabSize - 1));
                }
                integers.add(element.asInt());
            }
            return List.copyOf(integers);
        }

        /// Refuses a field that asks for something that is not built; absent is as good as the one value that is.
        void mustBe(String name, String supported) {
            if (has(name) && !node(name).asString("").equals(supported)) {
                throw wrong(name + " is " + node(name) + ", which is not supported; supported: " + supported);
            }
        }

        ModelException wrong(String what) {
            return new ModelException(file + ": " + what);
        }
    }
}
