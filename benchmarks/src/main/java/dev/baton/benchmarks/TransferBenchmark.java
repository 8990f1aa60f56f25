package dev.baton.benchmarks;

import dev.baton.kvcache.KvCacheSpec;
import dev.baton.tensor.DType;
import dev.baton.tensor.PagedKv;
import dev.baton.transfer.KvConnector;
import dev.baton.transfer.KvConnectors;
import dev.baton.transfer.KvEvent;
import dev.baton.transfer.KvFinished;
import dev.baton.transfer.KvHold;
import dev.baton.transfer.KvLoad;
import dev.baton.transfer.KvLoadFailurePolicy;
import dev.baton.transfer.KvRequest;
import dev.baton.transfer.KvRole;
import dev.baton.transfer.KvTransferConfig;
import dev.baton.transfer.KvTransferParams;
import dev.baton.transfer.RemotePrefill;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintWriter;
import java.lang.foreign.ValueLayout;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.stream.IntStream;
import java.util.zip.CRC32C;

/// Measures how fast checksummed KV blocks cross from one process to another over TCP loopback.
///
/// | Measures | Fixture |
/// |---|---|
/// | GB/s (1e9 bytes) from the decision to load to the arrival of every block, verified | `total` bytes of KV in blocks
/// of `block` bytes, in random order, prefiller and decoder each a JVM |
///
/// Before timing, the decoder's pool must equal the prefiller's. Run: `java -cp core/target/classes:... \
/// dev.baton.benchmarks.TransferBenchmark [blockKiB [totalMiB [loads at a time]]]`, by default 1024, 256, 1.
public final class TransferBenchmark {
    private static final int WARMUPS = 10;
    private static final int ROUNDS = 30;
    private static final int BLOCK_TOKENS = 16;
    private static final int HEAD_DIM = 64;
    private static final String ENGINE = "prefiller";

    private TransferBenchmark() {}

    public static void main(String[] args) throws Exception {
        boolean prefiller = args.length > 0 && args[0].equals(ENGINE);
        String[] sizes = prefiller ? Arrays.copyOfRange(args, 1, args.length) : args;
        int blockKib = sizes.length > 0 ? Integer.parseInt(sizes[0]) : 1024;
        int totalMib = sizes.length > 1 ? Integer.parseInt(sizes[1]) : 256;
        int parallel = sizes.length > 2 ? Integer.parseInt(sizes[2]) : 1;
        // one layer and head of 16 tokens x 64 x f32, keys and values: 8 KiB
        KvCacheSpec spec = new KvCacheSpec(
                "bench", "float32", Float.BYTES, blockKib / 8, 1, HEAD_DIM, BLOCK_TOKENS, totalMib * 1024 / blockKib);
        BlockingQueue<KvEvent> events = new LinkedBlockingQueue<>();
        KvTransferConfig config = new KvTransferConfig(
                "TcpConnector",
                prefiller ? KvRole.KV_PRODUCER : KvRole.KV_CONSUMER,
                prefiller ? ENGINE : "decoder",
                "127.0.0.1",
                0,
                KvLoadFailurePolicy.FAIL,
                Map.of("kv_lease_duration", 600));
        try (PagedKv pool = new PagedKv(spec.numBlocks(), spec.layers(), 1, BLOCK_TOKENS, HEAD_DIM, DType.F32);
                KvConnector connector = KvConnectors.create(config, spec, pool, Map.of(), events::add)) {
            if (prefiller) {
                serve(spec, pool, connector);
            } else {
                measure(args, spec, pool, connector, events, parallel);
            }
        }
    }

    /// The prefiller: holds a part of the pool for every line `first count` on its input.
    private static void serve(KvCacheSpec spec, PagedKv pool, KvConnector connector) throws IOException {
        SplittableRandom random = new SplittableRandom(1);
        for (long at = 0; at < pool.segment().byteSize(); at += Long.BYTES) {
            pool.segment().set(ValueLayout.JAVA_LONG, at, random.nextLong());
        }
        System.out.println("@ " + checksum(pool));
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        int requests = 0;
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String[] range = line.split(" ");
            int first = Integer.parseInt(range[0]);
            int[] blocks =
                    IntStream.range(first, first + Integer.parseInt(range[1])).toArray();
            KvHold hold = connector
                    .scheduler()
                    .requestFinished(finished("r" + requests++, blocks, blocks.length * spec.blockTokens()));
            RemotePrefill params = RemotePrefill.of(hold.answer());
            System.out.println("@ " + params.port() + " " + params.requestId());
        }
    }

    private static void measure(
            String[] args,
            KvCacheSpec spec,
            PagedKv pool,
            KvConnector connector,
            BlockingQueue<KvEvent> events,
            int parallel)
            throws IOException, InterruptedException {
        List<String> command = new ArrayList<>(List.of(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-XX:+UseSerialGC",
                "-cp",
                System.getProperty("java.class.path"),
                TransferBenchmark.class.getName(),
                ENGINE));
        command.addAll(List.of(args));
        Process process = new ProcessBuilder(command)
                .redirectError(ProcessBuilder.Redirect.INHERIT)
                .start();
        try (PrintWriter out = new PrintWriter(process.outputWriter(StandardCharsets.UTF_8), true);
                BufferedReader in = process.inputReader(StandardCharsets.UTF_8)) {
            long expected = Long.parseLong(answer(in)[0]);
            SplittableRandom random = new SplittableRandom(2);
            double[] rates = new double[ROUNDS];
            for (int round = -WARMUPS; round < ROUNDS; round++) {
                // the first round in order, so that the pools must be equal; then blocks go anywhere
                int[] targets = round == -WARMUPS
                        ? IntStream.range(0, spec.numBlocks()).toArray()
                        : shuffled(spec.numBlocks(), random);
                long nanos = load(spec, connector, events, targets, parallel, round, out, in);
                if (round == -WARMUPS && checksum(pool) != expected) {
                    throw new IllegalStateException("the decoder's pool is not the prefiller's");
                }
                if (round >= 0) {
                    rates[round] = (double) pool.segment().byteSize() / nanos;
                }
            }
            Arrays.sort(rates);
            System.out.printf(
                    "%d blocks of %d KiB, %d loads at a time: median %.2f GB/s, min %.2f, max %.2f (%d rounds)%n",
                    spec.numBlocks(),
                    spec.blockBytes() / 1024,
                    parallel,
                    rates[ROUNDS / 2],
                    rates[0],
                    rates[ROUNDS - 1],
                    ROUNDS);
        } finally {
            process.destroy();
        }
    }

    /// Loads the whole pool, as so many requests at a time.
    ///
    /// @return nanoseconds from the first decision to the last arrival
    private static long load(
            KvCacheSpec spec,
            KvConnector connector,
            BlockingQueue<KvEvent> events,
            int[] targets,
            int parallel,
            int round,
            PrintWriter out,
            BufferedReader in)
            throws IOException, InterruptedException {
        int each = spec.numBlocks() / parallel;
        RemotePrefill[] sources = new RemotePrefill[parallel];
        for (int i = 0; i < parallel; i++) {
            out.println(i * each + " " + each);
            String[] words = answer(in);
            List<Integer> blocks =
                    IntStream.range(i * each, (i + 1) * each).boxed().toList();
            sources[i] = new RemotePrefill(
                    ENGINE, words[1], blocks, "127.0.0.1", Integer.parseInt(words[0]), 1, each * spec.blockTokens());
        }
        long start = System.nanoTime();
        for (int i = 0; i < parallel; i++) {
            int[] local = Arrays.copyOfRange(targets, i * each, (i + 1) * each);
            KvRequest request =
                    new KvRequest(round + "-" + i, "", new int[each * spec.blockTokens()], sources[i].toParams());
            int matched = connector.scheduler().numNewMatchedTokens(request, 0);
            connector.scheduler().updateStateAfterAlloc(request, local, 0, matched);
            connector.scheduler().takeLoads().forEach(KvLoad::start);
        }
        for (int i = 0; i < parallel; i++) {
            KvEvent event = events.take();
            if (!(event instanceof KvEvent.KvArrived)) {
                throw new IllegalStateException(event.toString());
            }
        }
        return System.nanoTime() - start;
    }

    private static KvFinished finished(String requestId, int[] blockIds, int numTokens) {
        int[] tokens = new int[numTokens];
        KvRequest request = new KvRequest(requestId, requestId, tokens, KvTransferParams.REMOTE_DECODE);
        return new KvFinished(request, tokens, numTokens, blockIds, numTokens, true);
    }

    private static int[] shuffled(int count, SplittableRandom random) {
        int[] order = IntStream.range(0, count).toArray();
        for (int i = count - 1; i > 0; i--) {
            int j = random.nextInt(i + 1);
            int swap = order[i];
            order[i] = order[j];
            order[j] = swap;
        }
        return order;
    }

    /// The next line that the child printed for this program, without its mark.
    private static String[] answer(BufferedReader in) throws IOException {
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            if (line.startsWith("@ ")) {
                return line.substring(2).split(" ");
            }
        }
        throw new IOException("the prefiller has ended");
    }

    private static long checksum(PagedKv pool) {
        CRC32C crc = new CRC32C();
        for (int block = 0; block < pool.numBlocks(); block++) {
            crc.update(pool.block(block).asByteBuffer());
        }
        return crc.getValue();
    }
}
