package dev.baton.cli;

import dev.baton.model.JsonFile;
import dev.baton.serving.DefaultSampling;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.OptionalDouble;
import java.util.OptionalInt;
import tools.jackson.databind.JsonNode;

/// Reads what a model's `generation_config.json` says about sampling.
final class GenerationDefaults {
    private GenerationDefaults() {}

    /// vLLM's own defaults if there is no such file.
    ///
    /// @throws dev.baton.model.ModelException if it cannot be read
    static DefaultSampling read(Path modelFolder) {
        Path file = modelFolder.resolve("generation_config.json");
        if (!Files.exists(file)) {
            return DefaultSampling.VLLM;
        }
        JsonNode json = JsonFile.readObject(file);
        return new DefaultSampling(
                number(json, "temperature"),
                number(json, "top_p"),
                integer(json, "top_k"),
                number(json, "min_p"),
                number(json, "repetition_penalty"),
                integer(json, "max_new_tokens"));
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
