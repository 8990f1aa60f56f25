package dev.baton.serving;

import dev.baton.http.HttpServerConfig;
import java.time.Duration;
import java.util.List;
import java.util.function.Consumer;

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
        return new Draft(http, model, vocabSize).build();
    }

    public EngineServerConfig withHttp(HttpServerConfig changed) {
        return with(draft -> draft.http = changed);
    }

    public EngineServerConfig withServedModelNames(List<String> names) {
        return with(draft -> draft.servedModelNames = names);
    }

    public EngineServerConfig withModelRoot(String root) {
        return with(draft -> draft.modelRoot = root);
    }

    public EngineServerConfig withVersion(String number) {
        return with(draft -> draft.version = number);
    }

    public EngineServerConfig withDefaultSampling(DefaultSampling sampling) {
        return with(draft -> draft.defaultSampling = sampling);
    }

    public EngineServerConfig withPromptTokensDetails(boolean enabled) {
        return with(draft -> draft.enablePromptTokensDetails = enabled);
    }

    public EngineServerConfig withDevMode(boolean enabled) {
        return with(draft -> draft.devMode = enabled);
    }

    public EngineServerConfig withMaxInFlight(int sequences) {
        return with(draft -> draft.maxInFlight = sequences);
    }

    public EngineServerConfig withLogStatsInterval(Duration interval) {
        return with(draft -> draft.logStatsInterval = interval);
    }

    private EngineServerConfig with(Consumer<Draft> change) {
        Draft draft = new Draft(this);
        change.accept(draft);
        return draft.build();
    }

    /// A configuration that can still be changed.
    private static final class Draft {
        private final int vocabSize;
        private HttpServerConfig http;
        private List<String> servedModelNames;
        private String modelRoot;
        private String version = "dev";
        private DefaultSampling defaultSampling = DefaultSampling.VLLM;
        private boolean enablePromptTokensDetails;
        private boolean devMode;
        private int maxInFlight = 4096;
        private Duration logStatsInterval = Duration.ofSeconds(10);

        private Draft(HttpServerConfig http, String model, int vocabSize) {
            this.http = http;
            this.vocabSize = vocabSize;
            this.servedModelNames = List.of(model);
            this.modelRoot = model;
        }

        private Draft(EngineServerConfig config) {
            this(config.http, config.modelName(), config.vocabSize);
            servedModelNames = config.servedModelNames;
            modelRoot = config.modelRoot;
            version = config.version;
            defaultSampling = config.defaultSampling;
            enablePromptTokensDetails = config.enablePromptTokensDetails;
            devMode = config.devMode;
            maxInFlight = config.maxInFlight;
            logStatsInterval = config.logStatsInterval;
        }

        private EngineServerConfig build() {
            return new EngineServerConfig(
                    http,
                    servedModelNames,
                    modelRoot,
                    vocabSize,
                    version,
                    defaultSampling,
                    enablePromptTokensDetails,
                    devMode,
                    maxInFlight,
                    logStatsInterval);
        }
    }
}
