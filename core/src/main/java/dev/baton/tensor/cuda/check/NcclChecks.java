package dev.baton.tensor.cuda.check;

import dev.baton.tensor.cuda.RankThreads;
import dev.baton.tensor.cuda.owned.Communicator;
import dev.baton.tensor.cuda.owned.Context;
import dev.baton.tensor.cuda.owned.Graph;
import dev.baton.tensor.cuda.owned.Stream;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Random;

/// What GPUs do together over NCCL, against the same on the host.
///
/// Used from one thread.
public final class NcclChecks {
    /// Of one rounding to bf16 a rank.
    private static final double TOLERANCE = 16e-3;

    private static final int[] SIZES = {1, 8, 4096, 4097, 262_144, 1 << 22};
    private static final int REPLAYS = 3;
    private static final Duration PATIENCE = Duration.ofSeconds(20);

    private final List<Context> contexts;
    private final RankThreads threads;
    private final Random random;
    private final List<CheckResult> results = new ArrayList<>();

    private NcclChecks(List<Context> contexts, RankThreads threads, Random random) {
        this.contexts = contexts;
        this.threads = threads;
        this.random = random;
    }

    /// Compares sums, gathered arrays and sent bytes.
    ///
    /// @param ranks GPUs that work together, the first of those to be seen
    /// @param seed of the random numbers
    public static List<CheckResult> run(int ranks, Map<String, String> environment, long seed) {
        List<Context> contexts = new ArrayList<>();
        List<Communicator> communicators = new ArrayList<>();
        try (RankThreads threads = new RankThreads(ranks, () -> communicators.forEach(Communicator::abort))) {
            for (int rank = 0; rank < ranks; rank++) {
                contexts.add(Context.open(rank, environment));
            }
            NcclChecks checks = new NcclChecks(contexts, threads, new Random(seed));
            communicators.addAll(Communicator.connect(contexts, environment));
            checks.sums(communicators);
            checks.gathered(communicators);
            threads.run(rank -> communicators.get(rank).close());
            checks.sent(environment);
            return checks.results;
        } finally {
            contexts.forEach(Context::close);
        }
    }

    private void add(String name, double[] errors) {
        double worst = 0;
        for (double error : errors) {
            worst = Math.max(worst, error);
        }
        results.add(new CheckResult(name + ", " + contexts.size() + " GPUs", worst, TOLERANCE));
    }

    private float[][] numbers(int count) {
        return RandomNumbers.of(random, contexts.size(), count);
    }

    /// What a rank does in its context, with its own numbers and arrays.
    private interface Work {
        double error(int rank, Stream stream, DeviceArrays arrays);
    }

    private double[] onAll(Work work) {
        double[] errors = new double[contexts.size()];
        threads.run(rank -> {
            Context context = contexts.get(rank);
            context.makeCurrent();
            try (Stream stream = new Stream(context);
                    DeviceArrays arrays = new DeviceArrays(context, stream)) {
                errors[rank] = work.error(rank, stream, arrays);
            }
        });
        return errors;
    }

    /// Sums of a rank's numbers and all others', at once and in a graph that is launched several times.
    private void sums(List<Communicator> communicators) {
        for (int count : SIZES) {
            float[][] values = numbers(count);
            float[] expected = new float[count];
            for (float[] ofRank : values) {
                for (int i = 0; i < count; i++) {
                    expected[i] += ofRank[i];
                }
            }
            add("all-reduce of " + count + " numbers", onAll((rank, stream, arrays) -> {
                long address = arrays.bf16(values[rank]);
                communicators.get(rank).allReduce(stream, address, count);
                return CheckResult.relativeError(arrays.readBf16(address, count), expected);
            }));
            add("all-reduce of " + count + " numbers in a graph", onAll((rank, stream, arrays) -> {
                long from = arrays.bf16(values[rank]);
                long address = arrays.poisoned(count * 2L);
                double worst = 0;
                try (Graph graph = stream.capture(() -> {
                    stream.copyOnDevice(address, from, count * 2L);
                    communicators.get(rank).allReduce(stream, address, count);
                })) {
                    for (int i = 0; i < REPLAYS; i++) {
                        graph.launch(stream);
                        worst = Math.max(worst, CheckResult.relativeError(arrays.readBf16(address, count), expected));
                    }
                }
                return worst;
            }));
        }
    }

    private void gathered(List<Communicator> communicators) {
        for (int count : SIZES) {
            float[][] values = numbers(count);
            float[] expected = new float[count * values.length];
            for (int rank = 0; rank < values.length; rank++) {
                System.arraycopy(values[rank], 0, expected, rank * count, count);
            }
            add("all-gather of " + count + " numbers", onAll((rank, stream, arrays) -> {
                long out = arrays.poisoned(expected.length * 4L);
                communicators.get(rank).allGather(stream, arrays.floats(values[rank]), out, count * 4L);
                return CheckResult.relativeError(arrays.readFloats(out, expected.length), expected);
            }));
        }
    }

    /// What rank 0 sends to rank 1 over a communicator as two processes make it.
    private void sent(Map<String, String> environment) {
        byte[] id = Communicator.uniqueId(environment);
        float[][] values = numbers(SIZES[SIZES.length - 1]);
        add("send and receive", onAll((rank, stream, arrays) -> {
            if (rank > 1) {
                return 0;
            }
            try (Communicator communicator = Communicator.join(environment, id, rank, 2, PATIENCE, PATIENCE)) {
                double worst = 0;
                for (int count : SIZES) {
                    float[] expected = Arrays.copyOf(values[0], count);
                    long address = rank == 0 ? arrays.floats(expected) : arrays.poisoned(count * 4L);
                    if (rank == 0) {
                        communicator.send(stream, address, count * 4L, 1);
                    } else {
                        communicator.receive(stream, address, count * 4L, 0);
                    }
                    communicator.await(stream);
                    worst = Math.max(worst, CheckResult.relativeError(arrays.readFloats(address, count), expected));
                }
                return worst;
            }
        }));
    }
}
