package dev.baton.cli;

import dev.baton.tensor.cpu.OpsChoice;
import java.time.Duration;
import java.util.Iterator;
import java.util.Locale;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/// Flags about how an engine computes, watches itself and logs.
@Command
final class RuntimeOptions {
    /// Of engines and of the router.
    static final String LOG_STATS_INTERVAL = "--log-stats-interval";

    @Option(
            names = "--device",
            paramLabel = "NAME",
            defaultValue = "cpu",
            completionCandidates = DeviceNames.class,
            description =
                    "What computes: ${COMPLETION-CANDIDATES}; auto: an NVIDIA GPU if there is one, else the CPU. The"
                            + " first of the GPUs that CUDA_VISIBLE_DEVICES names is taken (default: ${DEFAULT-VALUE}).")
    Device device = Device.CPU;

    @Option(
            names = {"--tensor-parallel-size", "-tp"},
            paramLabel = "N",
            defaultValue = "1",
            description = "GPUs of this machine that compute the model together, with NCCL: the first ones that"
                    + " CUDA_VISIBLE_DEVICES names (default: ${DEFAULT-VALUE}).")
    int tensorParallelSize = 1;

    @Option(
            names = "--disable-custom-all-reduce",
            negatable = true,
            description =
                    "With --tensor-parallel-size: small sums between the GPUs go over NCCL too, not by kernels that"
                            + " write to each other's memory.")
    boolean disableCustomAllReduce;

    @Option(
            names = "--ops",
            paramLabel = "NAME",
            defaultValue = "auto",
            completionCandidates = OpsNames.class,
            description = "How the CPU computes: ${COMPLETION-CANDIDATES} (default: ${DEFAULT-VALUE}).")
    OpsChoice ops = OpsChoice.AUTO;

    @Option(names = "--threads", paramLabel = "N", description = "Threads that compute (default: one a core).")
    @Nullable
    Integer threads;

    @Option(
            names = "--step-deadline",
            paramLabel = "SECONDS",
            defaultValue = "300",
            converter = Seconds.Positive.class,
            description = "An engine whose step takes longer ends itself (default: ${DEFAULT-VALUE}).")
    Duration stepDeadline = Duration.ZERO;

    @Option(
            names = "--disable-log-stats",
            negatable = true,
            description = "No line of statistics in the log while there is traffic.")
    boolean disableLogStats;

    @Option(
            names = LOG_STATS_INTERVAL,
            paramLabel = "SECONDS",
            defaultValue = "10",
            converter = Seconds.Positive.class,
            description = "Time between two such lines (default: ${DEFAULT-VALUE}).")
    Duration logStatsInterval = Duration.ZERO;

    /// The names that `--device` takes, for the help.
    static final class DeviceNames implements Iterable<String> {
        @Override
        public Iterator<String> iterator() {
            return Stream.of(Device.values())
                    .map(device -> device.name().toLowerCase(Locale.ROOT))
                    .iterator();
        }
    }

    /// The names that `--ops` takes, for the help.
    static final class OpsNames implements Iterable<String> {
        @Override
        public Iterator<String> iterator() {
            return Stream.of(OpsChoice.values())
                    .map(choice -> choice.name().toLowerCase(Locale.ROOT))
                    .iterator();
        }
    }
}
