package dev.baton.transfer.tcp;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.kvcache.KvCacheSpec;
import dev.baton.transfer.KvEvent.KvArrived;
import dev.baton.transfer.KvEvent.LeaseReleased;
import dev.baton.transfer.KvLoadFailurePolicy;
import dev.baton.transfer.KvRole;
import dev.baton.transfer.KvTransferConfig;
import dev.baton.transfer.RemotePrefill;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/// Who may talk to whom.
@ExtendWith(KvThreads.class)
class HandshakeTest {
    private static final Map<String, String> FIELDS = Map.of(
            "tokenizer", "sha256:aa", "chat_template", "sha256:bb", "rope_scaling", "none", "weights", "sha256:cc");

    private static TestInstance instance(
            KvRole role, String engineId, int port, Map<String, String> fields, int minVersion, int maxVersion) {
        return instance(role, engineId, port, fields, minVersion, maxVersion, 16, "m");
    }

    private static TestInstance instance(
            KvRole role,
            String engineId,
            int port,
            Map<String, String> fields,
            int minVersion,
            int maxVersion,
            int blockTokens,
            String model) {
        return new TestInstance(
                new KvTransferConfig(
                        TcpConnector.NAME,
                        role,
                        engineId,
                        "127.0.0.1",
                        port,
                        KvLoadFailurePolicy.RECOMPUTE,
                        TestInstance.PATIENT),
                new KvCacheSpec(
                        model,
                        "float32",
                        4,
                        TestInstance.LAYERS,
                        TestInstance.KV_HEADS,
                        TestInstance.HEAD_DIM,
                        blockTokens,
                        4),
                fields,
                minVersion,
                maxVersion);
    }

    /// One load of one block; the lease is dropped if the load cannot release it.
    private static String loadFailure(TestInstance prefiller, TestInstance decoder) {
        RemotePrefill params = prefiller.hold("r", new int[] {0}, 8);
        decoder.load("d", params, new int[] {1}, 0);
        String reason = decoder.nextFailure("d");
        assertThat(prefiller.events).isEmpty();
        prefiller.worker().dropLease("r");
        assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("r"));
        return reason;
    }

    @ParameterizedTest
    @ValueSource(strings = {"tokenizer", "chat_template", "rope_scaling", "weights"})
    void fieldThatDiffersIsNamedWithBothValues(String field) {
        Map<String, String> other = new HashMap<>(FIELDS);
        other.put(field, "another");
        try (TestInstance prefiller = instance(KvRole.KV_PRODUCER, "p", 0, FIELDS, 1, 1);
                TestInstance decoder = instance(KvRole.KV_CONSUMER, "d", 0, other, 1, 1)) {
            assertThat(loadFailure(prefiller, decoder))
                    .contains(field + " differs", FIELDS.get(field) + "\" on p", "another\" on d");
        }
    }

    @Test
    void fieldThatOnlyOneSideHasIsNamed() {
        Map<String, String> fewer = new HashMap<>(FIELDS);
        fewer.remove("weights");
        try (TestInstance prefiller = instance(KvRole.KV_PRODUCER, "p", 0, FIELDS, 1, 1);
                TestInstance decoder = instance(KvRole.KV_CONSUMER, "d", 0, fewer, 1, 1)) {
            assertThat(loadFailure(prefiller, decoder)).contains("weights differs", "(absent)");
        }
    }

    @Test
    void layoutThatDiffersIsNamed() {
        try (TestInstance prefiller = instance(KvRole.KV_PRODUCER, "p", 0, FIELDS, 1, 1);
                TestInstance blocks = instance(KvRole.KV_CONSUMER, "d", 0, FIELDS, 1, 1, 8, "m")) {
            assertThat(loadFailure(prefiller, blocks)).contains("block_size differs", "\"16\" on p", "\"8\" on d");
        }
    }

    @Test
    void sameWeightsMayHaveAnotherNameOrPath() {
        try (TestInstance prefiller = instance(KvRole.KV_PRODUCER, "p", 0, FIELDS, 1, 1, 16, "/a/model");
                TestInstance decoder = instance(KvRole.KV_CONSUMER, "d", 0, FIELDS, 1, 1, 16, "model")) {
            decoder.load("d", prefiller.hold("r", new int[] {0}, 8), new int[] {1}, 0);
            assertThat(decoder.nextEvent()).isInstanceOf(KvArrived.class);
            assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("r"));
        }
    }

    @ParameterizedTest
    @CsvSource({"1,2,1,2", "1,2,1,1", "1,1,1,2", "2,3,1,2", "1,2,2,3"})
    void neighbouringVersionsAgree(int prefillerMin, int prefillerMax, int decoderMin, int decoderMax) {
        try (TestInstance prefiller = instance(KvRole.KV_PRODUCER, "p", 0, FIELDS, prefillerMin, prefillerMax)
                        .fill(1);
                TestInstance decoder = instance(KvRole.KV_CONSUMER, "d", 0, FIELDS, decoderMin, decoderMax)) {
            RemotePrefill params = prefiller.hold("r", new int[] {0}, 8);
            decoder.load("d", params, new int[] {1}, 0);
            assertThat(decoder.nextEvent()).isInstanceOf(KvArrived.class);
            assertThat(decoder.block(1)).isEqualTo(prefiller.block(0));
            assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("r"));
        }
    }

    @ParameterizedTest
    @CsvSource({"2,3,1,1", "1,1,2,3"})
    void versionsFurtherApartAreRefused(int prefillerMin, int prefillerMax, int decoderMin, int decoderMax) {
        try (TestInstance prefiller = instance(KvRole.KV_PRODUCER, "p", 0, FIELDS, prefillerMin, prefillerMax);
                TestInstance decoder = instance(KvRole.KV_CONSUMER, "d", 0, FIELDS, decoderMin, decoderMax)) {
            assertThat(loadFailure(prefiller, decoder))
                    .contains(
                            "no common protocol version",
                            "p speaks %d to %d".formatted(prefillerMin, prefillerMax),
                            "d speaks %d to %d".formatted(decoderMin, decoderMax));
        }
    }

    @Test
    void restartedPrefillerAtTheSameAddressRefusesTheOldHandOff() {
        try (TestInstance decoder = instance(KvRole.KV_CONSUMER, "d", 0, FIELDS, 1, 1)) {
            RemotePrefill old;
            try (TestInstance before = instance(KvRole.KV_PRODUCER, "p#1", 0, FIELDS, 1, 1)) {
                RemotePrefill warm = before.hold("warm", new int[] {0}, 8);
                decoder.load("d0", warm, new int[] {0}, 0);
                assertThat(decoder.nextEvent()).isInstanceOf(KvArrived.class);
                assertThat(before.nextEvent()).isEqualTo(new LeaseReleased("warm"));
                old = before.hold("r", new int[] {1}, 8);
                before.worker().dropLease("r");
                assertThat(before.nextEvent()).isEqualTo(new LeaseReleased("r"));
            }
            try (TestInstance after = instance(KvRole.KV_PRODUCER, "p#2", old.port(), FIELDS, 1, 1)
                    .fill(9)) {
                decoder.load("d1", old, new int[] {1}, 0); // over the connection of before, if it can
                assertThat(decoder.nextFailure("d1")).contains("p#1 was expected", "this is p#2");
                RemotePrefill fresh = after.hold("r", new int[] {1}, 8);
                decoder.load("d2", fresh, new int[] {2}, 0);
                assertThat(decoder.nextEvent()).isInstanceOf(KvArrived.class);
                assertThat(decoder.block(2)).isEqualTo(after.block(1));
                assertThat(after.nextEvent()).isEqualTo(new LeaseReleased("r"));
            }
        }
    }

    @Test
    void peerThatAcceptsAndSaysNothingIsGivenUp() throws Exception {
        try (ServerSocket mute = new ServerSocket(0, 4, InetAddress.getLoopbackAddress());
                TestInstance decoder = TestInstance.decoder(16, 4, Map.of("kv_peer_timeout", 0.3))) {
            RemotePrefill params = new RemotePrefill("p", "r", List.of(0), "127.0.0.1", mute.getLocalPort(), 1, 16);
            long start = System.nanoTime();
            decoder.load("d", params, new int[] {0}, 0);
            assertThat(decoder.nextFailure("d")).contains("no progress");
            assertThat(Duration.ofNanos(System.nanoTime() - start)).isLessThan(Duration.ofSeconds(8));
        }
    }

    @ParameterizedTest
    @CsvSource({
        "'',1,1,4",
        "127.0.0.1,0,1,4",
        "127.0.0.1,70000,1,4",
        "127.0.0.1,5,2,4",
        "127.0.0.1,5,1,17",
        "127.0.0.1,5,1,-1"
    })
    void parametersThatCannotWorkAreNotUsed(String host, int port, int tpSize, int numTokens) {
        try (TestInstance decoder = TestInstance.decoder(16, 4, Map.of())) {
            RemotePrefill params = new RemotePrefill("p", "r", List.of(0), host, port, tpSize, numTokens);
            assertThat(decoder.matched("d", params, 16, 0)).isZero();
            // what the engine does next must not trouble the connector either
            decoder.allocated("d", params, new int[] {0}, 0, 0);
            decoder.startLoads();
            decoder.worker().release(params.toParams());
        }
    }
}
