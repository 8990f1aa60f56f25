package dev.baton.transfer.tcp;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.awaitility.Awaitility.await;

import dev.baton.transfer.KvEvent.KvArrived;
import dev.baton.transfer.KvEvent.LeaseReleased;
import dev.baton.transfer.KvRole;
import dev.baton.transfer.RemotePrefill;
import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.SocketTimeoutException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// Hand-offs between two instances over loopback, when nothing goes wrong.
@ExtendWith(KvThreads.class)
class TcpConnectorTest {

    /// `count` different blocks of a pool of `of`, in random order.
    static int[] someBlocks(Random random, int of, int count) {
        List<Integer> all = new ArrayList<>(IntStream.range(0, of).boxed().toList());
        Collections.shuffle(all, random);
        return all.subList(0, count).stream().mapToInt(Integer::intValue).toArray();
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 8, 16, 32})
    void missingBlocksArriveAsTheyWereAndNoOtherBlockChanges(int blockTokens) {
        Random random = new Random(blockTokens);
        try (TestInstance prefiller =
                        TestInstance.prefiller(blockTokens, 40, Map.of()).fill(1);
                TestInstance decoder =
                        TestInstance.decoder(blockTokens, 50, Map.of()).fill(2)) {
            for (int round = 0; round < 50; round++) {
                int tokens = 1 + random.nextInt(40 * blockTokens);
                int blocks = Math.ceilDiv(tokens, blockTokens);
                int cached = random.nextInt(Math.ceilDiv(tokens, blockTokens)); // whole blocks, less than all
                int[] remote = someBlocks(random, 40, blocks);
                int[] local = someBlocks(random, 50, blocks);
                String id = "r" + round;
                RemotePrefill params = prefiller.hold(id, remote, tokens);
                assertThat(params.blockIds()).hasSize(blocks);
                assertThat(params.numTokens()).isEqualTo(tokens);

                List<byte[]> before =
                        IntStream.range(0, 50).mapToObj(decoder::block).toList();
                decoder.load("d-" + id, params, local, cached * blockTokens);
                assertThat(decoder.nextEvent())
                        .isEqualTo(new KvArrived(
                                "d-" + id,
                                tokens - blockTokens * cached,
                                (blocks - cached) * decoder.pool.blockBytes()));
                assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased(id));

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
                decoder.finished("d-" + id, params, local, tokens, true);
            }
            assertThat(decoder.connector.stats().numTransfers()).isEqualTo(50);
            assertThat(decoder.connector.stats().bytesTransferred())
                    .isEqualTo(prefiller.connector.stats().bytesSent())
                    .isPositive();
        }
    }

    @Test
    void fullLocalHitReleasesTheLeaseWithoutALoad() {
        try (TestInstance prefiller = TestInstance.prefiller(16, 8, Map.of());
                TestInstance decoder = TestInstance.decoder(16, 8, Map.of())) {
            RemotePrefill params = prefiller.hold("r", new int[] {1, 2}, 32);
            assertThat(decoder.matched("d", params, 32, 32)).isZero();
            decoder.allocated("d", params, new int[] {3, 4}, 32, 0);
            decoder.startLoads();
            assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("r"));
            assertThat(decoder.worker().numLoads()).isZero();
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 16, 31, 33, 48})
    void blocksOfAPromptOfAnotherLengthAreNotLoadedAndTheirLeaseIsReleased(int promptTokens) {
        try (TestInstance prefiller = TestInstance.prefiller(16, 8, Map.of());
                TestInstance decoder = TestInstance.decoder(16, 8, Map.of())) {
            RemotePrefill params = prefiller.hold("r", new int[] {1, 2}, 32);
            assertThat(decoder.matched("d", params, promptTokens, 0)).isZero();
            decoder.allocated("d", params, new int[] {3, 4, 5}, 0, 0);
            decoder.startLoads();
            assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("r"));
            assertThat(decoder.worker().numLoads()).isZero();
        }
    }

    @Test
    void prefillerThatIsNotAmongTheAllowedHostsIsNeverDialled() throws IOException {
        try (ServerSocket elsewhere = new ServerSocket(0, 4, InetAddress.getLoopbackAddress());
                TestInstance decoder =
                        TestInstance.decoder(16, 8, Map.of("kv_allowed_hosts", List.of("10.0.0.1", "prefiller")))) {
            RemotePrefill params =
                    new RemotePrefill("p", "r", List.of(0), "127.0.0.1", elsewhere.getLocalPort(), 1, 16);
            assertThat(decoder.matched("d", params, 16, 0)).isZero();
            decoder.allocated("d", params, new int[] {3}, 0, 0);
            decoder.startLoads();
            decoder.finished("d", params, new int[] {3}, 16, true);
            decoder.worker().release(params.toParams());
            elsewhere.setSoTimeout(300);
            assertThatThrownBy(elsewhere::accept).isInstanceOf(SocketTimeoutException.class);
        }
    }

    @Test
    void prefillerThatIsAmongTheAllowedHostsIsLoadedFrom() {
        try (TestInstance prefiller = TestInstance.prefiller(16, 8, Map.of()).fill(1);
                TestInstance decoder =
                        TestInstance.decoder(16, 8, Map.of("kv_allowed_hosts", List.of("10.0.0.1", "127.0.0.1")))) {
            decoder.load("d", prefiller.hold("r", new int[] {1}, 16), new int[] {0}, 0);
            assertThat(decoder.nextEvent()).isInstanceOf(KvArrived.class);
            assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("r"));
        }
    }

    @Test
    void requestThatEndsBeforeItsLoadReleasesTheLease() {
        try (TestInstance prefiller = TestInstance.prefiller(16, 8, Map.of());
                TestInstance decoder = TestInstance.decoder(16, 8, Map.of())) {
            RemotePrefill queued = prefiller.hold("queued", new int[] {1}, 16);
            decoder.finished("d1", queued, new int[0], 0, false);
            assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("queued"));

            RemotePrefill allocated = prefiller.hold("allocated", new int[] {2}, 16);
            assertThat(decoder.matched("d2", allocated, 16, 0)).isEqualTo(16);
            decoder.allocated("d2", allocated, new int[] {5}, 0, 16);
            decoder.finished("d2", allocated, new int[] {5}, 0, false);
            assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("allocated"));
            assertThat(decoder.scheduler().takeLoads()).isEmpty();
        }
    }

    @Test
    void requestIsLoadedAtMostOnce() {
        try (TestInstance prefiller = TestInstance.prefiller(16, 8, Map.of());
                TestInstance decoder = TestInstance.decoder(16, 8, Map.of())) {
            RemotePrefill params = prefiller.hold("r", new int[] {1}, 16);
            decoder.load("d", params, new int[] {0}, 0);
            assertThat(decoder.nextEvent()).isInstanceOf(KvArrived.class);
            assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("r"));
            assertThat(decoder.matched("d", params, 16, 0)).isZero();
        }
    }

    @Test
    void oneInstanceIsBothAndNeverDialsItself() {
        try (TestInstance both = new TestInstance(KvRole.KV_BOTH, "e", 16, 8, Map.of())) {
            RemotePrefill params = both.hold("r", new int[] {1}, 16);
            assertThat(both.matched("d", params, 16, 0)).isZero();
            both.finished("d", params, new int[0], 0, true);
            assertThat(both.nextEvent()).isEqualTo(new LeaseReleased("r"));
        }
    }

    @Test
    void manyLoadsAtOnceFromSeveralPrefillersAllArrive() {
        int loads = 200;
        try (TestInstance one = new TestInstance(KvRole.KV_BOTH, "p1", 16, 64, TestInstance.PATIENT).fill(1);
                TestInstance two = new TestInstance(KvRole.KV_BOTH, "p2", 16, 64, TestInstance.PATIENT).fill(2);
                TestInstance decoder = TestInstance.decoder(16, loads * 4, Map.of())) {
            Random random = new Random(7);
            List<int[]> remotes = new ArrayList<>();
            for (int i = 0; i < loads; i++) {
                int[] remote = someBlocks(random, 64, 4);
                remotes.add(remote);
                RemotePrefill params = (i % 2 == 0 ? one : two).hold("r" + i, remote, 60);
                decoder.load("d" + i, params, new int[] {4 * i, 4 * i + 1, 4 * i + 2, 4 * i + 3}, 0);
            }
            Set<String> arrived = new HashSet<>();
            for (int i = 0; i < loads; i++) {
                assertThat(decoder.nextEvent())
                        .isInstanceOfSatisfying(KvArrived.class, event -> arrived.add(event.requestId()));
            }
            assertThat(arrived).hasSize(loads);
            for (int i = 0; i < loads; i++) {
                for (int b = 0; b < 4; b++) {
                    assertThat(decoder.block(4 * i + b)).isEqualTo((i % 2 == 0 ? one : two).block(remotes.get(i)[b]));
                }
            }
            for (TestInstance prefiller : List.of(one, two)) {
                await().atMost(Duration.ofSeconds(10))
                        .until(() -> prefiller.worker().numLeases() == 0);
                assertThat(prefiller.events).hasSize(loads / 2).allMatch(LeaseReleased.class::isInstance);
                prefiller.events.clear();
            }
        }
    }

    @Test
    void loadWorksAfterTheConnectionWasIdleAndClosedByThePrefiller() throws InterruptedException {
        try (TestInstance prefiller = TestInstance.prefiller(16, 8, Map.of("kv_idle_timeout", 0.2))
                        .fill(1);
                TestInstance decoder = TestInstance.decoder(16, 8, Map.of())) {
            for (int round = 0; round < 3; round++) {
                RemotePrefill params = prefiller.hold("r" + round, new int[] {round}, 16);
                decoder.load("d" + round, params, new int[] {round}, 0);
                assertThat(decoder.nextEvent()).isInstanceOf(KvArrived.class);
                assertThat(decoder.block(round)).isEqualTo(prefiller.block(round));
                assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("r" + round));
                Thread.sleep(round == 0 ? 500 : 1_200); // beyond the prefiller's idle timeout, and beyond trust
            }
        }
    }

    @Test
    void describeSaysRoleAndAddress() {
        try (TestInstance prefiller = TestInstance.prefiller(16, 8, Map.of());
                TestInstance decoder = TestInstance.decoder(16, 8, Map.of())) {
            assertThat(prefiller.connector.describe()).matches("TcpConnector kv_producer on 127\\.0\\.0\\.1:\\d+");
            assertThat(decoder.connector.describe()).isEqualTo("TcpConnector kv_consumer, dials only");
        }
    }
}
