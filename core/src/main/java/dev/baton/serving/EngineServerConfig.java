package dev.baton.serving;

import dev.baton.http.HttpServerConfig;
import java.time.Duration;
import java.util.List;

/// How one instance is served.
///
/// @param http address and limits
/// @param servedModelNames names that requests may give as `model`; answers carry the first (`--served-model-name`)
/// @param modelRoot the folder or name that the model was loaded from, for `/v1/models`
/// @param vocabSize number of token ids that the model takes
/// @param version this program's version
/// @param defaultSampling for fields that requests leave out
/// @param enablePromptTokensDetails whether `usage` shows cached tokens (`--enable-prompt-tokens-details`)
/// @param devMode whether `/reset_prefix_cache` and `/debug/integrity` are there (`VLLM_SERVER_DEV_MODE=1`)
/// @param maxInFlight most sequences (prompts times `n`) in flight, queued ones included; more is 503
/// @param logStatsInterval time between two lines of statistics while there is traffic
public record EngineServerConfig(
        HttpServerConfig http,
        List<String> servedModelNames,
        String modelRoot,
        int vocabSize,
        String version,
        DefaultSampling defaultSampling,
        boolean enablePromptTokensDetails,
        boolean devMode,
        int maxInFlight,
        Duration logStatsInterval) {

    /// @throws IllegalArgumentException if there is no name
    public EngineServerConfig {
        if (servedModelNames.isEmpty()) {
            throw new IllegalArgumentException("servedModelNames is empty; pass --served-model-name");
        }
        servedModelNames = List.copyOf(servedModelNames);
    }

    /// The name that answers carry.
    public String modelName() {
        return servedModelNames.getFirst();
    }

    /// An instance with vLLM's defaults and room for 4,096 sequences.
    public static EngineServerConfig of(HttpServerConfig http, String model, int vocabSize) {
        return new EngineServerConfig(
                http,
                List.of(model),
                model,
                vocabSize,
                "dev",
                DefaultSampling.VLLM,
                false,
                false,
                4096,
                Duration.ofSeconds(10));
    }

    public EngineServerConfig withServedModelNames(List<String> names) {
        return new EngineServerConfig(
                http,
                names,
                modelRoot,
                vocabSize,
                version,
                defaultSampling,
                enablePromptTokensDetails,
                devMode,
                maxInFlight,
                logStatsInterval);
    }

    public EngineServerConfig withModelRoot(String root) {
        return new EngineServerConfig(
                http,
                servedModelNames,
                root,
                vocabSize,
                version,
                defaultSampling,
                enablePromptTokensDetails,
                devMode,
                maxInFlight,
                logStatsInterval);
    }

    public EngineServerConfig withVersion(String number) {
        return new EngineServerConfig(
                http,
                servedModelNames,
                modelRoot,
                vocabSize,
                number,
                defaultSampling,
                enablePromptTokensDetails,
                devMode,
                maxInFlight,
                logStatsInterval);
    }

    public EngineServerConfig withDefaultSampling(DefaultSampling sampling) {
        return new EngineServerConfig(
                http,
                servedModelNames,
                modelRoot,
                vocabSize,
                version,
                sampling,
                enablePromptTokensDetails,
                devMode,
                maxInFlight,
                logStatsInterval);
    }

    public EngineServerConfig withPromptTokensDetails(boolean enabled) {
        return new EngineServerConfig(
                http,
                servedModelNames,
                modelRoot,
                vocabSize,
                version,
                defaultSampling,
                enabled,
                devMode,
                maxInFlight,
                logStatsInterval);
    }

    public EngineServerConfig withDevMode(boolean enabled) {
        return new EngineServerConfig(
                http,
                servedModelNames,
                modelRoot,
                vocabSize,
                version,
                defaultSampling,
                enablePromptTokensDetails,
                enabled,
                maxInFlight,
                logStatsInterval);
    }

    public EngineServerConfig withMaxInFlight(int sequences) {
        return new EngineServerConfig(
                http,
                servedModelNames,
                modelRoot,
                vocabSize,
                version,
                defaultSampling,
                enablePromptTokensDetails,
                devMode,
                sequences,
                logStatsInterval);
    }
}
