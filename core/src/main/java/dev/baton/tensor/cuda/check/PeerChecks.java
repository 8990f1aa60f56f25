package dev.baton.tensor.cuda.check;

import dev.baton.tensor.TensorException;
import dev.baton.tensor.cuda.PeerSums;
import dev.baton.tensor.cuda.RankThreads;
import dev.baton.tensor.cuda.owned.Communicator;
import dev.baton.tensor.cuda.owned.Context;
import dev.baton.tensor.cuda.owned.Event;
import dev.baton.tensor.cuda.owned.Graph;
import dev.baton.tensor.cuda.owned.PeerInbox;
import dev.baton.tensor.cuda.owned.Stream;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.locks.LockSupport;
import java.util.function.Consumer;
import java.util.function.IntConsumer;
import java.util.function.IntToDoubleFunction;
import org.jspecify.annotations.Nullable;

/// What several ranks add up and gather by writing to each other's memory, against the same on the host: the same
/// bits, on all ranks, however late one of them is. Ranks may share a GPU.
///
/// Nothing is allocated or freed while a rank may wait for another: on a shared GPU the driver would wait for it.
///
/// Used from one thread.
public final class PeerChecks {
    /// Of a norm that is computed in f32 and rounded to bf16, with another order of sums.
    private static final double NORM_TOLERANCE = 1e-2;

    private static final float EPSILON = 1e-5f;
    private static final int COLUMNS = 4096;
    private static final int[] SIZES = {1, 7, 8, 9, 2047, 2048, 2049, 262_144, (1 << 21) + 5};
    private static final int[] ROWS = {1, 2, 63, 64, 65, 300};
    private static final int[] ROW_COLUMNS = {8, 64, 2056, 4096, 16_384};

    private static final int REPLAYS = 1000;
    private static final int REPLAYS_AT_ONCE = 20;
    private static final int LATE_COLUMNS = 2048;
    private static final int LATE_ROWS = 8;
    private static final int LATE_TERMS = 7;
    private static final int[] LATE_SIZES = {16_384, 5, 16_384, 6145, 2048};
    private static final long DELAY_BYTES = 64L << 20;
    private static final int ONE_LATE_OF = 8;
    private static final int MOST_LATE_NANOS = 300_000;

    private static final Duration PATIENCE = Duration.ofSeconds(20);
    private static final Duration SHORT_PATIENCE = Duration.ofSeconds(1);
    private static final long LONE_MILLIS = 50;
    private static final double MOST_LONE_SECONDS = 5;

    private static final int[] TIMED_ROWS = {1, 8, 32, 64};
    private static final int TIMED_SUMS = 64;
    private static final int TIMED_RUNS = 15;

    private final List<Context> contexts;
    private final RankThreads threads;
    private final List<PeerInbox> open; // ended if a rank fails
    private final Random random;
    private final Map<String, String> environment;
    private final List<CheckResult> results = new ArrayList<>();

    private PeerChecks(
            List<Context> contexts,
            RankThreads threads,
            List<PeerInbox> open,
            Random random,
            Map<String, String> environment) {
        this.contexts = contexts;
        this.threads = threads;
        this.open = open;
        this.random = random;
        this.environment = environment;
    }

    /// Compares sums, sums with norms behind them, gathered rows, graphs with ranks that are late; and lets a rank
    /// wait in vain.
    ///
    /// @param devices of the ranks, which must reach each other's memory
    /// @param seed of the random numbers
    /// @param lines is told how long sums take, over NCCL too where that can do it
    public static List<CheckResult> run(
            List<Integer> devices, Map<String, String> environment, long seed, Consumer<String> lines) {
        List<Context> contexts = new ArrayList<>();
        List<PeerInbox> open = new CopyOnWriteArrayList<>();
        try (RankThreads threads = new RankThreads(devices.size(), () -> open.forEach(PeerInbox::abort))) {
            for (int device : devices) {
                contexts.add(Context.open(device, environment));
            }
            PeerChecks checks = new PeerChecks(contexts, threads, open, new Random(seed), environment);
            try (Group group = checks.new Group(COLUMNS, PATIENCE)) {
                checks.sums(group);
                checks.gathered(group);
            }
            for (int columns : ROW_COLUMNS) {
                try (Group group = checks.new Group(columns, PATIENCE)) {
                    checks.norms(group, columns);
                }
            }
            try (Group group = checks.new Group(COLUMNS, PATIENCE)) {
                checks.lateRanks(group);
                checks.times(group, lines);
            }
            checks.lonely(true);
            checks.lonely(false);
            return checks.results;
        } finally {
            contexts.forEach(Context::close);
        }
    }

    /// One rank's things.
    private record Rank(Context context, Stream stream, DeviceArrays arrays, PeerInbox inbox, PeerSums sums) {}

    /// Connected ranks.
    private final class Group implements AutoCloseable {
        private final List<PeerInbox> inboxes;
        private final @Nullable Rank[] ranks = new Rank[contexts.size()];

        Group(int columns, Duration patience) {
            inboxes = PeerSums.connect(contexts, columns);
            open.addAll(inboxes);
            threads.run(rank -> {
                Context context = contexts.get(rank);
                context.makeCurrent();
                Stream stream = new Stream(context);
                PeerInbox inbox = inboxes.get(rank);
                ranks[rank] = new Rank(
                        context,
                        stream,
                        new DeviceArrays(context, stream),
                        inbox,
                        new PeerSums(context, inbox, columns, patience, environment));
            });
        }

        Rank rank(int rank) {
            Rank found = ranks[rank];
            if (found == null) {
                throw new TensorException("rank " + rank + " was not opened");
            }
            return found;
        }

        /// Gives work to the ranks' streams, all at the same time, and waits for it.
        void run(IntConsumer work) {
            threads.run(rank -> {
                work.accept(rank);
                rank(rank).stream().synchronize();
            });
            threads.run(rank -> rank(rank).inbox().check());
        }

        @Override
        public void close() {
            threads.run(rank -> {
                contexts.get(rank).makeCurrent();
                contexts.get(rank).synchronize();
            });
            threads.run(rank -> {
                Rank each = rank(rank);
                each.sums().close();
                each.arrays().close();
                each.stream().close();
                each.inbox().close();
            });
            open.removeAll(inboxes);
        }
    }

    private void add(String name, double error, double tolerance) {
        List<Integer> devices = contexts.stream().map(Context::device).toList();
        results.add(new CheckResult(name + ", GPUs " + devices, error, tolerance));
    }

    private float[] numbers(int count) {
        return RandomNumbers.of(random, count);
    }

    private float[][] numbersOfAll(int count) {
        return RandomNumbers.of(random, contexts.size(), count);
    }

    /// As a rank is to add up: in f32, in their order, rounded once.
    private static float[] sum(float[][] values) {
        float[] sums = values[0].clone();
        for (int rank = 1; rank < values.length; rank++) {
            for (int i = 0; i < sums.length; i++) {
                sums[i] += values[rank][i];
            }
        }
        for (int i = 0; i < sums.length; i++) {
            sums[i] = RandomNumbers.rounded(sums[i]);
        }
        return sums;
    }

    /// How many bits differ counts for nothing: any is wrong.
    private static double differing(float[] actual, float[] expected) {
        int differing = actual.length == expected.length ? 0 : 1;
        for (int i = 0; i < Math.min(actual.length, expected.length); i++) {
            if (Float.floatToRawIntBits(actual[i]) != Float.floatToRawIntBits(expected[i])) {
                differing++;
            }
        }
        return differing;
    }

    private double worst(IntToDoubleFunction error) {
        double[] errors = new double[contexts.size()];
        threads.run(rank -> errors[rank] = error.applyAsDouble(rank));
        return Arrays.stream(errors).max().orElse(Double.NaN);
    }

    private void sums(Group group) {
        for (int count : SIZES) {
            float[][] values = numbersOfAll(count);
            float[] expected = sum(values);
            long[] from = new long[values.length];
            long[] to = new long[values.length];
            threads.run(rank -> {
                DeviceArrays arrays = group.rank(rank).arrays();
                from[rank] = arrays.bf16(values[rank]);
                to[rank] = arrays.poisoned(count * 2L);
            });
            group.run(rank -> {
                Rank each = group.rank(rank);
                each.sums().allReduce(each.stream(), from[rank], to[rank], count);
                each.sums().allReduce(each.stream(), from[rank], from[rank], count);
            });
            add(
                    "sum of " + count + " numbers, values that differ",
                    worst(rank -> differing(group.rank(rank).arrays().readBf16(to[rank], count), expected)
                            + differing(group.rank(rank).arrays().readBf16(from[rank], count), expected)),
                    0);
        }
    }

    private void gathered(Group group) {
        for (int rows : new int[] {1, 3, 64}) {
            for (int columns : new int[] {4, 1000, 16_032}) {
                float[][] values = numbersOfAll(rows * columns);
                int ranks = values.length;
                float[] expected = new float[rows * columns * ranks];
                for (int row = 0; row < rows; row++) {
                    for (int rank = 0; rank < ranks; rank++) {
                        System.arraycopy(
                                values[rank], row * columns, expected, (row * ranks + rank) * columns, columns);
                    }
                }
                long[] from = new long[ranks];
                long[] to = new long[ranks];
                threads.run(rank -> {
                    DeviceArrays arrays = group.rank(rank).arrays();
                    from[rank] = arrays.floats(values[rank]);
                    to[rank] = arrays.poisoned(expected.length * 4L);
                });
                group.run(rank -> {
                    Rank each = group.rank(rank);
                    each.sums().allGather(each.stream(), from[rank], to[rank], rows, columns);
                });
                add(
                        "gathered " + rows + " x " + columns + ", values that differ",
                        worst(rank ->
                                differing(group.rank(rank).arrays().readFloats(to[rank], expected.length), expected)),
                        0);
            }
        }
    }

    private void norms(Group group, int columns) {
        for (int rows : ROWS) {
            int count = rows * columns;
            float[][] values = numbersOfAll(count);
            float[] before = numbers(count);
            float[] weight = numbers(columns);
            float[] expected = sum(values);
            for (int i = 0; i < count; i++) {
                expected[i] = RandomNumbers.rounded(before[i] + expected[i]);
            }
            float[] expectedNorm = normalised(expected, weight);
            long[] delta = new long[values.length];
            long[] residual = new long[values.length];
            long[] weights = new long[values.length];
            long[] out = new long[values.length];
            threads.run(rank -> {
                DeviceArrays arrays = group.rank(rank).arrays();
                delta[rank] = arrays.bf16(values[rank]);
                residual[rank] = arrays.bf16(before);
                weights[rank] = arrays.bf16(weight);
                out[rank] = arrays.poisoned(count * 2L);
            });
            group.run(rank -> {
                Rank each = group.rank(rank);
                each.sums()
                        .allReduceAddRmsNorm(
                                each.stream(),
                                delta[rank],
                                residual[rank],
                                weights[rank],
                                out[rank],
                                rows,
                                columns,
                                EPSILON);
            });
            float[][] norms = new float[values.length][];
            String name = rows + " x " + columns;
            add(
                    "sum and addition of " + name + ", values that differ",
                    worst(rank -> differing(group.rank(rank).arrays().readBf16(residual[rank], count), expected)),
                    0);
            add(
                    "norm behind a sum of " + name,
                    worst(rank -> {
                        norms[rank] = group.rank(rank).arrays().readBf16(out[rank], count);
                        return CheckResult.relativeError(norms[rank], expectedNorm);
                    }),
                    NORM_TOLERANCE);
            add(
                    "norm behind a sum of " + name + ", values that differ between ranks",
                    Arrays.stream(norms)
                            .mapToDouble(it -> differing(it, norms[0]))
                            .sum(),
                    0);
        }
    }

    private static float[] normalised(float[] rows, float[] weight) {
        float[] out = new float[rows.length];
        for (int start = 0; start < rows.length; start += weight.length) {
            double squares = 0;
            for (int i = 0; i < weight.length; i++) {
                squares += (double) rows[start + i] * rows[start + i];
            }
            double scale = 1 / Math.sqrt(squares / weight.length + EPSILON);
            for (int i = 0; i < weight.length; i++) {
                out[start + i] = (float) (rows[start + i] * scale * weight[i]);
            }
        }
        return out;
    }

    /// What a rank's graph works on, and what came of each of its launches.
    private record Late(long[] terms, long before, long work, long residual, long weight, long out, long delay) {}

    /// A graph of sums of many numbers and of few, launched a thousand times over numbers of its own each time,
    /// with ranks that are late at random. What an older sum has left would not be what the host adds up.
    private void lateRanks(Group group) {
        int ranks = contexts.size();
        int count = LATE_ROWS * LATE_COLUMNS;
        float[][][] terms = new float[LATE_TERMS][][];
        Arrays.setAll(terms, _ -> numbersOfAll(count));
        float[] before = numbers(count);
        Late[] late = new Late[ranks];
        long[] history = new long[ranks];
        long bytes = count * 2L;
        Graph[] graphs = new Graph[ranks];
        threads.run(rank -> {
            Rank each = group.rank(rank);
            DeviceArrays arrays = each.arrays();
            long[] ofTerms = new long[LATE_TERMS];
            Arrays.setAll(ofTerms, i -> arrays.bf16(terms[i][rank]));
            Late own = new Late(
                    ofTerms,
                    arrays.bf16(before),
                    arrays.poisoned(bytes),
                    arrays.poisoned(bytes),
                    arrays.bf16(new float[LATE_COLUMNS]),
                    arrays.poisoned(bytes),
                    arrays.poisoned(DELAY_BYTES));
            late[rank] = own;
            history[rank] = arrays.poisoned(2 * bytes * REPLAYS);
            graphs[rank] = each.stream().capture(() -> {
                for (int size : LATE_SIZES) {
                    each.sums().allReduce(each.stream(), own.work, own.work, size);
                }
                each.sums()
                        .allReduceAddRmsNorm(
                                each.stream(),
                                own.work,
                                own.residual,
                                own.weight,
                                own.out,
                                LATE_ROWS - 1,
                                LATE_COLUMNS,
                                EPSILON);
            });
            graphs[rank].upload(each.stream());
            each.stream().synchronize();
        });
        long seed = random.nextLong();
        for (int first = 0; first < REPLAYS; first += REPLAYS_AT_ONCE) {
            int round = first;
            group.run(rank -> {
                Stream stream = group.rank(rank).stream();
                Late own = late[rank];
                Random delays = new Random((seed + round) * ranks + rank);
                for (int i = round; i < round + REPLAYS_AT_ONCE; i++) {
                    if (delays.nextInt(ONE_LATE_OF) == 0) {
                        stream.fill(own.delay, (byte) i, DELAY_BYTES);
                    }
                    if (delays.nextInt(ONE_LATE_OF) == 0) {
                        LockSupport.parkNanos(delays.nextInt(MOST_LATE_NANOS));
                    }
                    stream.copyOnDevice(own.work, own.terms[i % LATE_TERMS], bytes);
                    stream.copyOnDevice(own.residual, own.before, bytes);
                    graphs[rank].launch(stream);
                    stream.copyOnDevice(history[rank] + 2L * i * bytes, own.work, bytes);
                    stream.copyOnDevice(history[rank] + (2L * i + 1) * bytes, own.residual, bytes);
                }
            });
        }
        float[][][] expected = new float[LATE_TERMS][ranks][];
        for (int i = 0; i < LATE_TERMS; i++) {
            addLate(terms[i], before, expected[i]);
        }
        add(
                REPLAYS + " launches of a graph of " + (LATE_SIZES.length + 1) + " sums, values that differ",
                worst(rank -> {
                    double differing = 0;
                    for (int i = 0; i < REPLAYS; i++) {
                        float[] found = group.rank(rank).arrays().readBf16(history[rank] + 2L * i * bytes, 2 * count);
                        differing += differing(found, expected[i % LATE_TERMS][rank]);
                    }
                    graphs[rank].close();
                    return differing;
                }),
                0);
    }

    /// What [#lateRanks]'s graph does, on the host.
    ///
    /// @param terms by rank; changed
    /// @param ends by rank: what is in the place of the term in the end, and the residual behind it
    private static void addLate(float[][] terms, float[] before, float[][] ends) {
        for (int size : LATE_SIZES) {
            float[] sum = sum(terms);
            for (float[] ofRank : terms) {
                System.arraycopy(sum, 0, ofRank, 0, size);
            }
        }
        float[] sum = sum(terms);
        float[] residual = before.clone();
        for (int i = 0; i < (LATE_ROWS - 1) * LATE_COLUMNS; i++) {
            residual[i] = RandomNumbers.rounded(before[i] + sum[i]);
        }
        for (int rank = 0; rank < terms.length; rank++) {
            ends[rank] = Arrays.copyOf(terms[rank], 2 * before.length);
            System.arraycopy(residual, 0, ends[rank], before.length, before.length);
        }
    }

    /// A rank whose others never come: it stops when it is told to, or after a while by itself.
    private void lonely(boolean isTold) {
        double seconds;
        boolean isKnown = false;
        try (Group group = new Group(COLUMNS, SHORT_PATIENCE)) {
            Rank one = group.rank(0);
            long[] address = new long[1];
            threads.run(rank -> {
                if (rank == 0) {
                    address[0] = one.arrays().poisoned(COLUMNS * 2L);
                    one.stream().synchronize();
                }
            });
            long start = System.nanoTime();
            one.context().makeCurrent();
            one.sums().allReduce(one.stream(), address[0], address[0], COLUMNS);
            LockSupport.parkNanos(Duration.ofMillis(LONE_MILLIS).toNanos());
            boolean waits = !one.stream().isDone();
            if (isTold) {
                one.inbox().abort();
            }
            one.stream().synchronize();
            seconds = waits ? (System.nanoTime() - start) / 1e9 : Double.NaN;
            try {
                one.inbox().check();
            } catch (TensorException e) {
                isKnown = true;
            }
        }
        add(
                isTold ? "seconds until a rank stops that is told to" : "seconds until a rank stops by itself",
                isKnown ? seconds : Double.NaN,
                MOST_LONE_SECONDS);
    }

    /// How long sums take in graphs of many.
    private void times(Group group, Consumer<String> lines) {
        int count = TIMED_ROWS[TIMED_ROWS.length - 1] * COLUMNS;
        boolean hasNccl = !group.inboxes.getFirst().sharesDevice()
                && Communicator.missing(environment).isEmpty();
        List<Communicator> communicators = hasNccl ? Communicator.connect(contexts, environment) : List.of();
        long[] zeros = new long[contexts.size()];
        long[] weights = new long[contexts.size()];
        long[] residual = new long[contexts.size()];
        long[] out = new long[contexts.size()];
        threads.run(rank -> {
            DeviceArrays arrays = group.rank(rank).arrays();
            contexts.get(rank).makeCurrent();
            zeros[rank] = arrays.bf16(new float[count]);
            weights[rank] = arrays.bf16(new float[COLUMNS]);
            residual[rank] = arrays.bf16(new float[count]);
            out[rank] = arrays.poisoned(count * 2L);
        });
        for (int rows : TIMED_ROWS) {
            long numbers = (long) rows * COLUMNS;
            double own = micros(group, rank -> {
                Rank each = group.rank(rank);
                each.sums().allReduce(each.stream(), zeros[rank], zeros[rank], numbers);
            });
            double fused = micros(group, rank -> {
                Rank each = group.rank(rank);
                each.sums()
                        .allReduceAddRmsNorm(
                                each.stream(),
                                zeros[rank],
                                residual[rank],
                                weights[rank],
                                out[rank],
                                rows,
                                COLUMNS,
                                EPSILON);
            });
            String line = String.format(
                    Locale.ROOT,
                    "%2d x %d, us a sum in graphs of %d: %.2f by own kernel, %.2f with addition and norm",
                    rows,
                    COLUMNS,
                    TIMED_SUMS,
                    own,
                    fused);
            if (hasNccl) {
                double nccl = micros(
                        group,
                        rank -> communicators.get(rank).allReduce(group.rank(rank).stream(), zeros[rank], numbers));
                line += String.format(Locale.ROOT, ", %.2f over NCCL", nccl);
            }
            lines.accept(line);
        }
        if (hasNccl) {
            threads.run(rank -> communicators.get(rank).close());
        }
    }

    /// The median of some launches, a rank's for a sum, of the slowest rank.
    private double micros(Group group, IntConsumer sum) {
        Graph[] graphs = new Graph[contexts.size()];
        Event[] starts = new Event[contexts.size()];
        Event[] ends = new Event[contexts.size()];
        group.run(sum); // NCCL connects for each size
        threads.run(rank -> {
            Rank each = group.rank(rank);
            graphs[rank] = each.stream().capture(() -> {
                for (int i = 0; i < TIMED_SUMS; i++) {
                    sum.accept(rank);
                }
            });
            graphs[rank].upload(each.stream());
            starts[rank] = new Event(each.context());
            ends[rank] = new Event(each.context());
            each.stream().synchronize();
        });
        double[] medians = new double[contexts.size()];
        double[][] times = new double[contexts.size()][TIMED_RUNS];
        for (int run = 0; run < TIMED_RUNS; run++) {
            int index = run;
            group.run(rank -> {
                Rank each = group.rank(rank);
                graphs[rank].launch(each.stream()); // the ranks meet in it, so that the next begins together
                starts[rank].record(each.stream());
                graphs[rank].launch(each.stream());
                ends[rank].record(each.stream());
            });
            threads.run(rank -> times[rank][index] = ends[rank].millisSince(starts[rank]) * 1e3 / TIMED_SUMS);
        }
        threads.run(rank -> {
            Arrays.sort(times[rank]);
            medians[rank] = times[rank][TIMED_RUNS / 2];
            graphs[rank].close();
            starts[rank].close();
            ends[rank].close();
        });
        return Arrays.stream(medians).max().orElse(Double.NaN);
    }
}
