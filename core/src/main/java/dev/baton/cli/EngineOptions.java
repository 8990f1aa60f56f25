package dev.baton.cli;

import dev.baton.engine.EngineConfig;
import dev.baton.kvcache.KvCacheSpec;
import dev.baton.model.LoadOptions;
import dev.baton.model.ModelConfig;
import dev.baton.tensor.cpu.OpsChoice;
import dev.baton.transfer.KvConnectors;
import dev.baton.transfer.KvTransferConfig;
import dev.baton.transfer.TransferException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Model.OptionSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.ParseResult;
import picocli.CommandLine.Spec;

/// The engine's flags, under vLLM's names; `serve` reads them and `up` passes them on to every engine.
@Command
final class EngineOptions {
    /// Name of the field that mixes these options in.
    private static final String MIXIN = "engine";

    @Option(
            names = "--served-model-name",
            paramLabel = "NAME",
            description = "Name of the model in requests and answers (default: as given to serve; with up, the last"
                    + " name of the folder).")
    @Nullable
    String servedModelName;

    @Option(
            names = "--max-model-len",
            paramLabel = "TOKENS",
            converter = HumanReadableInt.class,
            description = "Longest prompt plus output (default: what the model allows).")
    @Nullable
    Long maxModelLen;

    @Option(
            names = "--block-size",
            paramLabel = "TOKENS",
            defaultValue = "16",
            description = "Tokens a KV block (default: ${DEFAULT-VALUE}).")
    int blockSize;

    @Option(
            names = "--max-num-seqs",
            paramLabel = "N",
            defaultValue = "256",
            description = "Most sequences in one step (default: ${DEFAULT-VALUE}).")
    int maxNumSeqs;

    @Option(
            names = "--max-num-batched-tokens",
            paramLabel = "TOKENS",
            defaultValue = "2048",
            converter = HumanReadableInt.class,
            description = "Most tokens in one step, prefill and decode together (default: ${DEFAULT-VALUE}).")
    long maxNumBatchedTokens;

    @Option(
            names = "--num-gpu-blocks-override",
            paramLabel = "BLOCKS",
            description = "KV blocks in the pool; wins over --kv-cache-memory-bytes.")
    @Nullable
    Integer numBlocksOverride;

    @Option(
            names = "--kv-cache-memory-bytes",
            paramLabel = "BYTES",
            defaultValue = "256MiB",
            converter = HumanReadableInt.class,
            description = "Memory of the KV cache (default: ${DEFAULT-VALUE}).")
    long kvCacheMemoryBytes;

    @Option(
            names = "--enable-prefix-caching",
            negatable = true,
            defaultValue = "true",
            fallbackValue = "true",
            description = "Whether prompts that begin alike share their KV blocks (default: on).")
    boolean enablePrefixCaching;

    @Option(
            names = "--max-waiting",
            paramLabel = "N",
            defaultValue = "1024",
            description = "Most requests that wait; further ones are refused with 503 (default: ${DEFAULT-VALUE}).")
    int maxWaiting;

    @Option(
            names = "--step-deadline",
            paramLabel = "SECONDS",
            defaultValue = "300",
            description = "An engine whose step takes longer ends itself (default: ${DEFAULT-VALUE}).")
    int stepDeadlineSeconds;

    @Option(
            names = "--dtype",
            paramLabel = "TYPE",
            defaultValue = "auto",
            description = "Type to compute in: auto or float32, which is what the CPU path computes in.")
    String dtype = "";

    @Option(
            names = "--load-format",
            paramLabel = "FORMAT",
            defaultValue = "auto",
            description = "auto or safetensors: the folder's weights; dummy: random ones, for speed tests.")
    String loadFormat = "";

    @Option(
            names = "--seed",
            defaultValue = "0",
            description = "Seed of the weights with --load-format dummy (default: ${DEFAULT-VALUE}).")
    long seed;

    @Option(
            names = "--ops",
            defaultValue = "auto",
            description = "How the CPU computes: ${COMPLETION-CANDIDATES} (default: ${DEFAULT-VALUE}).")
    OpsChoice ops = OpsChoice.AUTO;

    @Option(
            names = "--enable-prompt-tokens-details",
            description = "Report cached prompt tokens in usage.prompt_tokens_details.")
    boolean enablePromptTokensDetails;

    @Option(names = "--threads", paramLabel = "N", description = "Threads that compute (default: one a core).")
    @Nullable
    Integer threads;

    @Spec(Spec.Target.MIXEE)
    CommandSpec user = CommandSpec.create();

    /// The flags of the command line that belong to a mixin of this type, as they have to be given to another
    /// process.
    static List<String> given(CommandSpec command, ParseResult parsed) {
        CommandSpec mixin = Objects.requireNonNull(command.mixins().get(MIXIN));
        List<String> flags = new ArrayList<>();
        for (OptionSpec option : mixin.options()) {
            if (!parsed.hasMatchedOption(option)) {
                continue;
            }
            if (option.arity().max() == 0) {
                boolean isOn = option.getValue();
                flags.add(
                        isOn
                                ? option.longestName()
                                : "--no-" + option.longestName().substring(2));
            } else {
                flags.add(option.longestName());
                flags.addAll(parsed.matchedOption(option.longestName()).stringValues());
            }
        }
        return flags;
    }

    /// Looks, before anything is loaded, whether an engine can be set up so for a model.
    ///
    /// @throws ParameterException if a flag asks for what there is not, or does not fit the model
    void check(ModelConfig model, Optional<KvTransferConfig> kvTransfer) {
        loadOptions();
        engineConfig("", model, kvTransfer, Map.of());
        try {
            kvTransfer.map(KvTransferConfig::connector).ifPresent(KvConnectors::check);
        } catch (TransferException e) {
            throw new ParameterException(user.commandLine(), String.valueOf(e.getMessage()), e);
        }
    }

    private ParameterException usage(String message) {
        return new ParameterException(user.commandLine(), message);
    }

    /// How the model is to be loaded.
    ///
    /// @throws ParameterException if a flag asks for what there is not
    LoadOptions loadOptions() {
        if (!dtype.equals("auto") && !dtype.equals("float32") && !dtype.equals("float")) {
            throw usage("--dtype %s is not there: the CPU computes in float32.".formatted(dtype));
        }
        if (threads != null && threads < 1) {
            throw usage("--threads must be at least 1, got " + threads + ".");
        }
        LoadOptions options = LoadOptions.defaults()
                .withFormat(
                        switch (loadFormat) {
                            case "auto", "safetensors" -> LoadOptions.LoadFormat.AUTO;
                            case "dummy" -> LoadOptions.LoadFormat.DUMMY;
                            default ->
                                throw usage("--load-format %s is not there: choose from auto, safetensors, dummy."
                                        .formatted(loadFormat));
                        })
                .withOps(ops)
                .withSeed(seed);
        return threads == null ? options : options.withCpuThreads(threads);
    }

    /// The engine's set-up for a model.
    ///
    /// @param compatibility see [EngineConfig#compatibility()]
    /// @throws ParameterException if the flags and the model do not fit
    EngineConfig engineConfig(
            String modelId,
            ModelConfig model,
            Optional<KvTransferConfig> kvTransfer,
            Map<String, String> compatibility) {
        long longest = maxModelLen == null ? model.maxPositionEmbeddings() : maxModelLen;
        if (longest < 1 || longest > model.maxPositionEmbeddings()) {
            throw usage("--max-model-len %d does not fit the model, which has %d positions."
                    .formatted(longest, model.maxPositionEmbeddings()));
        }
        try {
            return EngineConfig.builder(modelId, (int) longest)
                    .blockTokens(blockSize)
                    .numBlocks(numBlocks(model, longest))
                    .maxNumSeqs(maxNumSeqs)
                    .maxNumBatchedTokens(Math.toIntExact(maxNumBatchedTokens))
                    .maxWaiting(maxWaiting)
                    .enablePrefixCaching(enablePrefixCaching)
                    .stepDeadline(Duration.ofSeconds(stepDeadlineSeconds))
                    .kvTransfer(kvTransfer)
                    .compatibility(compatibility)
                    .build();
        } catch (IllegalArgumentException | ArithmeticException e) {
            throw new ParameterException(
                    user.commandLine(), "The engine cannot be set up so: " + e.getMessage() + ".", e);
        }
    }

    /// As many blocks as the memory holds, but no more than the largest batch can use.
    private int numBlocks(ModelConfig model, long longest) {
        if (numBlocksOverride != null) {
            return numBlocksOverride;
        }
        if (blockSize < 1) {
            throw usage("--block-size must be at least 1, got " + blockSize + ".");
        }
        KvCacheSpec block = new KvCacheSpec(
                "", "float32", Float.BYTES, model.numLayers(), model.numKvHeads(), model.headDim(), blockSize, 1);
        long affordable = kvCacheMemoryBytes / block.blockBytes();
        if (affordable < 1) {
            throw usage("--kv-cache-memory-bytes %d holds no block: one takes %d bytes."
                    .formatted(kvCacheMemoryBytes, block.blockBytes()));
        }
        return (int) Math.min(affordable, (long) maxNumSeqs * block.blocksFor((int) longest));
    }
}
