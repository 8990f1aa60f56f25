package dev.baton.transfer.tcp;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.kvcache.KvCacheSpec;
import dev.baton.tensor.DType;
import dev.baton.tensor.PagedKv;
import dev.baton.transfer.ConnectorInstance;
import dev.baton.transfer.KvConnector;
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

/// A pool, a connector over it and the events that it reported: an instance without an engine.
final class TestInstance extends ConnectorInstance {
    static final int LAYERS = 2;
    static final int KV_HEADS = 2;
    static final int HEAD_DIM = 16;

    /// Generous, for machines that have more to do; tests of a deadline set their own.
    static final Map<String, Object> PATIENT = Map.of("kv_peer_timeout", 10, "kv_connect_timeout", 10);

    final KvCacheSpec spec;
    final TcpConnector connector;

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
        this(config, spec, compatibility, minVersion, maxVersion, Transport.SOCKETS);
    }

    TestInstance(
            KvTransferConfig config,
            KvCacheSpec spec,
            Map<String, String> compatibility,
            int minVersion,
            int maxVersion,
            Transport transport) {
        super(new PagedKv(
                spec.numBlocks(), spec.layers(), spec.kvHeads(), spec.blockTokens(), spec.headDim(), DType.F32));
        this.spec = spec;
        this.connector =
                TcpConnector.start(config, spec, pool, compatibility, events::add, minVersion, maxVersion, transport);
    }

    TestInstance(KvTransferConfig config, KvCacheSpec spec, PagedKv pool) {
        super(pool);
        this.spec = spec;
        this.connector = TcpConnector.start(config, spec, pool, Map.of(), events::add);
    }

    /// An instance whose pool other processes of this host can map.
    static TestInstance sharing(
            KvRole role, String engineId, int blockTokens, int numBlocks, Map<String, Object> extra) {
        return new TestInstance(
                new KvTransferConfig(
                        TcpConnector.NAME,
                        role,
                        engineId,
                        "127.0.0.1",
                        0,
                        KvLoadFailurePolicy.RECOMPUTE,
                        with(PATIENT, extra)),
                new KvCacheSpec("m", "float32", 4, LAYERS, KV_HEADS, HEAD_DIM, blockTokens, numBlocks),
                PagedKv.shared(numBlocks, LAYERS, KV_HEADS, blockTokens, HEAD_DIM, DType.F32));
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
        fillWithNoise(seed);
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
        return finished(request(requestId, params, numComputedTokens), blockIds, numComputedTokens, completed);
    }

    /// Ends a request that took blocks from elsewhere.
    KvHold finished(String requestId, RemotePrefill source, int[] blockIds, int numComputedTokens, boolean completed) {
        return finished(requestId, source.toParams(), blockIds, numComputedTokens, completed);
    }

    /// Decides on a load and starts it.
    void load(String requestId, RemotePrefill source, int[] blockIds, int numComputedTokens) {
        load(request(requestId, source.toParams(), source.numTokens()), blockIds, numComputedTokens);
    }

    /// The same for a request of any kind.
    void load(KvRequest request, int[] blockIds, int numComputedTokens) {
        int matched = scheduler().numNewMatchedTokens(request, numComputedTokens);
        scheduler().updateStateAfterAlloc(request, blockIds, numComputedTokens, matched);
        List<KvLoad> loads = scheduler().takeLoads();
        assertThat(loads).hasSize(1);
        loads.forEach(KvLoad::start);
    }

    @Override
    protected KvConnector connector() {
        return connector;
    }
}
