package dev.baton.transfer.p2p;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.awaitility.Awaitility.await;

import dev.baton.kvcache.KvCacheSpec;
import dev.baton.transfer.KvEvent.KvArrived;
import dev.baton.transfer.KvEvent.LeaseReleased;
import dev.baton.transfer.KvLoadFailurePolicy;
import dev.baton.transfer.KvRequest;
import dev.baton.transfer.KvRole;
import dev.baton.transfer.KvTransferConfig;
import dev.baton.transfer.p2p.P2pOptions.SendType;
import dev.baton.transfer.tcp.FakeDevice;
import dev.baton.transfer.tcp.KvThreads;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

/// Hand-offs between pools on devices, whose tensors travel from device to device.
@ExtendWith(KvThreads.class)
@Timeout(60)
class P2pDeviceTest {
    private static final KvCacheSpec SPEC = P2pInstance.spec(16, 32);
    private static final int[] THERE = {5, 1, 9, 7};
    private static final int[] HERE = {2, 30, 4, 8};

    private final FakeDevice from = device(1);
    private final FakeDevice to = device(2);

    private static FakeDevice device(long seed) {
        FakeDevice device = new FakeDevice(SPEC, "h");
        Random random = new Random(seed);
        for (long i = 0; i < device.memory.byteSize(); i += Long.BYTES) {
            device.memory.set(ValueLayout.JAVA_LONG, i, random.nextLong());
        }
        return device;
    }

    private static P2pInstance instance(KvRole role, FakeDevice device, SendType sendType) {
        return new P2pInstance(
                role, SPEC, device.pool(), Map.of("send_type", sendType.name()), Map.of("tokenizer", "t1"));
    }

    private static String id(P2pInstance prefiller, P2pInstance decoder, String unique) {
        return P2pInstance.id(prefiller.address(), decoder.address(), unique);
    }

    private void assertSameBlocks(int first, int count) {
        for (int i = first; i < count; i++) {
            assertThat(to.block(HERE[i]).mismatch(from.block(THERE[i])))
                    .as("block %d", i)
                    .isEqualTo(-1);
        }
    }

    @ParameterizedTest
    @CsvSource({"127.0.0.1, 70000", "'', 0"}) // no port; no name that a proxy could be told
    void aConnectorThatCannotStartLeavesNoWayIntoThePoolOpen(String ip, int port) {
        KvTransferConfig config = new KvTransferConfig(
                P2pNcclConnector.NAME,
                KvRole.KV_PRODUCER,
                "an engine",
                ip,
                port,
                KvLoadFailurePolicy.RECOMPUTE,
                Map.of("proxy_ip", "127.0.0.1", "proxy_port", 1, "http_port", 2));
        assertThatThrownBy(() -> P2pNcclConnector.start(config, SPEC, from.pool(), Map.of(), _ -> {}))
                .isInstanceOf(IllegalArgumentException.class);
        assertThat(from.ways).as("ways left open").hasValue(0);
    }

    private void assertNothingLeft() {
        assertThat(from.links).as("links left").hasValue(0);
        assertThat(to.links).as("links left").hasValue(0);
        assertThat(to.buffers).as("buffers left").hasValue(0);
    }

    private void assertLoads(P2pInstance prefiller, P2pInstance decoder, int numTokens, int numComputed, String name) {
        int blocks = SPEC.blocksFor(numTokens);
        String id = id(prefiller, decoder, name);
        prefiller.prefilled(P2pInstance.leg("p" + name, id, numTokens), Arrays.copyOf(THERE, blocks));
        KvRequest decode = P2pInstance.leg("d" + name, id, numTokens);
        decoder.load(decode, Arrays.copyOf(HERE, blocks), numComputed);
        assertThat(decoder.nextEvent())
                .isInstanceOfSatisfying(
                        KvArrived.class,
                        arrived -> assertThat(arrived.numTokens()).isEqualTo(numTokens - numComputed));
        assertSameBlocks(numComputed / 16, blocks);
        assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("p" + name));
        decoder.done(decode, Arrays.copyOf(HERE, blocks));
    }

    @ParameterizedTest
    @CsvSource({"PUT, 1, 0", "PUT_ASYNC, 64, 0", "PUT_ASYNC, 50, 32", "GET, 1, 0", "GET, 64, 0", "GET, 50, 32"})
    void blocksGoFromDeviceToDeviceOverOneLink(SendType sendType, int numTokens, int numComputed) {
        try (P2pInstance prefiller = instance(KvRole.KV_PRODUCER, from, sendType);
                P2pInstance decoder = instance(KvRole.KV_CONSUMER, to, sendType)) {
            assertLoads(prefiller, decoder, numTokens, numComputed, "a");
            assertLoads(prefiller, decoder, numTokens, 0, "b");
            assertThat(from.links).hasValue(1);
            assertThat(to.links).hasValue(1);
            assertThat(prefiller.connector.describe()).contains(" over nccl on ");
        }
        assertNothingLeft();
    }

    @ParameterizedTest
    @EnumSource(SendType.class)
    void blockDamagedOnceIsSentAgain(SendType sendType) {
        try (P2pInstance prefiller = instance(KvRole.KV_PRODUCER, from, sendType);
                P2pInstance decoder = instance(KvRole.KV_CONSUMER, to, sendType)) {
            from.flips.set(1);
            assertLoads(prefiller, decoder, 64, 0, "a");
        }
        assertNothingLeft();
    }

    @ParameterizedTest
    @EnumSource(SendType.class)
    void blockThatIsAlwaysDamagedFailsTheLoad(SendType sendType) {
        try (P2pInstance prefiller = instance(KvRole.KV_PRODUCER, from, sendType);
                P2pInstance decoder = instance(KvRole.KV_CONSUMER, to, sendType)) {
            from.flips.set(1000);
            String id = id(prefiller, decoder, "a");
            prefiller.prefilled(P2pInstance.leg("p", id, 64), THERE);
            decoder.load(P2pInstance.leg("d", id, 64), HERE, 0);
            assertThat(decoder.nextFailure("d")).contains("wrong checksum");
            assertThat(prefiller.nextEvent().requestId()).isEqualTo("p");
        }
        assertNothingLeft();
    }

    @Test
    void prefillerThatEndsLeavesNothingAtTheDecoder() {
        try (P2pInstance decoder = instance(KvRole.KV_CONSUMER, to, SendType.PUT_ASYNC)) {
            try (P2pInstance prefiller = instance(KvRole.KV_PRODUCER, from, SendType.PUT_ASYNC)) {
                assertLoads(prefiller, decoder, 64, 0, "a");
                assertThat(to.links).hasValue(1);
            }
            await().untilAsserted(() -> assertThat(to.links).hasValue(0));
        }
        assertNothingLeft();
    }

    @Test
    void poolOnADeviceAndPoolInHostMemoryDoNotGoTogether() {
        try (P2pInstance prefiller = instance(KvRole.KV_PRODUCER, from, SendType.PUT_ASYNC);
                P2pInstance decoder = P2pInstance.decoder(Map.of("send_type", "PUT_ASYNC"))) {
            String id = id(prefiller, decoder, "a");
            decoder.load(P2pInstance.leg("d", id, 64), HERE, 0);
            assertThat(decoder.nextFailure("d")).contains("data differs");
            prefiller.prefilled(P2pInstance.leg("p", id, 64), THERE);
            assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("p"));
        }
    }
}
