package dev.baton.transfer.tcp;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import dev.baton.kvcache.KvCacheSpec;
import dev.baton.transfer.KvConnector;
import dev.baton.transfer.KvEvent;
import dev.baton.transfer.KvEvent.KvArrived;
import dev.baton.transfer.KvEvent.KvFailed;
import dev.baton.transfer.KvFinished;
import dev.baton.transfer.KvHold;
import dev.baton.transfer.KvLoadFailurePolicy;
import dev.baton.transfer.KvRequest;
import dev.baton.transfer.KvRole;
import dev.baton.transfer.KvTransferConfig;
import dev.baton.transfer.KvTransferParams;
import dev.baton.transfer.PushParams;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.lang.management.OperatingSystemMXBean;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Queue;
import java.util.Random;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.ReentrantReadWriteLock;
import java.util.stream.IntStream;
import org.junit.jupiter.api.RepeatedTest;
import org.junit.jupiter.api.RepetitionInfo;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.api.io.TempDir;

/// Hand-offs over a network that damages, loses, repeats and mixes up what it carries, from prefillers that
/// restart: whatever arrives is what was held, nothing waits for ever, and nothing is left. Half of the faults
/// meet instances without a shared key, half of them such as have one.
///
/// The first seed is `baton.faults.seed`, the number of faults `baton.faults`; `scripts/simulate-faults` sets both.
@ExtendWith(KvThreads.class)
@Timeout(value = 30, unit = TimeUnit.MINUTES)
class TcpSimulationTest {
    private static final long FIRST_SEED = Long.getLong("baton.faults.seed", 1);
    private static final long FAULTS = Long.getLong("baton.faults", 10_000) / 2;

    private static final int LOADS_AT_A_TIME = 48;
    private static final int MOST_BLOCKS = 8;
    private static final int BLOCK_TOKENS = 4;
    private static final int BLOCKS = LOADS_AT_A_TIME * MOST_BLOCKS;
    private static final int LOADS_A_RESTART = 400;
    private static final byte UNTOUCHED = 0x5A;
    private static final Map<String, Object> SETTINGS = Map.of(
            "kv_lease_duration",
            0.5,
            "kv_lease_extension",
            0.5,
            "kv_heartbeat_interval",
            0.1,
            "kv_peer_timeout",
            5,
            "kv_push_arrival_timeout",
            1);

    private final long seed;
    private final Map<String, Object> settings = new HashMap<>(SETTINGS);
    private final SimulatedNetwork network;
    private final ReentrantReadWriteLock prefillerLock = new ReentrantReadWriteLock();
    private final AtomicInteger begun = new AtomicInteger();
    private final AtomicInteger arrived = new AtomicInteger();
    private final AtomicInteger arrivedPushes = new AtomicInteger();
    private final AtomicInteger failed = new AtomicInteger();
    private final AtomicInteger restarts = new AtomicInteger();
    private final Queue<TestInstance> former = new ConcurrentLinkedQueue<>();
    private final TestInstance decoder;
    private final Events loads;
    private Prefiller prefiller; // guarded by prefillerLock

    TcpSimulationTest(RepetitionInfo repetition, @TempDir Path directory) throws IOException {
        seed = FIRST_SEED + repetition.getCurrentRepetition() - 1;
        network = new SimulatedNetwork(seed);
        if (repetition.getCurrentRepetition() > 1) {
            Path key = Files.writeString(directory.resolve("key"), "0123456789abcdef".repeat(4));
            settings.put(TcpOptions.KEY_FILE, key.toString());
        }
        decoder = instance(KvRole.KV_CONSUMER, "decoder", 0);
        loads = new Events(decoder);
        prefiller = new Prefiller(1);
    }

    private TestInstance instance(KvRole role, String engineId, int port) {
        return new TestInstance(
                new KvTransferConfig(
                        TcpConnector.NAME, role, engineId, "simulated", port, KvLoadFailurePolicy.RECOMPUTE, settings),
                new KvCacheSpec(
                        "m",
                        "float32",
                        4,
                        TestInstance.LAYERS,
                        TestInstance.KV_HEADS,
                        TestInstance.HEAD_DIM,
                        BLOCK_TOKENS,
                        BLOCKS),
                Map.of("tokenizer", "t1"),
                1,
                1,
                network);
    }

    /// Hands an instance's events to those who wait for them.
    private static final class Events {
        private final Map<String, LinkedBlockingQueue<KvEvent>> byRequest = new ConcurrentHashMap<>();
        private final Thread thread;

        Events(TestInstance instance) {
            thread = Thread.ofVirtual().start(() -> {
                try {
                    while (true) {
                        KvEvent event = instance.events.take();
                        queue(event.requestId()).add(event);
                    }
                } catch (InterruptedException e) {
                    Thread.currentThread().interrupt();
                }
            });
        }

        private LinkedBlockingQueue<KvEvent> queue(String requestId) {
            return byRequest.computeIfAbsent(requestId, _ -> new LinkedBlockingQueue<>());
        }

        /// The one event of a request.
        KvEvent await(String requestId) throws InterruptedException {
            KvEvent event = queue(requestId).poll(60, TimeUnit.SECONDS);
            assertThat(event).as("event of %s", requestId).isNotNull();
            return event;
        }

        void forget(String requestId) {
            LinkedBlockingQueue<KvEvent> queue = byRequest.remove(requestId);
            assertThat(queue).as("events of %s", requestId).isNullOrEmpty();
        }

        void stop() throws InterruptedException {
            thread.interrupt();
            thread.join();
            assertThat(byRequest.keySet())
                    .as("requests of events that nobody expected")
                    .isEmpty();
        }
    }

    /// One life of the prefiller.
    private final class Prefiller {
        final String engineId;
        final TestInstance instance;
        final Events leases;
        boolean closed; // guarded by prefillerLock

        Prefiller(int life) {
            engineId = "prefiller-" + life;
            instance = instance(KvRole.KV_PRODUCER, engineId, 1);
            leases = new Events(instance);
        }
    }

    private void restart() throws InterruptedException {
        prefillerLock.writeLock().lock();
        try {
            prefiller.closed = true;
            prefiller.instance.connector.close(); // ends its leases; its pool is closed when all have heard of it
            assertThat(prefiller.instance.worker().numLeases()).isZero();
            former.add(prefiller.instance);
            prefiller = new Prefiller(1 + restarts.incrementAndGet());
        } finally {
            prefillerLock.writeLock().unlock();
        }
    }

    private void work(int slot, boolean faulty) throws InterruptedException {
        Random random = new Random(seed * 31 + slot);
        int[] blocks =
                IntStream.range(slot * MOST_BLOCKS, (slot + 1) * MOST_BLOCKS).toArray();
        for (int block : blocks) {
            decoder.pool.block(block).fill(UNTOUCHED);
        }
        for (int round = 0; faulty ? network.numFaults() < FAULTS : round < 3; round++) {
            int number = begun.incrementAndGet();
            if (faulty && number % LOADS_A_RESTART == 0) {
                restart();
            }
            load(random, "r" + number, blocks, faulty);
        }
    }

    private void load(Random random, String id, int[] blocks, boolean faulty) throws InterruptedException {
        int tokens = 1 + random.nextInt(MOST_BLOCKS * BLOCK_TOKENS);
        int count = Math.ceilDiv(tokens, BLOCK_TOKENS);
        int cached = random.nextInt(4) == 0 ? random.nextInt(count) : 0;
        int[] mine = Arrays.copyOf(blocks, count);
        byte[][] held = new byte[count][];
        boolean pushed = random.nextBoolean();
        KvTransferParams params;
        Prefiller source;
        prefillerLock.readLock().lock();
        try {
            source = prefiller;
            for (int i = 0; i < count; i++) {
                byte[] noise = new byte[(int) source.instance.pool.blockBytes()];
                random.nextBytes(noise);
                source.instance.pool.block(mine[i]).copyFrom(java.lang.foreign.MemorySegment.ofArray(noise));
                held[i] = noise;
            }
            if (pushed) {
                params = PushParams.decode("x-" + id, source.engineId, PushParams.port(source.instance.connector));
            } else {
                synchronized (source) {
                    params = source.instance.hold(id, mine, tokens).toParams();
                }
            }
        } finally {
            prefillerLock.readLock().unlock();
        }
        boolean prefillFirst = random.nextBoolean();
        boolean leased = !pushed || (prefillFirst && prefill(random, source, id, mine, tokens));
        KvRequest decode = new KvRequest(id, id, new int[tokens], params);
        synchronized (decoder) { // in place of the engine's one thread
            decoder.load(decode, mine, cached * BLOCK_TOKENS);
        }
        if (pushed && !prefillFirst) {
            leased = prefill(random, source, id, mine, tokens);
        }
        if (faulty && random.nextInt(20) == 0) {
            decoder.worker().cancelLoad(id);
        }
        if (faulty && random.nextInt(30) == 0) {
            source.instance.worker().dropLease(id);
        }
        KvEvent event = loads.await(id);
        if (event instanceof KvEvent.KvFirstToken(String _, int token)) {
            assertThat(token).as("first token of %s", id).isEqualTo(firstToken(id));
            event = loads.await(id);
        }
        switch (event) {
            case KvArrived(String _, int arrivedTokens, long _) -> {
                arrived.incrementAndGet();
                arrivedPushes.addAndGet(pushed ? 1 : 0);
                assertThat(arrivedTokens).isEqualTo(tokens - cached * BLOCK_TOKENS);
                for (int i = cached; i < count; i++) {
                    assertThat(decoder.block(mine[i]))
                            .as("block %d of %s", i, id)
                            .isEqualTo(held[i]);
                }
            }
            case KvFailed _ -> failed.incrementAndGet();
            default -> throw new AssertionError(event);
        }
        synchronized (decoder) {
            decoder.finished(decode, mine, tokens, true);
        }
        // Nothing writes into the blocks any more, and no block beside them was touched.
        for (int block : blocks) {
            decoder.pool.block(block).fill(UNTOUCHED);
        }
        if (leased) {
            KvEvent end = source.leases.await(id);
            assertThat(end).isInstanceOfAny(KvEvent.LeaseReleased.class, KvEvent.LeaseExpired.class);
        }
        prefillerLock.readLock().lock();
        try {
            if (!source.closed) {
                for (int block : mine) { // what a late reader would find
                    source.instance.pool.block(block).fill((byte) 0x77);
                }
            }
        } finally {
            prefillerLock.readLock().unlock();
        }
        for (int block : blocks) {
            assertThat(decoder.block(block))
                    .as("written after the end of %s", id)
                    .containsOnly(UNTOUCHED);
        }
        loads.forget(id);
        source.leases.forget(id);
    }

    private static int firstToken(String id) {
        return id.hashCode() & 0xffff;
    }

    /// Computes a prompt on the prefiller, chunk by chunk and layer by layer, as its engine would.
    ///
    /// @return whether its blocks are held
    private boolean prefill(Random random, Prefiller source, String id, int[] blocks, int tokens) {
        KvRequest request = new KvRequest(id, id, new int[tokens], PushParams.prefill("x-" + id));
        prefillerLock.readLock().lock();
        try {
            if (source.closed) {
                return false;
            }
            KvConnector.SchedulerSide scheduler = source.instance.scheduler();
            synchronized (source) {
                assertThat(scheduler.numNewMatchedTokens(request, 0)).isZero();
                scheduler.updateStateAfterAlloc(request, blocks, 0, 0);
            }
            for (int from = 0, end; from < tokens; from = end) {
                end = Math.min(tokens, from + 1 + random.nextInt(tokens));
                synchronized (source) {
                    scheduler.computing(request, blocks, from, end);
                }
                for (int layer = 0; layer < TestInstance.LAYERS; layer++) {
                    synchronized (source) {
                        scheduler.layerComputed(layer);
                    }
                    Thread.onSpinWait();
                }
            }
            int[] tokenIds = new int[tokens + 1];
            tokenIds[tokens] = firstToken(id);
            boolean completed = random.nextInt(30) > 0;
            synchronized (source) {
                return scheduler.requestFinished(
                                new KvFinished(request, tokenIds, tokens + 1, blocks, tokens, completed))
                        instanceof KvHold.UnderLease;
            }
        } finally {
            prefillerLock.readLock().unlock();
        }
    }

    private void workAll(boolean faulty) throws InterruptedException, ExecutionException {
        List<Future<?>> workers = new ArrayList<>();
        try (ExecutorService threads = Executors.newThreadPerTaskExecutor(
                Thread.ofPlatform().daemon().name("worker-", 0).factory())) {
            for (int slot = 0; slot < LOADS_AT_A_TIME; slot++) {
                int mine = slot;
                workers.add(threads.submit(() -> {
                    work(mine, faulty);
                    return true;
                }));
            }
        }
        for (Future<?> worker : workers) {
            worker.get();
        }
    }

    @RepeatedTest(2)
    void whateverTheNetworkDoesBlocksAreRightOrRefusedAndNothingIsLeft() throws Exception {
        long start = System.nanoTime();
        double cpuBefore = cpuSeconds();
        workAll(true);
        network.heal();
        int loadsWithFaults = begun.get();
        int arrivedBefore = arrived.get();
        int pushesBefore = arrivedPushes.get();
        workAll(false);
        assertThat(arrived.get() - arrivedBefore)
                .as("loads that arrive once the network is well")
                .isGreaterThan(2 * LOADS_AT_A_TIME);
        System.err.printf(
                "seed %d, %s: %d faults %s and %d restarts in %d loads, of which %d arrived, %d of them pushes; %.1f s, %.1f s of CPU%n",
                seed,
                settings.containsKey(TcpOptions.KEY_FILE) ? "with a key" : "without a key",
                network.numFaults(),
                network.faults(),
                restarts.get(),
                loadsWithFaults,
                arrivedBefore,
                pushesBefore,
                (System.nanoTime() - start) / 1e9,
                cpuSeconds() - cpuBefore);
        assertThat(network.numFaults()).isGreaterThanOrEqualTo(FAULTS);
        assertThat(network.faults().values()).as("%s", network.faults()).allMatch(count -> count > 0);
        assertThat(network.numHangs()).isZero();
        assertThat(arrivedBefore).isGreaterThan(loadsWithFaults / 4);
        assertThat(pushesBefore).as("pushes that arrived through faults").isPositive();
        assertThat(arrivedPushes.get() - pushesBefore)
                .as("pushes that arrived once the network was well")
                .isPositive();
        assertThat(failed.get()).isPositive();
        assertThat(decoder.worker().numLoads()).isZero();
        TestInstance last = prefiller.instance;
        await().atMost(Duration.ofSeconds(5)).until(() -> last.worker().numLeases() == 0);
        loads.stop();
        prefiller.leases.stop();
        decoder.close();
        last.close();
        former.forEach(it -> it.pool.close());
        assertThat(network.numOpen()).as("connections left").isZero();
    }

    private static double cpuSeconds() {
        OperatingSystemMXBean system = ManagementFactory.getOperatingSystemMXBean();
        return system instanceof com.sun.management.OperatingSystemMXBean here ? here.getProcessCpuTime() / 1e9 : 0;
    }
}
