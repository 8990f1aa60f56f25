package dev.baton.cli;

import dev.baton.model.LoadOptions;
import dev.baton.serving.DefaultSampling;
import dev.baton.tensor.Quantization;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/// Flags about the model and its names.
@Command
final class ModelOptions {
    @Option(
            names = "--served-model-name",
            arity = "1..*",
            paramLabel = "NAME",
            description = "Names of the model in requests; answers carry the first (default: as given to serve; with"
                    + " up, the last name of the folder).")
    List<String> servedModelNames = new ArrayList<>();

    @Option(
            names = "--max-model-len",
            paramLabel = "TOKENS",
            converter = HumanReadableInt.class,
            description = "Longest prompt plus output; also as 4k, 4K (default: what the model allows).")
    @Nullable
    Long maxModelLen;

    @Option(
            names = "--dtype",
            paramLabel = "TYPE",
            defaultValue = "auto",
            description = "Type to compute in: auto, float32 (the CPU), or bfloat16 (a GPU); auto: the device's own.")
    String dtype = "";

    @Option(
            names = {"-q", "--quantization"},
            paramLabel = "METHOD",
            defaultValue = "none",
            description = "int8: weight matrices become 8-bit integers with a scale per output channel when the model"
                    + " is loaded; none: they stay what the folder has (default: ${DEFAULT-VALUE}).")
    String quantization = "";

    @Option(
            names = "--load-format",
            paramLabel = "FORMAT",
            defaultValue = "auto",
            description = "auto or safetensors: the folder's weights; dummy: random ones, for speed tests.")
    String loadFormat = "";

    @Option(
            names = "--seed",
            paramLabel = "N",
            defaultValue = "0",
            description = "Seed of the weights with --load-format dummy (default: ${DEFAULT-VALUE}).")
    long seed;

    @Option(
            names = "--generation-config",
            paramLabel = "auto|vllm|DIR",
            defaultValue = "auto",
            description = "Where the defaults for sampling come from: auto, the model's generation_config.json; vllm,"
                    + " none; else that folder's file (default: ${DEFAULT-VALUE}).")
    String generationConfig = "";

    @Option(
            names = "--override-generation-config",
            paramLabel = ConfigOption.JSON_LABEL,
            description = "Defaults for sampling that go before those, for example '{\"temperature\": 0.5}'.")
    @Nullable
    String overrideGenerationConfig;

    /// What the weight matrices are kept as.
    ///
    /// @throws IllegalArgumentException if there is no such method
    Quantization quantization() {
        return Quantization.ofFlag(quantization)
                .orElseThrow(() -> new IllegalArgumentException(
                        "--quantization %s is not there: choose from none, int8.".formatted(quantization)));
    }

    /// The defaults for sampling.
    ///
    /// @throws IllegalArgumentException if a flag about them is wrong
    DefaultSampling defaultSampling(Path modelFolder) {
        return GenerationDefaults.read(
                modelFolder, generationConfig, overrideGenerationConfig == null ? "" : overrideGenerationConfig);
    }

    /// Where the weights come from.
    ///
    /// @throws IllegalArgumentException if there is no such format
    LoadOptions.LoadFormat loadFormat() {
        return switch (loadFormat) {
            case "auto", "safetensors" -> LoadOptions.LoadFormat.AUTO;
            case "dummy" -> LoadOptions.LoadFormat.DUMMY;
            default ->
                throw new IllegalArgumentException(
                        "--load-format %s is not there: choose from auto, safetensors, dummy.".formatted(loadFormat));
        };
    }
}
