package dev.baton.cli;

import dev.baton.engine.EngineConfig;
import dev.baton.kvcache.KvCacheSpec;
import dev.baton.model.CausalLm;
import dev.baton.model.LoadOptions;
import dev.baton.model.ModelConfig;
import dev.baton.model.ModelException;
import dev.baton.model.ModelLoader;
import dev.baton.model.cuda.CudaModel;
import dev.baton.model.cuda.CudaOptions;
import dev.baton.tensor.DType;
import dev.baton.tensor.Quantization;
import dev.baton.tensor.cuda.owned.Context;
import dev.baton.transfer.KvConnectors;
import dev.baton.transfer.KvRole;
import dev.baton.transfer.KvTransferConfig;
import dev.baton.transfer.TransferException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.Set;
import org.jspecify.annotations.Nullable;
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

    /// Measured: docs/gpu-log.md.
    private static final int TURN_TOKENS_BESIDE_DECODES = 64;

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

    private @Nullable Boolean onGpu; // once it was asked for

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
        checkTensorParallel(kvTransfer);
        if (isOnGpu()) {
            cudaOptions(config);
        }
        engineConfig("", config, List.of(), kvTransfer, Map.of(), OptionalInt.empty());
        try {
            kvTransfer.map(KvTransferConfig::connector).ifPresent(it -> KvConnectors.check(it, isOnGpu()));
        } catch (TransferException e) {
            throw new ParameterException(user.commandLine(), String.valueOf(e.getMessage()), e);
        }
    }

    private void checkTensorParallel(Optional<KvTransferConfig> kvTransfer) {
        int size = runtime.tensorParallelSize;
        if (size < 1) {
            throw usage("--tensor-parallel-size must be at least 1, got " + size + ".");
        }
        if (size > 1 && !isOnGpu()) {
            throw usage(
                    "--tensor-parallel-size " + size + " needs --device cuda: the CPU computes a model in one piece.");
        }
        if (size > 1 && kvTransfer.isPresent()) {
            throw usage("--tensor-parallel-size " + size + " and --kv-transfer-config do not go together: the blocks of"
                    + " a KV cache that is divided among GPUs are not handed over.");
        }
    }

    private ParameterException usage(String message) {
        return new ParameterException(user.commandLine(), message);
    }

    /// Whether a GPU computes; with `auto`, a GPU is looked for.
    boolean isOnGpu() {
        if (onGpu == null) {
            onGpu = switch (runtime.device) {
                case CPU -> false;
                case CUDA -> true;
                case AUTO -> Context.missing(System.getenv()).isEmpty();
            };
        }
        return onGpu;
    }

    /// Loads the model on the device that was asked for.
    LoadedModel load(Path directory, ModelConfig config) {
        if (!isOnGpu()) {
            return new LoadedModel(ModelLoader.load(directory, loadOptions()), OptionalInt.empty());
        }
        CudaModel loaded = ModelLoader.loadCuda(directory, loadOptions(), cudaOptions(config));
        try {
            return new LoadedModel(loaded, OptionalInt.of(gpuBlocks(loaded, config)));
        } catch (RuntimeException | Error e) {
            loaded.close();
            throw e;
        }
    }

    /// A model and the size of its cache.
    ///
    /// @param kvBlocks what a GPU's memory has room for; empty on the CPU
    record LoadedModel(CausalLm model, OptionalInt kvBlocks) {}

    /// A size that is given goes before a share of the memory, as in vLLM; whether it is there shows when it is taken.
    private int gpuBlocks(CudaModel loaded, ModelConfig config) {
        if (cache.numBlocksOverride != null) {
            return cache.numBlocksOverride;
        }
        long blockBytes = block(config).blockBytes();
        Long bytes = cache.kvCacheMemoryBytes;
        return bytes == null
                ? loaded.kvBlocks(cache.gpuMemoryUtilization, blockBytes)
                : Math.clamp(bytes / blockBytes, 1, Integer.MAX_VALUE);
    }

    private CudaOptions cudaOptions(ModelConfig config) {
        if (!(cache.gpuMemoryUtilization > 0 && cache.gpuMemoryUtilization <= 1)) {
            throw usage(
                    "--gpu-memory-utilization must be above 0 and at most 1, got " + cache.gpuMemoryUtilization + ".");
        }
        try {
            CudaModel.checkDivides(config, runtime.tensorParallelSize);
            return new CudaOptions(
                    CudaOptions.firstDevices(runtime.tensorParallelSize),
                    (int) longest(config),
                    scheduler.maxNumSeqs,
                    Math.toIntExact(scheduler.maxNumBatchedTokens),
                    cache.blockSize,
                    System.getenv(),
                    !runtime.disableCustomAllReduce);
        } catch (ModelException | ArithmeticException e) {
            throw new ParameterException(user.commandLine(), "The engine cannot be set up so: " + e.getMessage(), e);
        }
    }

    private DType computedIn() {
        return isOnGpu() ? DType.BF16 : DType.F32;
    }

    /// How the model is to be loaded.
    ///
    /// @throws ParameterException if a flag asks for what there is not
    LoadOptions loadOptions() {
        boolean isOnGpu = isOnGpu();
        Set<String> dtypes = isOnGpu ? Set.of("auto", "bfloat16") : Set.of("auto", "float32", "float");
        if (!dtypes.contains(model.dtype)) {
            throw usage("--dtype %s is not there: %s."
                    .formatted(model.dtype, isOnGpu ? "a GPU computes in bfloat16" : "the CPU computes in float32"));
        }
        if (isOnGpu && model.quantization() != Quantization.NONE) {
            throw usage("--quantization %s is not there on a GPU.".formatted(model.quantization));
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
    /// @param gpuBlocks what the GPU has room for, once the model is loaded there
    /// @throws ParameterException if the flags and the model do not fit
    EngineConfig engineConfig(
            String modelId,
            ModelConfig config,
            List<Integer> eosTokenIds,
            Optional<KvTransferConfig> kvTransfer,
            Map<String, String> compatibility,
            OptionalInt gpuBlocks) {
        long longest = longest(config);
        try {
            return EngineConfig.builder(modelId, (int) longest)
                    .blockTokens(cache.blockSize)
                    .numBlocks(numBlocks(config, longest, gpuBlocks))
                    .enablePrefixCaching(cache.enablePrefixCaching)
                    .maxNumSeqs(scheduler.maxNumSeqs)
                    .maxNumBatchedTokens(Math.toIntExact(scheduler.maxNumBatchedTokens))
                    .schedulingPolicy(scheduler.schedulingPolicy)
                    .longPrefillTokenThreshold(scheduler.longPrefillTokenThreshold)
                    .prefillTokensBesideDecodes(prefillTokensBesideDecodes(kvTransfer))
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

    private int prefillTokensBesideDecodes(Optional<KvTransferConfig> kvTransfer) {
        Integer given = scheduler.prefillTokensBesideDecodes;
        if (given != null) {
            return given;
        }
        boolean decodesForOthers =
                kvTransfer.filter(it -> it.role() == KvRole.KV_CONSUMER).isPresent();
        return isOnGpu() && decodesForOthers ? TURN_TOKENS_BESIDE_DECODES : 0;
    }

    /// As many blocks as the memory holds, but no more than the largest batch can use.
    private int numBlocks(ModelConfig config, long longest, OptionalInt gpuBlocks) {
        if (cache.numBlocksOverride != null) {
            return cache.numBlocksOverride;
        }
        if (cache.blockSize < 1) {
            throw usage("--block-size must be at least 1, got " + cache.blockSize + ".");
        }
        KvCacheSpec block = block(config);
        long usable = (long) scheduler.maxNumSeqs * block.blocksFor((int) longest);
        if (isOnGpu()) {
            // Before the model is loaded, nobody knows more than that one request has to fit.
            return (int) Math.min(gpuBlocks.orElse(block.blocksFor((int) longest)), usable);
        }
        long affordable = cache.hostBytes() / block.blockBytes();
        if (affordable < 1) {
            throw usage("--kv-cache-memory-bytes %d holds no block: one takes %d bytes."
                    .formatted(cache.hostBytes(), block.blockBytes()));
        }
        return (int) Math.min(affordable, usable);
    }

    private long longest(ModelConfig config) {
        long longest = model.maxModelLen == null ? config.maxPositionEmbeddings() : model.maxModelLen;
        if (longest < 1 || longest > config.maxPositionEmbeddings()) {
            throw usage("--max-model-len %d does not fit the model, which has %d positions."
                    .formatted(longest, config.maxPositionEmbeddings()));
        }
        return longest;
    }

    /// Key-value heads of a block, or of one GPU's part of it.
    private int kvHeads(ModelConfig config) {
        return isOnGpu() ? CudaModel.kvHeads(config, runtime.tensorParallelSize) : config.numKvHeads();
    }

    /// One KV block of a model, or one GPU's part of it.
    private KvCacheSpec block(ModelConfig config) {
        DType dtype = kvCacheDtype();
        return new KvCacheSpec(
                "",
                dtype.torchName(),
                dtype.bytes(),
                config.numLayers(),
                kvHeads(config),
                config.headDim(),
                cache.blockSize,
                1);
    }

    /// What keys and values are kept as.
    ///
    /// @throws ParameterException if there is no such type
    DType kvCacheDtype() {
        try {
            return cache.kvCacheDtype(computedIn());
        } catch (IllegalArgumentException e) {
            throw new ParameterException(user.commandLine(), String.valueOf(e.getMessage()), e);
        }
    }
}
