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
import dev.baton.transfer.KvPeer;
import dev.baton.transfer.KvRequest;
import dev.baton.transfer.KvRole;
import dev.baton.transfer.KvTransferConfig;
import dev.baton.transfer.KvTransferParams;
import dev.baton.transfer.RemotePrefill;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintWriter;
import java.lang.foreign.MemorySegment;
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

/// Measures how fast checksummed KV blocks cross from one process to another of this host, over TCP loopback and
/// through shared memory, beside a plain copy of the same bytes.
///
/// | Measures | Fixture |
/// |---|---|
/// | GB/s (1e9 bytes) from the decision to load to the arrival of every block, verified | `total` bytes of KV in blocks
/// of `block` bytes, in random order, prefiller and decoder each a JVM |
/// | GB/s of `MemorySegment.copy`, one block after the other, from one pool to another of this process | the same
/// sizes and order, one thread |
///
/// The three take turns, round by round, so that they meet the same machine. Before timing, the decoder's pool must
/// equal the prefiller's. Run: `java --enable-native-access=ALL-UNNAMED -cp core/target/classes:... \
/// dev.baton.benchmarks.TransferBenchmark [blockKiB [totalMiB [loads at a time]]]`, by default 1024, 256, 1.
public final class TransferBenchmark {
    private static final int WARMUPS = 10;
    private static final int ROUNDS = 30;
    private static final int CONNECT_MILLIS = 500;
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
        if (prefiller) {
            BlockingQueue<KvEvent> events = new LinkedBlockingQueue<>();
            try (PagedKv pool = pool(spec);
                    KvConnector connector = connector(KvRole.KV_PRODUCER, ENGINE, true, spec, pool, events)) {
                serve(spec, pool, connector);
            }
        } else {
            measure(args, spec, parallel);
        }
    }

    private static PagedKv pool(KvCacheSpec spec) {
        return PagedKv.shared(spec.numBlocks(), spec.layers(), 1, BLOCK_TOKENS, HEAD_DIM, DType.F32);
    }

    private static KvConnector connector(
            KvRole role,
            String engineId,
            boolean sharesMemory,
            KvCacheSpec spec,
            PagedKv pool,
            BlockingQueue<KvEvent> events) {
        KvTransferConfig config = new KvTransferConfig(
                "TcpConnector",
                role,
                engineId,
                "127.0.0.1",
                0,
                KvLoadFailurePolicy.FAIL,
                Map.of("kv_lease_duration", 600, "kv_peer_timeout", 10, "kv_shared_memory", sharesMemory));
        return KvConnectors.create(config, spec, pool, Map.of(), events::add);
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

    private static void measure(String[] args, KvCacheSpec spec, int parallel)
            throws IOException, InterruptedException {
        List<String> command = new ArrayList<>(List.of(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-XX:+UseSerialGC",
                "--enable-native-access=ALL-UNNAMED",
                "-cp",
                System.getProperty("java.class.path"),
                TransferBenchmark.class.getName(),
                ENGINE));
        command.addAll(List.of(args));
        Process process = new ProcessBuilder(command)
                .redirectError(ProcessBuilder.Redirect.INHERIT)
                .start();
        BlockingQueue<KvEvent> events = new LinkedBlockingQueue<>();
        try (PrintWriter out = new PrintWriter(process.outputWriter(StandardCharsets.UTF_8), true);
                BufferedReader in = process.inputReader(StandardCharsets.UTF_8);
                PagedKv pool = pool(spec);
                PagedKv original = pool(spec);
                KvConnector tcp = connector(KvRole.KV_CONSUMER, "tcp", false, spec, pool, events);
                KvConnector shared = connector(KvRole.KV_CONSUMER, "shared", true, spec, pool, events)) {
            long expected = Long.parseLong(answer(in)[0]);
            SplittableRandom random = new SplittableRandom(2);
            double[][] rates = new double[3][ROUNDS];
            long[] first = new long[rates.length];
            connect(List.of(tcp, shared), out, in);
            for (int round = -WARMUPS; round < ROUNDS; round++) {
                // the first round in order, so that the pools must be equal; then blocks go anywhere
                int[] targets = round == -WARMUPS
                        ? IntStream.range(0, spec.numBlocks()).toArray()
                        : shuffled(spec.numBlocks(), random);
                for (int way = 0; way < rates.length; way++) {
                    long nanos = switch (way) {
                        case 0 -> copy(original, pool, targets);
                        case 1 -> load(spec, shared, events, targets, parallel, round, out, in);
                        default -> load(spec, tcp, events, targets, parallel, round, out, in);
                    };
                    if (round == -WARMUPS) {
                        first[way] = nanos;
                    }
                    if (round == -WARMUPS && way > 0) {
                        if (checksum(pool) != expected) {
                            throw new IllegalStateException("the decoder's pool is not the prefiller's");
                        }
                        pool.segment().fill((byte) 0);
                    }
                    if (round >= 0) {
                        rates[way][round] = (double) pool.segment().byteSize() / nanos;
                    }
                }
            }
            System.out.printf(
                    "%d blocks of %d KiB, %d loads at a time, %d rounds%n",
                    spec.numBlocks(), spec.blockBytes() / 1024, parallel, ROUNDS);
            long bytes = pool.segment().byteSize();
            double copy = print("plain copy", rates[0], bytes, first[0]);
            double copied = print("shared memory", rates[1], bytes, first[1]);
            System.out.printf("shared memory / plain copy: %.0f %%%n", 100 * copied / copy);
            double _ = print("TCP", rates[2], bytes, first[2]);
        } finally {
            process.destroy();
        }
    }

    /// Has the decoders connect to the prefiller before the first load, as a router does.
    private static void connect(List<KvConnector> decoders, PrintWriter out, BufferedReader in)
            throws IOException, InterruptedException {
        out.println("0 1");
        int port = Integer.parseInt(answer(in)[0]);
        decoders.forEach(decoder -> decoder.worker().connect(new KvPeer(ENGINE, "127.0.0.1", port, true)));
        Thread.sleep(CONNECT_MILLIS);
    }

    /// @return the median
    private static double print(String name, double[] rates, long bytes, long firstNanos) {
        Arrays.sort(rates);
        double median = rates[ROUNDS / 2];
        System.out.printf(
                "%-14s median %.2f GB/s, min %.2f, max %.2f; first %.1f ms, %.1f x the median%n",
                name, median, rates[0], rates[ROUNDS - 1], firstNanos / 1e6, firstNanos * median / bytes);
        return median;
    }

    /// Copies a pool block by block, in the order in which loads fill them.
    private static long copy(PagedKv from, PagedKv to, int[] targets) {
        long start = System.nanoTime();
        for (int block = 0; block < targets.length; block++) {
            MemorySegment.copy(
                    from.segment(),
                    from.blockOffsetBytes(block),
                    to.segment(),
                    to.blockOffsetBytes(targets[block]),
                    to.blockBytes());
        }
        return System.nanoTime() - start;
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
