package dev.baton.transfer.p2p;

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
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;

/// A pool, a connector over it and the events that it reported: an instance without an engine.
final class P2pInstance extends ConnectorInstance {
    static final int LAYERS = 3;
    static final int KV_HEADS = 2;
    static final int HEAD_DIM = 16;

    /// Generous, for machines that have more to do; tests of a deadline set their own.
    private static final Map<String, Object> PATIENT =
            Map.of("kv_peer_timeout", 10, "kv_connect_timeout", 10, "kv_load_timeout", 60);

    final P2pNcclConnector connector;

    P2pInstance(
            KvRole role, int blockTokens, int numBlocks, Map<String, Object> extra, Map<String, String> compatibility) {
        this(
                role,
                spec(blockTokens, numBlocks),
                new PagedKv(numBlocks, LAYERS, KV_HEADS, blockTokens, HEAD_DIM, DType.F32),
                extra,
                compatibility);
    }

    static KvCacheSpec spec(int blockTokens, int numBlocks) {
        return new KvCacheSpec("m", "float32", 4, LAYERS, KV_HEADS, HEAD_DIM, blockTokens, numBlocks);
    }

    P2pInstance(
            KvRole role, KvCacheSpec spec, PagedKv pool, Map<String, Object> extra, Map<String, String> compatibility) {
        super(pool);
        Map<String, Object> settings = new HashMap<>(PATIENT);
        settings.putAll(extra);
        this.connector = P2pNcclConnector.start(
                new KvTransferConfig(
                        P2pNcclConnector.NAME,
                        role,
                        "an engine",
                        "127.0.0.1",
                        0,
                        KvLoadFailurePolicy.RECOMPUTE,
                        settings),
                spec,
                pool,
                compatibility,
                events::add);
    }

    static P2pInstance prefiller(Map<String, Object> extra) {
        return new P2pInstance(KvRole.KV_PRODUCER, 16, 32, extra, Map.of("tokenizer", "t1"));
    }

    static P2pInstance decoder(Map<String, Object> extra) {
        return new P2pInstance(KvRole.KV_CONSUMER, 16, 32, extra, Map.of("tokenizer", "t1"));
    }

    /// Fills the pool with noise that differs everywhere.
    P2pInstance fill(long seed) {
        fillWithNoise(seed);
        return this;
    }

    String address() {
        return connector.zmqAddress();
    }

    /// What a proxy makes of the addresses of two instances, and an engine of that.
    static String id(String prefiller, String decoder, String unique) {
        return "cmpl-___prefill_addr_%s___decode_addr_%s_%s-0".formatted(prefiller, decoder, unique);
    }

    /// The leg of a request at one of its two instances; its prompt is always the same for a length.
    static KvRequest leg(String requestId, String externalId, int numTokens) {
        int[] prompt = IntStream.range(0, numTokens).map(i -> 7 * i + numTokens).toArray();
        return new KvRequest(requestId, externalId, prompt, KvTransferParams.NONE);
    }

    /// Ends a prefill of one output token.
    KvHold prefilled(KvRequest request, int... blockIds) {
        return finished(request, blockIds, request.numTokens(), true);
    }

    /// Decides on a load and starts it.
    void load(KvRequest request, int[] blockIds, int numComputedTokens) {
        int matched = scheduler().numNewMatchedTokens(request, numComputedTokens);
        assertThat(matched).isEqualTo(request.numTokens() - numComputedTokens);
        scheduler().updateStateAfterAlloc(request, blockIds, numComputedTokens, matched);
        List<KvLoad> loads = scheduler().takeLoads();
        assertThat(loads).hasSize(1);
        loads.forEach(KvLoad::start);
    }

    /// Ends a decoder's request, as after its last token.
    void done(KvRequest request, int... blockIds) {
        assertThat(finished(request, blockIds, request.numTokens(), true)).isEqualTo(new KvHold.FreeNow());
    }

    @Override
    protected KvConnector connector() {
        return connector;
    }

    /// And nothing that was pushed may be left.
    @Override
    public void close() {
        long left = connector.numArrivedBytes();
        super.close();
        assertThat(left).as("bytes of arrived tensors left").isZero();
    }
}
