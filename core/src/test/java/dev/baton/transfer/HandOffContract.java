package dev.baton.transfer;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import dev.baton.transfer.KvEvent.KvArrived;
import dev.baton.transfer.KvEvent.LeaseReleased;
import dev.baton.transfer.tcp.KvThreads;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;

/// What every connector that hands blocks over has to do to the bytes, beneath the engines of [ConnectorContract]:
/// a connector's subclass makes instances and says what a router tells them.
@ExtendWith(KvThreads.class)
@Timeout(value = 120, unit = TimeUnit.SECONDS)
public abstract class HandOffContract<I extends ConnectorInstance> {
    /// An instance that prefills, or decodes, or both.
    protected abstract I instance(KvRole role, String engineId, int blockTokens, int numBlocks);

    /// The block sizes that it can have.
    protected int[] blockSizes() {
        return new int[] {1, 8, 16, 32};
    }

    /// What the prefiller is asked.
    protected KvRequest prefillRequest(String id, int numTokens) {
        return new KvRequest(id, id, new int[numTokens], KvTransferParams.REMOTE_DECODE);
    }

    /// What the decoder is asked about a request that the prefiller has answered.
    ///
    /// @param prefillId the request's id on the prefiller
    protected KvRequest decodeRequest(
            I prefiller, String id, String prefillId, int numTokens, KvTransferParams answer) {
        return new KvRequest(id, id, new int[numTokens], answer);
    }

    private I prefiller(int blockTokens, int numBlocks) {
        return instance(KvRole.KV_PRODUCER, "prefiller-1", blockTokens, numBlocks);
    }

    private I decoder(int blockTokens, int numBlocks) {
        return instance(KvRole.KV_CONSUMER, "decoder-1", blockTokens, numBlocks);
    }

    /// Holds blocks for a decoder, as after a prefill.
    ///
    /// @return what the decoder is asked
    private KvRequest hold(I prefiller, String id, String decodeId, int[] blocks, int numTokens) {
        KvHold hold = prefiller.finished(prefillRequest(id, numTokens), blocks, numTokens, true);
        assertThat(hold).isInstanceOf(KvHold.UnderLease.class);
        return decodeRequest(prefiller, decodeId, id, numTokens, hold.answer());
    }

    private static void load(ConnectorInstance decoder, KvRequest request, int[] blocks, int numComputedTokens) {
        int matched = decoder.scheduler().numNewMatchedTokens(request, numComputedTokens);
        assertThat(matched).isEqualTo(request.numTokens() - numComputedTokens);
        decoder.scheduler().updateStateAfterAlloc(request, blocks, numComputedTokens, matched);
        List<KvLoad> loads = decoder.scheduler().takeLoads();
        assertThat(loads).hasSize(1);
        loads.forEach(KvLoad::start);
    }

    @Test
    void missingBlocksArriveAsTheyWereAndNoOtherBlockChanges() {
        for (int blockTokens : blockSizes()) {
            Random random = new Random(blockTokens);
            try (I prefiller = prefiller(blockTokens, 40);
                    I decoder = decoder(blockTokens, 50)) {
                prefiller.fillWithNoise(1);
                decoder.fillWithNoise(2);
                for (int round = 0; round < 40; round++) {
                    int tokens = round % 4 == 0
                            ? (1 + random.nextInt(39)) * blockTokens
                            : 1 + random.nextInt(40 * blockTokens);
                    int blocks = Math.ceilDiv(tokens, blockTokens);
                    int cached = random.nextInt(blocks); // whole blocks, less than all
                    int[] remote = ConnectorInstance.someBlocks(random, 40, blocks);
                    int[] local = ConnectorInstance.someBlocks(random, 50, blocks);
                    List<byte[]> before =
                            IntStream.range(0, 50).mapToObj(decoder::block).toList();
                    KvRequest request = hold(prefiller, "p" + round, "d" + round, remote, tokens);
                    load(decoder, request, local, cached * blockTokens);
                    assertThat(decoder.nextEvent())
                            .isEqualTo(new KvArrived(
                                    "d" + round,
                                    tokens - cached * blockTokens,
                                    (blocks - cached) * decoder.pool.blockBytes()));
                    assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("p" + round));
                    Set<Integer> loaded = new HashSet<>();
                    for (int i = cached; i < blocks; i++) {
                        loaded.add(local[i]);
                        assertThat(decoder.block(local[i])).isEqualTo(prefiller.block(remote[i]));
                    }
                    for (int b = 0; b < 50; b++) {
                        if (!loaded.contains(b)) {
                            assertThat(decoder.block(b)).isEqualTo(before.get(b));
                        }
                    }
                    decoder.finished(request, local, tokens, true);
                }
                KvTransferStats stats = decoder.connector().stats();
                assertThat(stats.numTransfers()).isEqualTo(40);
                assertThat(stats.bytesTransferred()).isPositive();
            }
        }
    }

    @Test
    void fullLocalHitReleasesTheLeaseWithoutALoad() {
        try (I prefiller = prefiller(16, 8);
                I decoder = decoder(16, 8)) {
            KvRequest request = hold(prefiller, "p", "d", new int[] {1, 2}, 32);
            assertThat(decoder.scheduler().numNewMatchedTokens(request, 32)).isZero();
            decoder.scheduler().updateStateAfterAlloc(request, new int[] {3, 4}, 32, 0);
            decoder.scheduler().takeLoads().forEach(KvLoad::start);
            assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("p"));
            assertThat(decoder.worker().numLoads()).isZero();
            assertThat(decoder.connector().stats().numTransfers()).isZero();
        }
    }

    @Test
    void requestIsLoadedAtMostOnce() {
        try (I prefiller = prefiller(16, 8);
                I decoder = decoder(16, 8)) {
            KvRequest request = hold(prefiller, "p", "d", new int[] {1}, 16);
            load(decoder, request, new int[] {0}, 0);
            assertThat(decoder.nextEvent()).isInstanceOf(KvArrived.class);
            assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("p"));
            assertThat(decoder.scheduler().numNewMatchedTokens(request, 0)).isZero();
        }
    }

    @Test
    void idsMayBeUsedAgainAndNeverShowOldBlocks() {
        try (I prefiller = prefiller(16, 8);
                I decoder = decoder(16, 8)) {
            prefiller.fillWithNoise(1);
            for (int round = 0; round < 3; round++) {
                KvRequest request = hold(prefiller, "p", "d", new int[] {round}, 16);
                load(decoder, request, new int[] {5}, 0);
                assertThat(decoder.nextEvent()).isInstanceOf(KvArrived.class);
                assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("p"));
                assertThat(decoder.block(5)).isEqualTo(prefiller.block(round));
                decoder.finished(request, new int[] {5}, 16, true);
            }
        }
    }

    @Test
    void loadThatIsCancelledAtOnceEndsOnceAndReleases() {
        try (I prefiller = prefiller(16, 8);
                I decoder = decoder(16, 8)) {
            for (int round = 0; round < 20; round++) {
                KvRequest request = hold(prefiller, "p" + round, "d" + round, new int[] {1}, 16);
                load(decoder, request, new int[] {0}, 0);
                decoder.worker().cancelLoad("d" + round);
                assertThat(decoder.nextEvent().requestId()).isEqualTo("d" + round); // arrived or cancelled, once
                assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("p" + round));
            }
        }
    }

    @Test
    void requestThatEndsBeforeItsLoadReleasesTheLease() {
        try (I prefiller = prefiller(16, 8);
                I decoder = decoder(16, 8)) {
            KvRequest queued = hold(prefiller, "queued", "d1", new int[] {1}, 16);
            decoder.finished(queued, new int[0], 0, false);
            assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("queued"));

            KvRequest allocated = hold(prefiller, "allocated", "d2", new int[] {2}, 16);
            assertThat(decoder.scheduler().numNewMatchedTokens(allocated, 0)).isEqualTo(16);
            decoder.scheduler().updateStateAfterAlloc(allocated, new int[] {5}, 0, 16);
            decoder.finished(allocated, new int[] {5}, 0, false);
            assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("allocated"));
            assertThat(decoder.scheduler().takeLoads()).isEmpty();

            KvRequest refused = hold(prefiller, "refused", "d3", new int[] {3}, 16);
            decoder.worker().release(refused.params());
            assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("refused"));
        }
    }

    @Test
    void oneInstanceIsBothAndNeverDialsItself() {
        try (I one = instance(KvRole.KV_BOTH, "one", 16, 8);
                I two = instance(KvRole.KV_BOTH, "two", 16, 8)) {
            one.fillWithNoise(1);
            KvRequest own = hold(one, "own", "d", new int[] {2}, 16);
            assertThat(one.scheduler().numNewMatchedTokens(own, 0)).isZero();
            one.finished(own, new int[0], 0, true);
            assertThat(one.nextEvent()).isEqualTo(new LeaseReleased("own"));

            load(two, hold(one, "p", "d", new int[] {1}, 16), new int[] {0}, 0);
            assertThat(two.nextEvent()).isInstanceOf(KvArrived.class);
            assertThat(one.nextEvent()).isEqualTo(new LeaseReleased("p"));
            assertThat(two.block(0)).isEqualTo(one.block(1));
        }
    }

    @Test
    void manyLoadsAtOnceFromSeveralPrefillersAllArrive() {
        int loads = 200;
        try (I first = instance(KvRole.KV_BOTH, "p1", 16, 64);
                I second = instance(KvRole.KV_BOTH, "p2", 16, 64);
                I decoder = decoder(16, loads * 4)) {
            first.fillWithNoise(1);
            second.fillWithNoise(2);
            Random random = new Random(7);
            List<int[]> remotes = new ArrayList<>();
            for (int i = 0; i < loads; i++) {
                int[] remote = ConnectorInstance.someBlocks(random, 64, 4);
                remotes.add(remote);
                KvRequest request = hold(i % 2 == 0 ? first : second, "p" + i, "d" + i, remote, 60);
                load(decoder, request, new int[] {4 * i, 4 * i + 1, 4 * i + 2, 4 * i + 3}, 0);
            }
            Set<String> arrived = new HashSet<>();
            for (int i = 0; i < loads; i++) {
                assertThat(decoder.nextEvent())
                        .isInstanceOfSatisfying(KvArrived.class, event -> arrived.add(event.requestId()));
            }
            assertThat(arrived).hasSize(loads);
            for (int i = 0; i < loads; i++) {
                for (int b = 0; b < 4; b++) {
                    assertThat(decoder.block(4 * i + b))
                            .isEqualTo((i % 2 == 0 ? first : second).block(remotes.get(i)[b]));
                }
            }
            for (I prefiller : List.of(first, second)) {
                await().atMost(Duration.ofSeconds(20))
                        .until(() -> prefiller.events.size() >= loads / 2
                                && prefiller.worker().numLeases() == 0);
                assertThat(prefiller.events).hasSize(loads / 2).allMatch(LeaseReleased.class::isInstance);
                prefiller.events.clear();
            }
        }
    }
}
