package dev.baton.engine;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.kvcache.KvCacheManager;
import dev.baton.kvcache.KvCacheSpec;
import dev.baton.transfer.KvTransferParams;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

/// For how long a step is not launched ahead because blocks are about to arrive.
class KvTransfersTest {
    private static final KvCacheSpec SPEC = new KvCacheSpec("m", "float32", 4, 1, 1, 2, 4, 64);
    private static final KvTransferParams PULL = new KvTransferParams(
            Map.of("do_remote_prefill", true, "remote_block_ids", List.of(1), "remote_engine_id", "p"));
    private static final KvTransferParams PUSH =
            new KvTransferParams(Map.of("do_remote_prefill", true, "transfer_id", "t", "remote_engine_id", "p"));

    private final KvCacheManager kv = new KvCacheManager(SPEC, true, 1);
    private final KvTransfers transfers = new KvTransfers(new AllKnowing(), SPEC);

    private Request load(KvTransferParams params) {
        Request request = new Request(
                new EngineRequest("r", new int[] {1, 2, 3, 4, 5}, SamplingParams.greedy(9), params),
                ignored -> {},
                kv.newTable(),
                0,
                new int[0]);
        assertThat(kv.allocateSlots(request.blocks, 5)).isTrue();
        assertThat(transfers.beginLoad(request)).isTrue();
        return request;
    }

    @Test
    void blocksOfAPromptThatIsComputedAreExpectedSoonAndNotForEver() {
        assertThat(transfers.isAboutToArrive(0)).isFalse();
        Request request = load(PULL);
        long begun = request.loadStartNanos;
        assertThat(transfers.isAboutToArrive(begun)).isTrue();
        assertThat(transfers.isAboutToArrive(begun + KvTransfers.SOON_NANOS - 1))
                .isTrue();
        assertThat(transfers.isAboutToArrive(begun + KvTransfers.SOON_NANOS)).isFalse();
        transfers.loadEnded("r", KvTransfers.ARRIVED, 1);
        assertThat(transfers.isAboutToArrive(begun)).isFalse();
    }

    @Test
    void blocksOfAPushAreExpectedFromItsFirstTokenOn() {
        Request request = load(PUSH);
        assertThat(transfers.isAboutToArrive(request.loadStartNanos)).isFalse();
        request.noteFirstToken();
        request.append(7);
        long token = request.firstTokenNanos();
        assertThat(transfers.isAboutToArrive(token)).isTrue();
        assertThat(transfers.isAboutToArrive(token + KvTransfers.SOON_NANOS)).isFalse();
        request.answered = true; // the token was all that it wanted
        assertThat(transfers.isAboutToArrive(token)).isFalse();
    }
}
