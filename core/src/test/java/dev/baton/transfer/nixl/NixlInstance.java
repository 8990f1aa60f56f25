package dev.baton.transfer.nixl;

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
import dev.baton.transfer.TransferException;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;
import java.util.function.Function;
import org.junit.jupiter.api.Assumptions;

/// A pool, a NIXL connector over it and the events that it reported: an instance without an engine.
final class NixlInstance extends ConnectorInstance {
    static final int LAYERS = 3;
    static final int KV_HEADS = 2;
    static final int HEAD_DIM = 16;
    static final int BLOCK_TOKENS = 16;

    final KvCacheSpec spec;
    final NixlConnector connector;

    NixlInstance(KvRole role, String engineId, int numBlocks, Map<String, Object> extra) {
        this(role, engineId, numBlocks, extra, Map.of("tokenizer", "t1"));
    }

    NixlInstance(
            KvRole role, String engineId, int numBlocks, Map<String, Object> extra, Map<String, String> compatibility) {
        this(
                role,
                engineId,
                new PagedKv(numBlocks, LAYERS, KV_HEADS, BLOCK_TOKENS, HEAD_DIM, DType.F32),
                extra,
                compatibility,
                LocalPool::new);
    }

    NixlInstance(
            KvRole role,
            String engineId,
            PagedKv pool,
            Map<String, Object> extra,
            Map<String, String> compatibility,
            Function<PagedKv, LocalPool> locals) {
        super(pool);
        spec = spec(pool.numBlocks());
        Map<String, Object> all = new HashMap<>(Map.of("vllm_block_size", 32, "kv_peer_timeout", 20));
        all.putAll(extra);
        connector = NixlConnector.start(
                new KvTransferConfig(
                        NixlConnector.NAME, role, engineId, "127.0.0.1", 0, KvLoadFailurePolicy.RECOMPUTE, all),
                spec,
                pool,
                compatibility,
                events::add,
                environment(),
                locals);
    }

    static KvCacheSpec spec(int numBlocks) {
        return new KvCacheSpec("m", "float32", 4, LAYERS, KV_HEADS, HEAD_DIM, BLOCK_TOKENS, numBlocks);
    }

    static Map<String, String> environment() {
        Map<String, String> environment = new HashMap<>(System.getenv());
        environment.remove("VLLM_NIXL_SIDE_CHANNEL_PORT");
        environment.remove("VLLM_NIXL_SIDE_CHANNEL_HOST");
        return environment;
    }

    /// Where NIXL is; a test that needs it is skipped where it is not.
    static NixlHome home() {
        try {
            return NixlHome.find(Optional.empty(), System.getenv());
        } catch (TransferException e) {
            Assumptions.abort(e.getMessage());
            throw e;
        }
    }

    static NixlInstance prefiller(Map<String, Object> extra) {
        home();
        return new NixlInstance(KvRole.KV_PRODUCER, "prefiller-1", 64, extra);
    }

    static NixlInstance decoder(Map<String, Object> extra) {
        home();
        return new NixlInstance(KvRole.KV_CONSUMER, "decoder-1", 64, extra);
    }

    /// Fills the pool with noise that differs everywhere.
    NixlInstance fill(long seed) {
        fillWithNoise(seed);
        return this;
    }

    static KvRequest request(String requestId, KvTransferParams params, int promptTokens) {
        return new KvRequest(requestId, requestId, new int[promptTokens], params);
    }

    /// Holds blocks for a decoder, as after a prefill.
    KvTransferParams hold(String requestId, int[] blockIds, int numTokens) {
        KvTransferParams decode = new KvTransferParams(Map.of("do_remote_decode", true));
        KvHold hold = finished(requestId, decode, blockIds, numTokens, true);
        assertThat(hold).isInstanceOf(KvHold.UnderLease.class);
        return hold.answer();
    }

    KvHold finished(
            String requestId, KvTransferParams params, int[] blockIds, int numComputedTokens, boolean completed) {
        return finished(request(requestId, params, numComputedTokens), blockIds, numComputedTokens, completed);
    }

    /// Decides on a load and starts it.
    void load(String requestId, KvTransferParams params, int promptTokens, int[] blockIds, int numComputedTokens) {
        KvRequest request = request(requestId, params, promptTokens);
        int matched = connector.scheduler().numNewMatchedTokens(request, numComputedTokens);
        connector.scheduler().updateStateAfterAlloc(request, blockIds, numComputedTokens, matched);
        connector.scheduler().takeLoads().forEach(KvLoad::start);
    }

    @Override
    protected KvConnector connector() {
        return connector;
    }
}
