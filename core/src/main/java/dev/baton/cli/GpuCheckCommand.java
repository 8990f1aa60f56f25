package dev.baton.cli;

import dev.baton.engine.Engine;
import dev.baton.engine.EngineConfig;
import dev.baton.engine.Generation;
import dev.baton.engine.SamplingParams;
import dev.baton.model.CausalLm;
import dev.baton.model.LoadOptions;
import dev.baton.model.ModelException;
import dev.baton.model.ModelLoader;
import dev.baton.model.cuda.CudaModel;
import dev.baton.model.cuda.CudaOptions;
import dev.baton.model.cuda.ModelChecks;
import dev.baton.tensor.DType;
import dev.baton.tensor.cuda.check.CheckResult;
import dev.baton.tensor.cuda.check.KernelChecks;
import dev.baton.tensor.cuda.check.NcclChecks;
import dev.baton.tensor.cuda.check.PeerChecks;
import dev.baton.tensor.cuda.owned.Communicator;
import dev.baton.tensor.cuda.owned.Context;
import dev.baton.tensor.cuda.owned.PeerInbox;
import dev.baton.transfer.nixl.NixlConnector;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/// `baton gpu-check`: does this machine's GPU compute what the CPU computes?
@Command(
        name = "gpu-check",
        description = "Compares what the GPU computes with the CPU, and with transformers where there are fixtures.",
        sortOptions = false)
final class GpuCheckCommand implements Callable<Integer> {
    private static final int MAX_MODEL_LEN = 1024;
    private static final int MAX_BATCHED_TOKENS = 256;
    private static final int BLOCK_TOKENS = 16;
    private static final int HAND_OFF_BLOCK_TOKENS = 128;
    private static final int MAX_SEQUENCES = 8;
    private static final int NEW_TOKENS = 64;

    @Option(
            names = "--fixtures",
            paramLabel = "DIR",
            description = "Folder of small checkpoints with what transformers computes for them (default: none).")
    @Nullable
    Path fixtures;

    @Option(
            names = "--model",
            paramLabel = "DIR",
            description =
                    "A small model that the CPU computes as well; its greedy outputs are compared (default: none).")
    @Nullable
    Path model;

    @Option(
            names = "--seed",
            paramLabel = "N",
            description = "Seed of the random numbers that are computed on (default: another one each time).")
    @Nullable
    Long seed;

    @Option(
            names = "--tensor-parallel-size",
            paramLabel = "N",
            description = "GPUs that compute the models of --fixtures and --model together; kernels and hand-offs are"
                    + " then left out (default: ${DEFAULT-VALUE}).")
    int tensorParallelSize = 1;

    @Option(
            names = "--devices",
            paramLabel = "N",
            split = ",",
            description =
                    "GPU of each rank of --tensor-parallel-size, for example 0,0,1,1: ranks may share one, to look"
                            + " whether more compute right than there are GPUs (default: the first ones, a GPU a rank).")
    List<Integer> devices = List.of();

    @Option(
            names = "--disable-custom-all-reduce",
            negatable = true,
            description = "GPUs that compute models together add up over NCCL alone.")
    boolean disableCustomAllReduce;

    @Option(
            names = "--hand-off",
            paramLabel = "DIR",
            description =
                    "Shapes of a model of random weights that is handed off between two processes (default: none).")
    @Nullable
    Path handOff;

    @Option(
            names = "--hand-off-device",
            paramLabel = "N",
            description = "GPU of the process that computes the prompts of --hand-off (default: ${DEFAULT-VALUE}).")
    int handOffDevice = 0;

    @Option(
            names = "--hand-off-block-size",
            paramLabel = "TOKENS",
            split = ",",
            description = "Sizes of a KV block that --hand-off tries (default: ${DEFAULT-VALUE}).")
    List<Integer> handOffBlockSizes = List.of(HAND_OFF_BLOCK_TOKENS);

    @Option(
            names = "--kernels",
            negatable = true,
            defaultValue = "true",
            fallbackValue = "true",
            description = "Whether every kernel is compared as well (default: ${DEFAULT-VALUE}).")
    boolean checksKernels = true;

    @Spec
    CommandSpec spec = CommandSpec.create();

    /// The GPU of each rank.
    ///
    /// @param devices as given; empty for the first ones
    /// @throws IllegalArgumentException if there is not one for each
    static List<Integer> devices(List<Integer> devices, int ranks) {
        if (devices.isEmpty()) {
            return CudaOptions.firstDevices(ranks);
        }
        if (ranks != 1 && ranks != devices.size()) {
            throw new IllegalArgumentException(
                    "--devices names " + devices.size() + " GPUs, --tensor-parallel-size is " + ranks);
        }
        return List.copyOf(devices);
    }

    @Override
    public Integer call() throws InterruptedException {
        Map<String, String> environment = System.getenv();
        long chosen = seed == null ? System.nanoTime() : seed;
        List<CheckResult> results = new ArrayList<>();
        List<Integer> ofRanks;
        try {
            ofRanks = devices(devices, tensorParallelSize);
        } catch (IllegalArgumentException e) {
            throw new ParameterException(spec.commandLine(), e.getMessage() + ".", e);
        }
        try (Context context = Context.open(0, environment)) {
            System.out.printf(
                    Locale.ROOT,
                    "%s, %s, CUDA %s, seed %d%n",
                    context.info().name(),
                    context.info().architecture(),
                    context.info().driverVersion(),
                    chosen);
            if (checksKernels && ofRanks.size() == 1) {
                print(KernelChecks.run(context, environment, chosen), results);
            }
        }
        if (checksKernels) {
            nccl(environment, ofRanks, chosen, results);
            peers(environment, ofRanks, chosen, results);
        }
        ModelChecks.Ranks ranks = new ModelChecks.Ranks(ofRanks, !disableCustomAllReduce);
        if (fixtures != null) {
            print(
                    ModelChecks.fixtures(fixtures, environment, ranks, what -> System.out.println("skip   " + what)),
                    results);
        }
        if (model != null) {
            Optional<String> undivided = undivided(model, ofRanks.size());
            if (undivided.isPresent()) {
                System.out.println("skip   greedy outputs of " + model.getFileName() + ": " + undivided.orElseThrow());
            } else {
                print(greedy(model, environment, ranks, chosen), results);
            }
        }
        if (model != null && ofRanks.size() == 1) {
            print(HandOffChecks.run(model, false, BLOCK_TOKENS, 0, chosen), results);
            Optional<String> missing = NixlConnector.missing(environment);
            if (missing.isPresent()) {
                System.out.println("skip   hand-offs over NIXL: " + missing.get());
            } else {
                for (int device = 0; device < Math.min(2, Context.count(environment)); device++) {
                    System.out.println("       hand-offs over NIXL from GPU " + device + " to GPU 0");
                    print(HandOffChecks.nixl(model, false, BLOCK_TOKENS, device, chosen), results);
                }
            }
        }
        if (handOff != null) {
            for (int blockTokens : handOffBlockSizes) {
                print(HandOffChecks.run(handOff, true, blockTokens, handOffDevice, chosen), results);
                if (NixlConnector.missing(environment).isEmpty()) {
                    print(HandOffChecks.nixl(handOff, true, blockTokens, handOffDevice, chosen), results);
                }
            }
        }
        long failed = results.stream().filter(result -> !result.passed()).count();
        System.out.printf(Locale.ROOT, "%d checks, %d failed%n", results.size(), failed);
        return failed == 0 ? Exit.OK : Exit.FAILURE;
    }

    /// Why a model cannot be divided among so many ranks; empty if it can.
    private static Optional<String> undivided(Path folder, int ranks) {
        try {
            CudaModel.checkDivides(ModelLoader.config(folder), ranks);
            return Optional.empty();
        } catch (ModelException e) {
            return Optional.of(String.valueOf(e.getMessage()));
        }
    }

    /// What GPUs do together, if there are several.
    private static void nccl(
            Map<String, String> environment, List<Integer> devices, long chosen, List<CheckResult> results) {
        int gpus = Math.max(2, devices.size());
        int visible = Context.count(environment);
        Optional<String> missing = Communicator.missing(environment);
        if (devices.size() > 1 && !devices.equals(CudaOptions.firstDevices(gpus))) {
            System.out.println("skip   NCCL between " + gpus + " GPUs: --devices " + devices);
        } else if (visible < gpus) {
            System.out.println("skip   NCCL between " + gpus + " GPUs: " + visible + " can be seen");
        } else if (missing.isPresent()) {
            System.out.println("skip   NCCL between " + gpus + " GPUs: " + missing.get());
        } else {
            print(NcclChecks.run(gpus, environment, chosen), results);
        }
    }

    /// What ranks do together by writing to each other's memory: those of models, or the first two GPUs.
    private static void peers(
            Map<String, String> environment, List<Integer> devices, long chosen, List<CheckResult> results) {
        List<Integer> ranks = devices.size() > 1 ? devices : CudaOptions.firstDevices(2);
        Optional<String> missing = missing(ranks, environment);
        if (missing.isPresent()) {
            System.out.println("skip   sums over the memory of GPUs " + ranks + ": " + missing.orElseThrow());
        } else {
            print(PeerChecks.run(ranks, environment, chosen, line -> System.out.println("       " + line)), results);
        }
    }

    private static Optional<String> missing(List<Integer> devices, Map<String, String> environment) {
        int visible = Context.count(environment);
        if (Collections.max(devices) >= visible) {
            return Optional.of(visible + " can be seen; --devices 0,0 lets two ranks share one");
        }
        List<Context> contexts = new ArrayList<>();
        try {
            for (int device : devices) {
                contexts.add(Context.open(device, environment));
            }
            return PeerInbox.missing(contexts);
        } finally {
            contexts.forEach(Context::close);
        }
    }

    private static void print(List<CheckResult> found, List<CheckResult> all) {
        for (CheckResult result : found) {
            System.out.printf(
                    Locale.ROOT,
                    "%-6s %-85s %.2e (at most %.0e)%n",
                    result.passed() ? "ok" : "FAILED",
                    result.name(),
                    result.error(),
                    result.tolerance());
        }
        all.addAll(found);
    }

    /// Outputs of an engine on the GPU, prompts batched as they come, followed by the CPU.
    private List<CheckResult> greedy(Path folder, Map<String, String> environment, ModelChecks.Ranks ranks, long seed)
            throws InterruptedException {
        CudaOptions options = new CudaOptions(
                ranks.devices(),
                MAX_MODEL_LEN,
                MAX_SEQUENCES,
                MAX_BATCHED_TOKENS,
                BLOCK_TOKENS,
                environment,
                ranks.customAllReduce());
        CudaModel gpu = ModelLoader.loadCuda(folder, LoadOptions.defaults(), options);
        EngineConfig config = EngineConfig.builder("checked", MAX_MODEL_LEN)
                .blockTokens(BLOCK_TOKENS)
                .numBlocks(MAX_SEQUENCES * MAX_MODEL_LEN / BLOCK_TOKENS)
                .maxNumSeqs(MAX_SEQUENCES)
                .maxNumBatchedTokens(MAX_BATCHED_TOKENS)
                .kvCacheDtype(DType.BF16)
                .build();
        List<int[]> prompts = ModelChecks.prompts(gpu.config().vocabSize(), seed);
        List<CheckResult> results = new ArrayList<>();
        SamplingParams sampling =
                SamplingParams.greedy(NEW_TOKENS).toBuilder().ignoreEos(true).build();
        try (Engine engine = Engine.start(config, gpu);
                CausalLm cpu = ModelLoader.load(folder, LoadOptions.defaults())) {
            List<Generation> running = new ArrayList<>();
            for (int[] prompt : prompts) {
                running.add(engine.generate(prompt, sampling));
            }
            for (int i = 0; i < prompts.size(); i++) {
                List<Integer> tokens = new ArrayList<>();
                running.get(i).forEachToken(tokens::add);
                int[] generated = tokens.stream().mapToInt(Integer::intValue).toArray();
                results.add(new CheckResult(
                        folder.getFileName() + ", greedy after " + prompts.get(i).length + " tokens, against the CPU",
                        ModelChecks.distanceFromGreedy(cpu, prompts.get(i), generated),
                        ModelChecks.tolerance()));
            }
        }
        return results;
    }
}
