package dev.baton.transfer.tcp;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.kvcache.KvCacheSpec;
import dev.baton.tensor.DType;
import dev.baton.tensor.PagedKv;
import dev.baton.transfer.KvConnector;
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
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/// A pool, a connector over it and the events that it reported: an instance without an engine.
final class TestInstance implements AutoCloseable {
    static final int LAYERS = 2;
    static final int KV_HEADS = 2;
    static final int HEAD_DIM = 16;

    /// Generous, for machines that have more to do; tests of a deadline set their own.
    static final Map<String, Object> PATIENT = Map.of("kv_peer_timeout", 10, "kv_connect_timeout", 10);

    final KvCacheSpec spec;
    final PagedKv pool;
    final TcpConnector connector;
    final LinkedBlockingQueue<KvEvent> events = new LinkedBlockingQueue<>();

    TestInstance(KvRole role, String engineId, int blockTokens, int numBlocks, Map<String, Object> extra) {
        this(role, engineId, blockTokens, numBlocks, extra, Map.of("tokenizer", "t1"), 1, 1);
    }

    TestInstance(
            KvRole role,
            String engineId,
            int blockTokens,
            int numBlocks,
            Map<String, Object> extra,
            Map<String, String> compatibility,
            int minVersion,
            int maxVersion) {
        this(
                new KvTransferConfig(
                        TcpConnector.NAME, role, engineId, "127.0.0.1", 0, KvLoadFailurePolicy.RECOMPUTE, extra),
                new KvCacheSpec("m", "float32", 4, LAYERS, KV_HEADS, HEAD_DIM, blockTokens, numBlocks),
                compatibility,
                minVersion,
                maxVersion);
    }

    TestInstance(
            KvTransferConfig config,
            KvCacheSpec spec,
            Map<String, String> compatibility,
            int minVersion,
            int maxVersion) {
        this.spec = spec;
        this.pool = new PagedKv(
                spec.numBlocks(), spec.layers(), spec.kvHeads(), spec.blockTokens(), spec.headDim(), DType.F32);
        this.connector = TcpConnector.start(config, spec, pool, compatibility, events::add, minVersion, maxVersion);
    }

    static TestInstance prefiller(int blockTokens, int numBlocks, Map<String, Object> extra) {
        return new TestInstance(KvRole.KV_PRODUCER, "prefiller-1", blockTokens, numBlocks, with(PATIENT, extra));
    }

    static TestInstance decoder(int blockTokens, int numBlocks, Map<String, Object> extra) {
        return new TestInstance(KvRole.KV_CONSUMER, "decoder-1", blockTokens, numBlocks, with(PATIENT, extra));
    }

    static Map<String, Object> with(Map<String, Object> base, Map<String, Object> more) {
        Map<String, Object> all = new HashMap<>(base);
        all.putAll(more);
        return all;
    }

    /// Fills the pool with noise that differs everywhere.
    TestInstance fill(long seed) {
        Random random = new Random(seed);
        MemorySegment segment = pool.segment();
        for (long offset = 0; offset < segment.byteSize(); offset += Integer.BYTES) {
            segment.set(ValueLayout.JAVA_INT, offset, random.nextInt());
        }
        return this;
    }

    /// Fills the pool with one byte.
    void fillWith(int value) {
        pool.segment().fill((byte) value);
    }

    /// Whether the whole pool holds that byte and nothing else.
    boolean holdsOnly(int value) {
        MemorySegment segment = pool.segment();
        return segment.get(ValueLayout.JAVA_BYTE, 0) == (byte) value
                && segment.asSlice(1).mismatch(segment.asSlice(0, segment.byteSize() - 1)) == -1;
    }

    byte[] block(int id) {
        return pool.block(id).toArray(ValueLayout.JAVA_BYTE);
    }

    /// Holds blocks for a decoder, as after a prefill.
    RemotePrefill hold(String requestId, int[] blockIds, int numTokens) {
        KvHold hold = finished(requestId, KvTransferParams.REMOTE_DECODE, blockIds, numTokens, true);
        assertThat(hold).isInstanceOf(KvHold.UnderLease.class);
        return RemotePrefill.of(hold.answer());
    }

    private static KvRequest request(String requestId, KvTransferParams params, int promptTokens) {
        return new KvRequest(requestId, requestId, new int[Math.max(0, promptTokens)], params);
    }

    /// Tokens that can be loaded for a request.
    int matched(String requestId, RemotePrefill source, int promptTokens, int numComputedTokens) {
        return scheduler().numNewMatchedTokens(request(requestId, source.toParams(), promptTokens), numComputedTokens);
    }

    /// Tells which blocks a request got.
    void allocated(
            String requestId, RemotePrefill source, int[] blockIds, int numComputedTokens, int numExternalTokens) {
        scheduler()
                .updateStateAfterAlloc(
                        request(requestId, source.toParams(), source.numTokens()),
                        blockIds,
                        numComputedTokens,
                        numExternalTokens);
    }

    /// Starts what was decided on.
    void startLoads() {
        scheduler().takeLoads().forEach(KvLoad::start);
    }

    /// Ends a request.
    KvHold finished(
            String requestId, KvTransferParams params, int[] blockIds, int numComputedTokens, boolean completed) {
        return scheduler()
                .requestFinished(new KvFinished(
                        request(requestId, params, numComputedTokens),
                        new int[numComputedTokens],
                        numComputedTokens,
                        blockIds,
                        numComputedTokens,
                        completed));
    }

    /// Ends a request that took blocks from elsewhere.
    KvHold finished(String requestId, RemotePrefill source, int[] blockIds, int numComputedTokens, boolean completed) {
        return finished(requestId, source.toParams(), blockIds, numComputedTokens, completed);
    }

    /// Decides on a load and starts it.
    void load(String requestId, RemotePrefill source, int[] blockIds, int numComputedTokens) {
        int matched = matched(requestId, source, source.numTokens(), numComputedTokens);
        allocated(requestId, source, blockIds, numComputedTokens, matched);
        List<KvLoad> loads = scheduler().takeLoads();
        assertThat(loads).hasSize(1);
        loads.forEach(KvLoad::start);
    }

    KvConnector.SchedulerSide scheduler() {
        return connector.scheduler();
    }

    KvConnector.WorkerSide worker() {
        return connector.worker();
    }

    KvEvent nextEvent() {
        return nextEvent(20_000);
    }

    KvEvent nextEvent(long millis) {
        try {
            KvEvent event = events.poll(millis, TimeUnit.MILLISECONDS);
            assertThat(event).as("event within %d ms", millis).isNotNull();
            return event;
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    String nextFailure(String requestId) {
        KvEvent event = nextEvent();
        assertThat(event).isInstanceOf(KvEvent.KvFailed.class);
        assertThat(event.requestId()).isEqualTo(requestId);
        return ((KvEvent.KvFailed) event).reason();
    }

    /// Closes without complaint about leases and loads that the test means to leave.
    void closeAbruptly() {
        connector.close();
        pool.close();
    }

    /// Closes, and checks that nothing was left over.
    @Override
    public void close() {
        int leases = worker().numLeases();
        int loads = worker().numLoads();
        closeAbruptly();
        assertThat(leases).as("leases left").isZero();
        assertThat(loads).as("loads left").isZero();
        assertThat(events).as("events that no test expected").isEmpty();
    }
}
