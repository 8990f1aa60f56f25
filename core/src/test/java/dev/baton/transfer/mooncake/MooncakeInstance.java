package dev.baton.transfer.mooncake;

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
final class MooncakeInstance extends ConnectorInstance {
    static final int LAYERS = 3;
    static final int KV_HEADS = 2;
    static final int HEAD_DIM = 16;

    /// Generous, for machines that have more to do; tests of a deadline set their own.
    private static final Map<String, Object> PATIENT =
            Map.of("kv_peer_timeout", 10, "kv_connect_timeout", 10, "bootstrap_port", 0, "abort_request_timeout", 60);

    final KvRole role;
    final String engineId;
    final MooncakeConnector connector;

    MooncakeInstance(
            KvRole role,
            String engineId,
            int blockTokens,
            int numBlocks,
            Map<String, Object> extra,
            Map<String, String> compatibility) {
        super(new PagedKv(numBlocks, LAYERS, KV_HEADS, blockTokens, HEAD_DIM, DType.F32));
        this.role = role;
        this.engineId = engineId;
        KvCacheSpec spec = new KvCacheSpec("m", "float32", 4, LAYERS, KV_HEADS, HEAD_DIM, blockTokens, numBlocks);
        Map<String, Object> settings = new HashMap<>(PATIENT);
        settings.putAll(extra);
        this.connector = MooncakeConnector.start(
                new KvTransferConfig(
                        MooncakeConnector.NAME,
                        role,
                        engineId,
                        "127.0.0.1",
                        0,
                        KvLoadFailurePolicy.RECOMPUTE,
                        settings),
                spec,
                pool,
                compatibility,
                events::add);
    }

    static MooncakeInstance prefiller(int blockTokens, int numBlocks, Map<String, Object> extra) {
        return new MooncakeInstance(
                KvRole.KV_PRODUCER, "prefiller-1", blockTokens, numBlocks, extra, Map.of("tokenizer", "t1"));
    }

    static MooncakeInstance decoder(int blockTokens, int numBlocks, Map<String, Object> extra) {
        return new MooncakeInstance(
                KvRole.KV_CONSUMER, "decoder-1", blockTokens, numBlocks, extra, Map.of("tokenizer", "t1"));
    }

    /// Fills the pool with noise that differs everywhere.
    MooncakeInstance fill(long seed) {
        fillWithNoise(seed);
        return this;
    }

    String bootstrap() {
        return connector.bootstrapAddress().orElseThrow();
    }

    /// The tokens of a prompt, always the same for a length.
    static int[] prompt(int numTokens) {
        return IntStream.range(0, numTokens).map(i -> 7 * i + numTokens).toArray();
    }

    /// What a router sends to the prefiller.
    static KvRequest prefill(String requestId, String transferId, int numTokens) {
        return request(
                requestId,
                numTokens,
                Map.of("do_remote_decode", true, "do_remote_prefill", false, "transfer_id", transferId));
    }

    /// What a router sends to the decoder.
    KvRequest decodeFrom(MooncakeInstance prefiller, String requestId, String transferId, int numTokens) {
        return decode(requestId, transferId, numTokens, prefiller.engineId, prefiller.bootstrap());
    }

    static KvRequest decode(
            String requestId, String transferId, int numTokens, String engineId, String bootstrapAddress) {
        return request(
                requestId,
                numTokens,
                Map.of(
                        "do_remote_decode",
                        false,
                        "do_remote_prefill",
                        true,
                        "transfer_id",
                        transferId,
                        "remote_engine_id",
                        engineId,
                        "remote_bootstrap_addr",
                        bootstrapAddress));
    }

    static KvRequest request(String requestId, int numTokens, Map<String, Object> params) {
        return new KvRequest(requestId, requestId, prompt(numTokens), new KvTransferParams(params));
    }

    /// Ends a prefill of one output token.
    KvHold finish(KvRequest request, int[] blockIds, boolean completed) {
        return finished(request, blockIds, completed ? request.numTokens() : 0, completed);
    }

    /// Holds blocks for a decoder, as after a prefill.
    void hold(String requestId, String transferId, int[] blockIds, int numTokens) {
        assertThat(finish(prefill(requestId, transferId, numTokens), blockIds, true))
                .isEqualTo(new KvHold.UnderLease(KvTransferParams.NONE));
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
    void done(KvRequest request, int[] blockIds) {
        assertThat(finished(request, blockIds, request.numTokens(), true)).isInstanceOf(KvHold.FreeNow.class);
    }

    @Override
    protected KvConnector connector() {
        return connector;
    }
}
