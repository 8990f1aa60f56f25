package dev.baton.serving;

import dev.baton.http.HttpServerConfig;
import dev.baton.serving.tools.ToolFormat;
import dev.baton.serving.tools.ToolParsers;
import java.net.URI;
import java.time.Duration;
import java.util.List;
import java.util.Optional;

/// How one instance is served.
///
/// @param http address and limits
/// @param servedModelNames names that requests may give as `model`; answers carry the first (`--served-model-name`)
/// @param modelRoot the folder or name that the model was loaded from, for `/v1/models`
/// @param vocabSize number of token ids that the model takes
/// @param version this program's version
/// @param defaultSampling for fields that requests leave out
/// @param enablePromptTokensDetails whether `usage` shows cached tokens (`--enable-prompt-tokens-details`)
/// @param enableForceIncludeUsage whether every stream reports usage, on each chunk
///     (`--enable-force-include-usage`)
/// @param sseKeepAliveInterval a stream that is silent for so long gets a comment line; empty: none. Its head
///     goes out then, before its first content (`--sse-keep-alive-interval`)
/// @param devMode whether `/reset_prefix_cache` and `/debug/integrity` are there (`VLLM_SERVER_DEV_MODE=1`)
/// @param toolCallParser how the model writes calls of tools (`--tool-call-parser`), one of [ToolParsers#names]
/// @param enableAutoToolChoice whether calls of tools are looked for (`--enable-auto-tool-choice`)
/// @param maxInFlight most sequences (prompts times `n`) in flight, queued ones included; more is 503
/// @param logStats whether there are lines of statistics in the log (`--disable-log-stats`)
/// @param logStatsInterval time between two of them while there is traffic
/// @param tracesEndpoint where traces go, as OTLP in JSON over HTTP; empty: nothing is recorded
/// @param responseRole role of a chat's answer (`--response-role`)
/// @param enableRequestIdHeaders whether answers carry `X-Request-Id` (`--enable-request-id-headers`)
public record EngineServerConfig(
        HttpServerConfig http,
        List<String> servedModelNames,
        String modelRoot,
        int vocabSize,
        String version,
        DefaultSampling defaultSampling,
        boolean enablePromptTokensDetails,
        boolean enableForceIncludeUsage,
        Optional<Duration> sseKeepAliveInterval,
        boolean devMode,
        Optional<String> toolCallParser,
        boolean enableAutoToolChoice,
        int maxInFlight,
        boolean logStats,
        Duration logStatsInterval,
        Optional<URI> tracesEndpoint,
        String responseRole,
        boolean enableRequestIdHeaders) {

    /// @throws IllegalArgumentException if there is no name
    public EngineServerConfig {
        if (servedModelNames.isEmpty()) {
            throw new IllegalArgumentException("servedModelNames is empty; pass --served-model-name");
        }
        servedModelNames = List.copyOf(servedModelNames);
        if (enableAutoToolChoice && toolCallParser.isEmpty()) {
            throw new IllegalArgumentException("--enable-auto-tool-choice requires --tool-call-parser");
        }
        toolCallParser.filter(name -> !ToolParsers.names().contains(name)).ifPresent(unknown -> {
            throw new IllegalArgumentException("invalid tool call parser: " + unknown
                    + " (--tool-call-parser is one of " + String.join(", ", ToolParsers.names()) + ")");
        });
    }

    /// How calls of tools are found; empty if they are not enabled.
    Optional<ToolFormat> toolFormat() {
        return toolCallParser.filter(name -> enableAutoToolChoice).flatMap(ToolParsers::find);
    }

    /// The name that answers carry.
    public String modelName() {
        return servedModelNames.getFirst();
    }

    /// Begins with vLLM's defaults and room for 4,096 sequences.
    ///
    /// @param model the served name and, until changed, the root
    public static Builder builder(HttpServerConfig http, String model, int vocabSize) {
        return new Builder(http, List.of(model), model, vocabSize);
    }

    /// Begins with these values.
    public Builder toBuilder() {
        return new Builder(http, servedModelNames, modelRoot, vocabSize)
                .version(version)
                .defaultSampling(defaultSampling)
                .enablePromptTokensDetails(enablePromptTokensDetails)
                .enableForceIncludeUsage(enableForceIncludeUsage)
                .sseKeepAliveInterval(sseKeepAliveInterval)
                .devMode(devMode)
                .toolCallParser(toolCallParser)
                .enableAutoToolChoice(enableAutoToolChoice)
                .maxInFlight(maxInFlight)
                .logStats(logStats)
                .logStatsInterval(logStatsInterval)
                .tracesEndpoint(tracesEndpoint)
                .responseRole(responseRole)
                .enableRequestIdHeaders(enableRequestIdHeaders);
    }

    /// Collects the settings of an instance. Not thread-safe.
    public static final class Builder {
        private final int vocabSize;
        private HttpServerConfig http;
        private List<String> servedModelNames;
        private String modelRoot;
        private String version = "dev";
        private DefaultSampling defaultSampling = DefaultSampling.VLLM;
        private boolean enablePromptTokensDetails;
        private boolean enableForceIncludeUsage;
        private Optional<Duration> sseKeepAliveInterval = Optional.empty();
        private boolean devMode;
        private Optional<String> toolCallParser = Optional.empty();
        private boolean enableAutoToolChoice;
        private int maxInFlight = 4096;
        private boolean logStats = true;
        private Optional<URI> tracesEndpoint = Optional.empty();
        private Duration logStatsInterval = Duration.ofSeconds(10);
        private String responseRole = "assistant";
        private boolean enableRequestIdHeaders;

        private Builder(HttpServerConfig http, List<String> servedModelNames, String modelRoot, int vocabSize) {
            this.http = http;
            this.servedModelNames = servedModelNames;
            this.modelRoot = modelRoot;
            this.vocabSize = vocabSize;
        }

        public Builder http(HttpServerConfig config) {
            http = config;
            return this;
        }

        public Builder servedModelNames(List<String> names) {
            servedModelNames = List.copyOf(names);
            return this;
        }

        public Builder modelRoot(String root) {
            modelRoot = root;
            return this;
        }

        public Builder version(String number) {
            version = number;
            return this;
        }

        public Builder defaultSampling(DefaultSampling sampling) {
            defaultSampling = sampling;
            return this;
        }

        public Builder enablePromptTokensDetails(boolean enabled) {
            enablePromptTokensDetails = enabled;
            return this;
        }

        public Builder enableForceIncludeUsage(boolean enabled) {
            enableForceIncludeUsage = enabled;
            return this;
        }

        public Builder sseKeepAliveInterval(Optional<Duration> interval) {
            sseKeepAliveInterval = interval;
            return this;
        }

        public Builder devMode(boolean enabled) {
            devMode = enabled;
            return this;
        }

        public Builder toolCallParser(Optional<String> name) {
            toolCallParser = name;
            return this;
        }

        public Builder enableAutoToolChoice(boolean enabled) {
            enableAutoToolChoice = enabled;
            return this;
        }

        public Builder maxInFlight(int sequences) {
            maxInFlight = sequences;
            return this;
        }

        public Builder logStats(boolean enabled) {
            logStats = enabled;
            return this;
        }

        public Builder responseRole(String role) {
            responseRole = role;
            return this;
        }

        public Builder enableRequestIdHeaders(boolean enabled) {
            enableRequestIdHeaders = enabled;
            return this;
        }

        public Builder tracesEndpoint(Optional<URI> collector) {
            tracesEndpoint = collector;
            return this;
        }

        public Builder logStatsInterval(Duration interval) {
            logStatsInterval = interval;
            return this;
        }

        /// The settings as they are now.
        ///
        /// @throws IllegalArgumentException if there is no name
        public EngineServerConfig build() {
            return new EngineServerConfig(
                    http,
                    servedModelNames,
                    modelRoot,
                    vocabSize,
                    version,
                    defaultSampling,
                    enablePromptTokensDetails,
                    enableForceIncludeUsage,
                    sseKeepAliveInterval,
                    devMode,
                    toolCallParser,
                    enableAutoToolChoice,
                    maxInFlight,
                    logStats,
                    logStatsInterval,
                    tracesEndpoint,
                    responseRole,
                    enableRequestIdHeaders);
        }
    }
}
