package dev.baton.transfer.tcp;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import dev.baton.transfer.KvEvent.KvArrived;
import dev.baton.transfer.KvEvent.LeaseReleased;
import dev.baton.transfer.KvPeer;
import dev.baton.transfer.KvRequest;
import dev.baton.transfer.KvTransferParams;
import dev.baton.transfer.PushParams;
import dev.baton.transfer.RemotePrefill;
import java.io.IOException;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// Decoders that are told of a prefiller before there is a request.
@ExtendWith(KvThreads.class)
@Timeout(60)
class ConnectTest {
    private static final int[] BLOCKS = {0, 1};
    private static final int TOKENS = 32;

    private static KvPeer peer(TestInstance instance) {
        return instance.connector.peer().orElseThrow();
    }

    /// How many connections the prefiller serves.
    private static long served() {
        return KvThreads.running().stream()
                .filter(name -> name.startsWith("baton-kv-serve-"))
                .count();
    }

    private static void awaitConnection() {
        await("a connection, and nobody who works on it").until(() -> served() == 1 && !isWorking());
    }

    private static boolean isWorking() {
        return Thread.getAllStackTraces().entrySet().stream()
                .filter(entry -> entry.getKey().getName().startsWith("baton-kv-load-"))
                .anyMatch(entry -> Arrays.stream(entry.getValue())
                        .noneMatch(frame -> frame.getMethodName().equals("getTask")));
    }

    private static void assertLoads(TestInstance prefiller, TestInstance decoder, RemotePrefill source, String id) {
        decoder.load(id, source, BLOCKS, 0);
        assertThat(decoder.nextEvent()).isInstanceOf(KvArrived.class);
        assertThat(prefiller.nextEvent()).isInstanceOf(LeaseReleased.class);
    }

    @Test
    void firstLoadUsesTheConnectionThatWasMadeWhenThePrefillerBecameKnown() throws IOException {
        try (TestInstance prefiller = TestInstance.prefiller(16, 4, Map.of()).fill(1);
                TestInstance decoder = TestInstance.decoder(16, 4, Map.of())) {
            RemotePrefill params = prefiller.hold("r", BLOCKS, TOKENS);
            try (KvProxy proxy = new KvProxy(prefiller.pool.blockBytes(), params, (_, block) -> List.of(block))) {
                RemotePrefill source = proxy.through(params);
                decoder.worker().connect(new KvPeer(source.engineId(), source.host(), source.port(), true));
                awaitConnection();
                assertLoads(prefiller, decoder, source, "d");
                assertThat(proxy.connections()).isEqualTo(1);
            }
        }
    }

    /// Connections on which a push waits for its prefill.
    private static long waiting() {
        return Thread.getAllStackTraces().entrySet().stream()
                .filter(entry -> entry.getKey().getName().startsWith("baton-kv-serve-"))
                .filter(entry -> Arrays.stream(entry.getValue())
                        .anyMatch(frame -> frame.getClassName().equals(PushSender.class.getName())))
                .count();
    }

    @Test
    void pushesThatWaitLeaveTheLoadsTheirRoom() {
        try (TestInstance prefiller = TestInstance.prefiller(16, 4, Map.of("kv_max_connections", 2))
                        .fill(1);
                TestInstance decoder = TestInstance.decoder(16, 8, Map.of())) {
            for (int i = 0; i < 2; i++) {
                KvTransferParams push = PushParams.decode(
                        "x" + i, peer(prefiller).engineId(), peer(prefiller).port());
                decoder.load(
                        new KvRequest("p" + i, "p" + i, new int[TOKENS], push), new int[] {4 + 2 * i, 5 + 2 * i}, 0);
            }
            await("both pushes wait").until(() -> waiting() == 2);
            assertLoads(prefiller, decoder, prefiller.hold("r", BLOCKS, TOKENS), "d");
            assertThat(waiting()).isEqualTo(2);
            for (int i = 0; i < 2; i++) {
                decoder.worker().cancelLoad("p" + i);
                assertThat(decoder.nextFailure("p" + i)).isEqualTo("cancelled");
            }
        }
    }

    @Test
    void connectionOutlivesItsIdleTimeOnBothSides() throws InterruptedException {
        Map<String, Object> brief = Map.of("kv_idle_timeout", 2.0, "kv_heartbeat_interval", 0.05);
        try (TestInstance prefiller = TestInstance.prefiller(16, 4, brief).fill(1);
                TestInstance decoder = TestInstance.decoder(16, 4, brief)) {
            decoder.worker().connect(peer(prefiller));
            awaitConnection();
            String thread = KvThreads.running().stream()
                    .filter(name -> name.startsWith("baton-kv-serve-"))
                    .findFirst()
                    .orElseThrow();
            Thread.sleep(5_000);
            assertThat(KvThreads.running()).contains(thread);
            assertLoads(prefiller, decoder, prefiller.hold("r", BLOCKS, TOKENS), "d");
            // A heartbeat that came while the load had the connection has made another, which goes unused.
            await("one connection").until(() -> served() == 1);
        }
    }

    @Test
    void prefillerThatDiesIsForgottenAndConnectedToAgainWhenItIsBack() {
        Map<String, Object> quick = Map.of("kv_heartbeat_interval", 0.05);
        try (TestInstance decoder = TestInstance.decoder(16, 4, quick)) {
            try (TestInstance prefiller = TestInstance.prefiller(16, 4, quick)) {
                decoder.worker().connect(peer(prefiller));
                awaitConnection();
            }
            await("given up").until(() -> decoder.connector.stats().numFailedNotifications() == 1);
            try (TestInstance again = TestInstance.prefiller(16, 4, quick).fill(1)) {
                decoder.worker().connect(peer(again));
                awaitConnection();
                assertLoads(again, decoder, again.hold("r", BLOCKS, TOKENS), "d");
            }
        }
    }

    @Test
    void peersThatNobodyNeedsYetLeaveRoomForThoseThatLoadsName() {
        try (TestInstance prefiller = TestInstance.prefiller(16, 8, Map.of()).fill(1);
                TestInstance decoder = TestInstance.decoder(16, 8, Map.of())) {
            for (int i = 0; i < Limits.MAX_PEERS; i++) {
                decoder.worker().connect(new KvPeer("p" + i, "127.0.0.1", 1, true));
            }
            assertLoads(prefiller, decoder, prefiller.hold("r", BLOCKS, TOKENS), "d");
        }
    }

    @ParameterizedTest
    @CsvSource({"p, 127.0.0.1, 0", "decoder-1, 127.0.0.1, 1", "p, 10.0.0.9, 1", "p, 'a\tb', 1", "'', 127.0.0.1, 1"})
    void peersThatCannotOrMayNotBeConnectedToAreLeftAlone(String engineId, String host, int port) {
        try (TestInstance decoder =
                TestInstance.decoder(16, 4, Map.of("kv_allowed_hosts", List.of("127.0.0.1", "a\tb")))) {
            decoder.worker().connect(new KvPeer(engineId, host, port, true));
            assertThat(KvThreads.running()).noneMatch(name -> name.startsWith("baton-kv-load-"));
        }
    }
}
