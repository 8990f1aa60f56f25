package dev.baton.cli;

import dev.baton.engine.SamplingParams;
import dev.baton.model.JsonFile;
import dev.baton.serving.DefaultSampling;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.OptionalDouble;
import java.util.OptionalInt;
import java.util.function.Predicate;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/// Finds the defaults for sampling: what `--override-generation-config` says, else the file that
/// `--generation-config` names, else vLLM's own.
final class GenerationDefaults {
    private static final String FILE = "generation_config.json";
    private static final JsonMapper JSON = new JsonMapper();

    private GenerationDefaults() {}

    /// Reads them.
    ///
    /// @param source `auto` for the model's folder, `vllm` for no file, else another folder
    /// @param override a JSON object, or empty
    /// @throws IllegalArgumentException naming the flag, if there is no such file or no such object, or if no
    ///     request could be sampled so
    /// @throws dev.baton.model.ModelException if the file cannot be read
    static DefaultSampling read(Path modelFolder, String source, String override) {
        ObjectNode json = JsonNodeFactory.instance.objectNode();
        file(modelFolder, source).properties().forEach(entry -> json.set(entry.getKey(), entry.getValue()));
        overrides(override).properties().forEach(entry -> json.set(entry.getKey(), entry.getValue()));
        return usable(new DefaultSampling(
                number(json, "temperature"),
                number(json, "top_p"),
                integer(json, "top_k"),
                number(json, "min_p"),
                number(json, "repetition_penalty"),
                integer(json, "max_new_tokens")));
    }

    /// The same. What is wrong with a default is the operator's to hear, not each client's.
    private static DefaultSampling usable(DefaultSampling defaults) {
        try {
            SamplingParams.builder(defaults.maxTokens().orElse(1))
                    .temperature((float) defaults.temperature().orElse(1))
                    .topP((float) defaults.topP().orElse(1))
                    .topK(Math.max(0, defaults.topK().orElse(0)))
                    .minP((float) defaults.minP().orElse(0))
                    .repetitionPenalty((float) defaults.repetitionPenalty().orElse(1))
                    .build();
            return defaults;
        } catch (IllegalArgumentException e) {
            throw new IllegalArgumentException(
                    "The defaults for sampling (--generation-config, --override-generation-config) cannot be used: %s."
                            .formatted(e.getMessage()),
                    e);
        }
    }

    private static JsonNode file(Path modelFolder, String source) {
        Path folder = source.equals("auto") ? modelFolder : Path.of(source);
        boolean isThere = !source.equals("vllm") && Files.exists(folder.resolve(FILE));
        if (!isThere && !source.equals("auto") && !source.equals("vllm")) {
            throw new IllegalArgumentException(
                    "--generation-config %s is no folder with a %s; choose one, auto or vllm.".formatted(source, FILE));
        }
        return isThere ? JsonFile.readObject(folder.resolve(FILE)) : JsonNodeFactory.instance.objectNode();
    }

    private static JsonNode overrides(String json) {
        if (json.isEmpty()) {
            return JsonNodeFactory.instance.objectNode();
        }
        try {
            JsonNode node = JSON.readTree(json);
            if (node.isObject()) {
                requireNumbers(node);
                return node;
            }
        } catch (JacksonException e) {
            throw new IllegalArgumentException(
                    "--override-generation-config is no JSON: " + e.getOriginalMessage() + ".", e);
        }
        throw new IllegalArgumentException(
                "--override-generation-config is no JSON object such as {\"temperature\": 0.5}.");
    }

    /// A default that is asked for must not be lost in silence.
    private static void requireNumbers(JsonNode given) {
        for (String key : List.of("temperature", "top_p", "min_p", "repetition_penalty")) {
            require(given, key, JsonNode::isNumber, "a number");
        }
        for (String key : List.of("top_k", "max_new_tokens")) {
            require(given, key, JsonNode::isInt, "an integer");
        }
    }

    private static void require(JsonNode given, String key, Predicate<JsonNode> fits, String what) {
        JsonNode value = given.path(key);
        if (!value.isMissingNode() && !value.isNull() && !fits.test(value)) {
            throw new IllegalArgumentException(
                    "--override-generation-config: %s must be %s, got %s.".formatted(key, what, value));
        }
    }

    private static OptionalDouble number(JsonNode json, String key) {
        JsonNode value = json.path(key);
        return value.isNumber() ? OptionalDouble.of(value.doubleValue()) : OptionalDouble.empty();
    }

    private static OptionalInt integer(JsonNode json, String key) {
        JsonNode value = json.path(key);
        return value.isInt() ? OptionalInt.of(value.intValue()) : OptionalInt.empty();
    }
}
