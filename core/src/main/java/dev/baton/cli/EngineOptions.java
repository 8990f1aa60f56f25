package dev.baton.cli;

import dev.baton.engine.EngineConfig;
import dev.baton.kvcache.KvCacheSpec;
import dev.baton.model.LoadOptions;
import dev.baton.model.ModelConfig;
import dev.baton.tensor.DType;
import dev.baton.transfer.KvConnectors;
import dev.baton.transfer.KvTransferConfig;
import dev.baton.transfer.TransferException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Model.OptionSpec;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.ParseResult;
import picocli.CommandLine.Spec;

/// The flags of an instance, under vLLM's names and in its groups; `serve` reads them and `up` passes them on to
/// every engine.
@Command
final class EngineOptions {
    /// Name of the field that mixes these options in.
    private static final String MIXIN = "engine";

    static final String LOGGING = "Logging";

    @Mixin(name = "Model")
    ModelOptions model = new ModelOptions();

    @Mixin(name = "Frontend")
    FrontendOptions frontend = new FrontendOptions();

    @Mixin(name = "Cache")
    CacheOptions cache = new CacheOptions();

    @Mixin(name = "Scheduler")
    SchedulerOptions scheduler = new SchedulerOptions();

    @Mixin(name = "Engine")
    RuntimeOptions runtime = new RuntimeOptions();

    @Mixin(name = LOGGING)
    LogOptions log = new LogOptions();

    @Spec(Spec.Target.MIXEE)
    CommandSpec user = CommandSpec.create();

    private static CommandSpec mixin(CommandSpec command) {
        return Objects.requireNonNull(command.mixins().get(MIXIN));
    }

    /// One group of these flags.
    static CommandSpec group(CommandSpec command, String name) {
        return Objects.requireNonNull(mixin(command).mixins().get(name));
    }

    /// Whether a command takes an instance's flags.
    static boolean areIn(CommandSpec command) {
        return command.mixins().containsKey(MIXIN);
    }

    /// The flags of the command line that belong to a mixin of this type, as they have to be given to another
    /// process.
    static List<String> given(CommandSpec command) {
        return given(mixin(command).options(), command.commandLine().getParseResult());
    }

    /// Those of some options that are given, as they have to be given to another process.
    static List<String> given(List<OptionSpec> options, ParseResult parsed) {
        List<String> flags = new ArrayList<>();
        for (OptionSpec option : options) {
            if (!parsed.hasMatchedOption(option)) {
                continue;
            }
            String name = option.longestName();
            if (option.arity().max() == 0) {
                boolean isOn = option.getValue();
                flags.add(isOn ? name : "--no-" + name.substring("--".length()));
            } else {
                parsed.matchedOption(name).stringValues().forEach(value -> flags.add(name + "=" + value));
            }
        }
        return flags;
    }

    /// Looks, before anything is loaded, whether an engine can be set up so for a model.
    ///
    /// @throws ParameterException if a flag asks for what there is not, or does not fit the model
    void check(ModelConfig config, Optional<KvTransferConfig> kvTransfer) {
        loadOptions();
        engineConfig("", config, List.of(), kvTransfer, Map.of());
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
        if (!model.dtype.equals("auto") && !model.dtype.equals("float32") && !model.dtype.equals("float")) {
            throw usage("--dtype %s is not there: the CPU computes in float32.".formatted(model.dtype));
        }
        Integer threads = runtime.threads;
        if (threads != null && threads < 1) {
            throw usage("--threads must be at least 1, got " + threads + ".");
        }
        try {
            LoadOptions options = LoadOptions.defaults()
                    .withFormat(model.loadFormat())
                    .withOps(runtime.ops)
                    .withQuantization(model.quantization())
                    .withSeed(model.seed);
            return threads == null ? options : options.withCpuThreads(threads);
        } catch (IllegalArgumentException e) {
            throw new ParameterException(user.commandLine(), String.valueOf(e.getMessage()), e);
        }
    }

    /// The engine's set-up for a model.
    ///
    /// @param eosTokenIds see [EngineConfig#eosTokenIds()]
    /// @param compatibility see [EngineConfig#compatibility()]
    /// @throws ParameterException if the flags and the model do not fit
    EngineConfig engineConfig(
            String modelId,
            ModelConfig config,
            List<Integer> eosTokenIds,
            Optional<KvTransferConfig> kvTransfer,
            Map<String, String> compatibility) {
        long longest = model.maxModelLen == null ? config.maxPositionEmbeddings() : model.maxModelLen;
        if (longest < 1 || longest > config.maxPositionEmbeddings()) {
            throw usage("--max-model-len %d does not fit the model, which has %d positions."
                    .formatted(longest, config.maxPositionEmbeddings()));
        }
        try {
            return EngineConfig.builder(modelId, (int) longest)
                    .blockTokens(cache.blockSize)
                    .numBlocks(numBlocks(config, longest))
                    .enablePrefixCaching(cache.enablePrefixCaching)
                    .maxNumSeqs(scheduler.maxNumSeqs)
                    .maxNumBatchedTokens(Math.toIntExact(scheduler.maxNumBatchedTokens))
                    .schedulingPolicy(scheduler.schedulingPolicy)
                    .longPrefillTokenThreshold(scheduler.longPrefillTokenThreshold)
                    .maxWaiting(scheduler.maxWaiting)
                    .maxWaitingTokens(scheduler.maxNumQueuedTokens)
                    .kvCacheDtype(kvCacheDtype())
                    .stepDeadline(runtime.stepDeadline)
                    .eosTokenIds(eosTokenIds)
                    .kvTransfer(kvTransfer)
                    .compatibility(compatibility)
                    .build();
        } catch (IllegalArgumentException | ArithmeticException e) {
            throw new ParameterException(
                    user.commandLine(),
                    FlagNames.in("The engine cannot be set up so: " + e.getMessage() + ".", user),
                    e);
        }
    }

    /// As many blocks as the memory holds, but no more than the largest batch can use.
    private int numBlocks(ModelConfig config, long longest) {
        if (cache.numBlocksOverride != null) {
            return cache.numBlocksOverride;
        }
        if (cache.blockSize < 1) {
            throw usage("--block-size must be at least 1, got " + cache.blockSize + ".");
        }
        long affordable = cache.kvCacheMemoryBytes / block(config).blockBytes();
        if (affordable < 1) {
            throw usage("--kv-cache-memory-bytes %d holds no block: one takes %d bytes."
                    .formatted(cache.kvCacheMemoryBytes, block(config).blockBytes()));
        }
        return (int)
                Math.min(affordable, (long) scheduler.maxNumSeqs * block(config).blocksFor((int) longest));
    }

    /// One KV block of a model.
    private KvCacheSpec block(ModelConfig config) {
        DType dtype = kvCacheDtype();
        return new KvCacheSpec(
                "",
                dtype.torchName(),
                dtype.bytes(),
                config.numLayers(),
                config.numKvHeads(),
                config.headDim(),
                cache.blockSize,
                1);
    }

    /// What keys and values are kept as.
    ///
    /// @throws ParameterException if there is no such type
    DType kvCacheDtype() {
        try {
            return cache.kvCacheDtype();
        } catch (IllegalArgumentException e) {
            throw new ParameterException(user.commandLine(), String.valueOf(e.getMessage()), e);
        }
    }
}
