package dev.baton.transfer.nixl;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.kvcache.KvCacheSpec;
import dev.baton.tensor.DType;
import dev.baton.tensor.PagedKv;
import dev.baton.transfer.KvEvent;
import dev.baton.transfer.KvFinished;
import dev.baton.transfer.KvHold;
import dev.baton.transfer.KvLoad;
import dev.baton.transfer.KvLoadFailurePolicy;
import dev.baton.transfer.KvRequest;
import dev.baton.transfer.KvRole;
import dev.baton.transfer.KvTransferConfig;
import dev.baton.transfer.KvTransferParams;
import dev.baton.transfer.TransferException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Assumptions;

/// A pool, a NIXL connector over it and the events that it reported: an instance without an engine.
final class NixlInstance implements AutoCloseable {
    static final int LAYERS = 3;
    static final int KV_HEADS = 2;
    static final int HEAD_DIM = 16;
    static final int BLOCK_TOKENS = 16;

    final KvCacheSpec spec;
    final PagedKv pool;
    final NixlConnector connector;
    final LinkedBlockingQueue<KvEvent> events = new LinkedBlockingQueue<>();

    NixlInstance(KvRole role, String engineId, int numBlocks, Map<String, Object> extra) {
        this(role, engineId, numBlocks, extra, Map.of("tokenizer", "t1"));
    }

    NixlInstance(
            KvRole role, String engineId, int numBlocks, Map<String, Object> extra, Map<String, String> compatibility) {
        spec = new KvCacheSpec("m", "float32", 4, LAYERS, KV_HEADS, HEAD_DIM, BLOCK_TOKENS, numBlocks);
        pool = new PagedKv(numBlocks, LAYERS, KV_HEADS, BLOCK_TOKENS, HEAD_DIM, DType.F32);
        Map<String, Object> all = new HashMap<>(Map.of("vllm_block_size", 32, "kv_peer_timeout", 20));
        all.putAll(extra);
        connector = NixlConnector.start(
                new KvTransferConfig(
                        NixlConnector.NAME, role, engineId, "127.0.0.1", 0, KvLoadFailurePolicy.RECOMPUTE, all),
                spec,
                pool,
                compatibility,
                events::add,
                environment());
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
        Random random = new Random(seed);
        MemorySegment segment = pool.segment();
        for (long offset = 0; offset < segment.byteSize(); offset += Integer.BYTES) {
            segment.set(ValueLayout.JAVA_INT, offset, random.nextInt());
        }
        return this;
    }

    byte[] block(int id) {
        return pool.block(id).toArray(ValueLayout.JAVA_BYTE);
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
        return connector
                .scheduler()
                .requestFinished(new KvFinished(
                        request(requestId, params, numComputedTokens),
                        new int[numComputedTokens],
                        numComputedTokens,
                        blockIds,
                        numComputedTokens,
                        completed));
    }

    /// Decides on a load and starts it.
    void load(String requestId, KvTransferParams params, int promptTokens, int[] blockIds, int numComputedTokens) {
        KvRequest request = request(requestId, params, promptTokens);
        int matched = connector.scheduler().numNewMatchedTokens(request, numComputedTokens);
        connector.scheduler().updateStateAfterAlloc(request, blockIds, numComputedTokens, matched);
        connector.scheduler().takeLoads().forEach(KvLoad::start);
    }

    KvEvent nextEvent() {
        try {
            KvEvent event = events.poll(20, TimeUnit.SECONDS);
            assertThat(event).as("an event within 20 s").isNotNull();
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

    /// Closes, and checks that nothing was left over.
    @Override
    public void close() {
        int leases = connector.worker().numLeases();
        int loads = connector.worker().numLoads();
        connector.close();
        pool.close();
        assertThat(leases).as("leases left").isZero();
        assertThat(loads).as("loads left").isZero();
        assertThat(events).as("events that no test expected").isEmpty();
    }
}
