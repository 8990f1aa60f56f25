package dev.baton.transfer.p2p;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.awaitility.Awaitility.await;

import dev.baton.metrics.FlightRecord;
import dev.baton.transfer.KvEvent;
import dev.baton.transfer.KvEvent.KvArrived;
import dev.baton.transfer.KvEvent.LeaseExpired;
import dev.baton.transfer.KvEvent.LeaseReleased;
import dev.baton.transfer.KvHold;
import dev.baton.transfer.KvRequest;
import dev.baton.transfer.KvRole;
import dev.baton.transfer.KvTransferParams;
import dev.baton.transfer.TransferException;
import dev.baton.transfer.tcp.KvThreads;
import dev.baton.wire.Fields;
import dev.baton.wire.MsgPack;
import dev.baton.wire.Wire;
import dev.baton.wire.Zmtp;
import dev.baton.wire.ZmtpServer;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/// Hand-offs between two instances over real sockets, by the addresses in their requests' ids.
@ExtendWith(KvThreads.class)
@Timeout(60)
class P2pNcclConnectorTest {
    private static final Duration PATIENCE = Duration.ofSeconds(10);
    private static final KvHold HELD = new KvHold.UnderLease(KvTransferParams.NONE);
    private static final KvHold FREE = new KvHold.FreeNow();

    private static Map<String, Object> with(P2pOptions.SendType sendType) {
        return Map.of("send_type", sendType.name());
    }

    private static void assertSameBlocks(P2pInstance prefiller, int[] there, P2pInstance decoder, int[] here) {
        for (int i = 0; i < here.length; i++) {
            assertThat(decoder.block(here[i])).as("block %d", i).isEqualTo(prefiller.block(there[i]));
        }
    }

    @ParameterizedTest
    @CsvSource({
        "PUT, 1, 0",
        "PUT, 16, 0",
        "PUT_ASYNC, 50, 0",
        "PUT_ASYNC, 48, 16",
        "PUT_ASYNC, 50, 48",
        "GET, 1, 0",
        "GET, 16, 0",
        "GET, 50, 0",
        "GET, 48, 16",
        "GET, 50, 48"
    })
    void blocksArriveWhereTheyAreMissing(P2pOptions.SendType sendType, int numTokens, int numComputed) {
        int[] there = {5, 1, 9, 7};
        int[] here = {2, 30, 4, 8};
        int blocks = (numTokens + 15) / 16;
        try (P2pInstance prefiller = P2pInstance.prefiller(with(sendType)).fill(1);
                P2pInstance decoder = P2pInstance.decoder(with(sendType)).fill(2)) {
            String id = P2pInstance.id(prefiller.address(), decoder.address(), "abc");
            List<byte[]> before = IntStream.of(here).mapToObj(decoder::block).toList();
            KvRequest prefill = P2pInstance.leg("p", id, numTokens);
            assertThat(prefiller.scheduler().numNewMatchedTokens(prefill, 0)).isZero();
            assertThat(prefiller.prefilled(prefill, java.util.Arrays.copyOf(there, blocks)))
                    .isEqualTo(HELD);
            KvRequest decode = P2pInstance.leg("d", id, numTokens);
            decoder.load(decode, java.util.Arrays.copyOf(here, blocks), numComputed);
            long block = decoder.pool.blockBytes();
            int first = numComputed / 16;
            long bytes = block * (sendType == P2pOptions.SendType.GET ? blocks - first : blocks);
            assertThat(decoder.nextEvent()).isEqualTo(new KvArrived("d", numTokens - numComputed, bytes));
            assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("p"));
            for (int i = 0; i < here.length; i++) {
                byte[] expected = i < first || i >= blocks ? before.get(i) : prefiller.block(there[i]);
                assertThat(decoder.block(here[i])).isEqualTo(expected);
            }
            assertThat(decoder.scheduler().numNewMatchedTokens(decode, 0)).isZero(); // once only
            decoder.done(decode, here);
            assertThat(decoder.connector.stats().numTransfers()).isEqualTo(1);
        }
    }

    /// vLLM's proxies wait for the prefiller; others may not.
    @Test
    void decoderMayComeFirst() throws Exception {
        try (P2pInstance prefiller = P2pInstance.prefiller(Map.of()).fill(1);
                P2pInstance decoder = P2pInstance.decoder(Map.of())) {
            String id = P2pInstance.id(prefiller.address(), decoder.address(), "abc");
            decoder.load(P2pInstance.leg("d", id, 32), new int[] {3, 4}, 0);
            assertThat(decoder.events.poll(200, TimeUnit.MILLISECONDS)).isNull();
            assertThat(prefiller.prefilled(P2pInstance.leg("p", id, 32), 1, 2)).isEqualTo(HELD);
            assertThat(decoder.nextEvent()).isInstanceOf(KvArrived.class);
            assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("p"));
            assertSameBlocks(prefiller, new int[] {1, 2}, decoder, new int[] {3, 4});
        }
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "cmpl-d_direct_0123456789abcdef-0",
                "cmpl-anything-0",
                "___prefill_addr_127.0.0.1:1",
                "___prefill_addr_127.0.0.1:99999___decode_addr_127.0.0.1:2_x",
                "___prefill_addr____decode_addr_127.0.0.1:2_x"
            })
    void idsWithoutAddressesAreAnInstancesOwn(String id) {
        try (P2pInstance prefiller = P2pInstance.prefiller(Map.of());
                P2pInstance decoder = P2pInstance.decoder(Map.of())) {
            KvRequest request = P2pInstance.leg("r", id, 20);
            assertThat(decoder.scheduler().numNewMatchedTokens(request, 0)).isZero();
            decoder.scheduler().updateStateAfterAlloc(request, new int[] {1, 2}, 0, 0);
            assertThat(decoder.scheduler().takeLoads()).isEmpty();
            decoder.done(request, 1, 2);
            assertThat(prefiller.prefilled(request, 1, 2)).isEqualTo(FREE);
        }
    }

    /// One that does both knows its side by its own address.
    @Test
    void instancesOfBothRolesHandOverInBothDirections() {
        try (P2pInstance one = new P2pInstance(KvRole.KV_BOTH, 16, 32, Map.of(), Map.of()).fill(1);
                P2pInstance two = new P2pInstance(KvRole.KV_BOTH, 16, 32, Map.of(), Map.of()).fill(2)) {
            for (List<P2pInstance> pair : List.of(List.of(one, two), List.of(two, one))) {
                P2pInstance prefiller = pair.getFirst();
                P2pInstance decoder = pair.getLast();
                String id = P2pInstance.id(prefiller.address(), decoder.address(), "x" + prefiller.hashCode());
                KvRequest prefill = P2pInstance.leg("p", id, 30);
                assertThat(prefiller.scheduler().numNewMatchedTokens(prefill, 0))
                        .isZero();
                assertThat(prefiller.prefilled(prefill, 1, 2)).isEqualTo(HELD);
                KvRequest decode = P2pInstance.leg("d", id, 30);
                decoder.load(decode, new int[] {10, 11}, 0);
                assertThat(decoder.nextEvent()).isInstanceOf(KvArrived.class);
                assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("p"));
                assertSameBlocks(prefiller, new int[] {1, 2}, decoder, new int[] {10, 11});
                decoder.done(decode, 10, 11);
            }
            String own = P2pInstance.id(one.address(), one.address(), "own");
            assertThat(one.scheduler().numNewMatchedTokens(P2pInstance.leg("o", own, 30), 0))
                    .isZero();
        }
    }

    /// More bytes than the decoder's memory holds at a time.
    @ParameterizedTest
    @EnumSource(P2pOptions.SendType.class)
    void manyHandOffsAtATimeAreAllRight(P2pOptions.SendType sendType) {
        try (P2pInstance prefiller = P2pInstance.prefiller(with(sendType)).fill(3);
                P2pInstance decoder = P2pInstance.decoder(with(sendType)).fill(4)) {
            for (int round = 0; round < 10; round++) {
                List<KvEvent> released = new ArrayList<>();
                for (int i = 0; i < 16; i++) {
                    String id = P2pInstance.id(prefiller.address(), decoder.address(), round + "x" + i);
                    assertThat(prefiller.prefilled(P2pInstance.leg("p" + i, id, 20), 2 * i, 2 * i + 1))
                            .isEqualTo(HELD);
                    decoder.load(P2pInstance.leg("d" + i, id, 20), new int[] {31 - 2 * i, 30 - 2 * i}, 0);
                }
                for (int i = 0; i < 16; i++) {
                    assertThat(decoder.nextEvent()).isInstanceOf(KvArrived.class);
                    released.add(prefiller.nextEvent());
                }
                assertThat(released).allMatch(LeaseReleased.class::isInstance).doesNotHaveDuplicates();
                for (int i = 0; i < 16; i++) {
                    assertSameBlocks(
                            prefiller, new int[] {2 * i, 2 * i + 1}, decoder, new int[] {31 - 2 * i, 30 - 2 * i});
                    String id = P2pInstance.id(prefiller.address(), decoder.address(), round + "x" + i);
                    decoder.done(P2pInstance.leg("d" + i, id, 20), 31 - 2 * i, 30 - 2 * i);
                }
            }
        }
    }

    @Test
    void whatDoesNotFitIsRefusedAndTheLoadFailsAtOnce(@TempDir Path dir) throws IOException {
        try (FlightRecord record = new FlightRecord(dir, "KvSend");
                P2pInstance prefiller = P2pInstance.prefiller(Map.of());
                P2pInstance decoder = P2pInstance.decoder(Map.of("kv_buffer_size", "1e1"))) {
            String id = P2pInstance.id(prefiller.address(), decoder.address(), "abc");
            assertThat(prefiller.prefilled(P2pInstance.leg("p", id, 32), 1, 2)).isEqualTo(HELD);
            assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("p"));
            KvRequest decode = P2pInstance.leg("d", id, 32);
            decoder.load(decode, new int[] {3, 4}, 0);
            assertThat(decoder.nextFailure("d")).contains("no memory is left", "kv_buffer_size");
            decoder.done(decode, 3, 4);
            assertThat(prefiller.connector.stats().numFailedTransfers()).isEqualTo(1);
            assertThat(FlightRecord.named(record.events(), "KvSend"))
                    .singleElement()
                    .satisfies(send -> {
                        assertThat(send.getString("connector")).isEqualTo("P2pNcclConnector");
                        assertThat(send.getString("request")).isEqualTo("p");
                        assertThat(send.getString("outcome")).contains("does not take the tensor");
                        assertThat(send.getInt("blocks")).isEqualTo(2);
                        assertThat(send.getLong("bytes")).isZero();
                    });
        }
    }

    @Test
    void whatNobodyComesForIsDropped() {
        try (P2pInstance prefiller = P2pInstance.prefiller(Map.of());
                P2pInstance decoder = P2pInstance.decoder(Map.of("kv_lease_duration", 0.3))) {
            String id = P2pInstance.id(prefiller.address(), decoder.address(), "abc");
            assertThat(prefiller.prefilled(P2pInstance.leg("p", id, 32), 1, 2)).isEqualTo(HELD);
            assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("p"));
            await().atMost(PATIENCE).until(() -> decoder.connector.numArrivedBytes() == 0);
        }
    }

    @ParameterizedTest
    @EnumSource(P2pOptions.SendType.class)
    void whatIsHereAlreadyOrNotWantedAnyMoreIsLetGo(P2pOptions.SendType sendType) {
        try (P2pInstance prefiller = P2pInstance.prefiller(with(sendType));
                P2pInstance decoder = P2pInstance.decoder(with(sendType))) {
            String hit = P2pInstance.id(prefiller.address(), decoder.address(), "hit");
            assertThat(prefiller.prefilled(P2pInstance.leg("p1", hit, 32), 1, 2))
                    .isEqualTo(HELD);
            KvRequest cached = P2pInstance.leg("d1", hit, 32);
            decoder.scheduler().updateStateAfterAlloc(cached, new int[] {1, 2}, 32, 0);
            decoder.scheduler().takeLoads().forEach(dev.baton.transfer.KvLoad::start);
            assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("p1"));
            decoder.done(cached, 1, 2);

            String aborted = P2pInstance.id(prefiller.address(), decoder.address(), "aborted");
            assertThat(prefiller.prefilled(P2pInstance.leg("p2", aborted, 32), 1, 2))
                    .isEqualTo(HELD);
            assertThat(decoder.finished(P2pInstance.leg("d2", aborted, 32), new int[0], 0, false))
                    .isEqualTo(FREE);
            assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("p2"));
            await().atMost(PATIENCE).until(() -> decoder.connector.numArrivedBytes() == 0);
        }
    }

    @Test
    void cancelledLoadsEndAndWhatComesLaterIsDropped() {
        try (P2pInstance prefiller = P2pInstance.prefiller(Map.of());
                P2pInstance decoder = P2pInstance.decoder(Map.of())) {
            String id = P2pInstance.id(prefiller.address(), decoder.address(), "abc");
            KvRequest decode = P2pInstance.leg("d", id, 32);
            decoder.load(decode, new int[] {3, 4}, 0);
            decoder.worker().cancelLoad("d");
            assertThat(decoder.nextFailure("d")).isEqualTo("cancelled");
            decoder.done(decode, 3, 4);
            assertThat(prefiller.prefilled(P2pInstance.leg("p", id, 32), 1, 2)).isEqualTo(HELD);
            assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("p"));
            await().atMost(PATIENCE).until(() -> decoder.connector.numArrivedBytes() == 0);
        }
    }

    @Test
    void loadEndsWithItsPrefiller() {
        try (P2pInstance decoder = P2pInstance.decoder(Map.of())) {
            P2pInstance prefiller = P2pInstance.prefiller(Map.of());
            String id = P2pInstance.id(prefiller.address(), decoder.address(), "abc");
            decoder.load(P2pInstance.leg("d", id, 32), new int[] {3, 4}, 0);
            await().atMost(PATIENCE).until(() -> decoder.worker().numLoads() == 1);
            prefiller.closeAbruptly();
            assertThat(decoder.nextFailure("d")).isNotBlank();
            decoder.load(P2pInstance.leg("d2", id + "1", 32), new int[] {3, 4}, 0);
            assertThat(decoder.nextFailure("d2")).contains(prefiller.address());
        }
    }

    /// Whether the decoder asks before or after the prefill has ended in vain.
    @ParameterizedTest
    @ValueSource(booleans = {true, false})
    void loadEndsWithAPrefillThatDidNotComplete(boolean decoderFirst) throws Exception {
        try (P2pInstance prefiller = P2pInstance.prefiller(Map.of());
                P2pInstance decoder = P2pInstance.decoder(Map.of())) {
            String id = P2pInstance.id(prefiller.address(), decoder.address(), "abc");
            KvRequest decode = P2pInstance.leg("d", id, 32);
            if (decoderFirst) {
                decoder.load(decode, new int[] {3, 4}, 0);
                Thread.sleep(300); // let it ask, most likely
            }
            assertThat(prefiller.finished(P2pInstance.leg("p", id, 32), new int[] {1}, 16, false))
                    .isEqualTo(FREE);
            if (!decoderFirst) {
                decoder.load(decode, new int[] {3, 4}, 0);
            }
            KvEvent event = decoder.nextEvent(15_000);
            assertThat(event).isInstanceOf(KvEvent.KvFailed.class);
            assertThat(((KvEvent.KvFailed) event).reason()).contains("its prefill did not complete");
        }
    }

    @Test
    void pushThatDoesNotComeInTimeIsAFailure() {
        try (P2pInstance prefiller = P2pInstance.prefiller(Map.of());
                P2pInstance decoder = P2pInstance.decoder(Map.of("kv_load_timeout", 0.4))) {
            String id = P2pInstance.id(prefiller.address(), decoder.address(), "abc");
            decoder.load(P2pInstance.leg("d", id, 32), new int[] {3, 4}, 0);
            assertThat(decoder.nextFailure("d")).contains("did not push the blocks within");
        }
    }

    @Test
    void prefillersKeepNoMoreThanTheBufferForDecodersThatAsk() {
        Map<String, Object> settings = Map.of("send_type", "GET", "kv_buffer_size", 100_000);
        try (P2pInstance prefiller = P2pInstance.prefiller(settings).fill(1);
                P2pInstance decoder = P2pInstance.decoder(settings)) {
            assertThat(prefiller.pool.blockBytes()).isBetween(100_000L / 9, 100_000L / 8);
            for (int i = 0; i < 3; i++) {
                String id = P2pInstance.id(prefiller.address(), decoder.address(), "x" + i);
                int from = 4 * i;
                assertThat(prefiller.prefilled(P2pInstance.leg("p" + i, id, 64), from, from + 1, from + 2, from + 3))
                        .isEqualTo(HELD);
            }
            assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("p0"));
            String gone = P2pInstance.id(prefiller.address(), decoder.address(), "x0");
            decoder.load(P2pInstance.leg("d0", gone, 64), new int[] {1, 2, 3, 4}, 0);
            assertThat(decoder.nextFailure("d0")).contains("does not hold the prompt");
            for (int i = 1; i < 3; i++) {
                String id = P2pInstance.id(prefiller.address(), decoder.address(), "x" + i);
                decoder.load(P2pInstance.leg("d" + i, id, 64), new int[] {1, 2, 3, 4}, 0);
                assertThat(decoder.nextEvent()).isInstanceOf(KvArrived.class);
                assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("p" + i));
            }
        }
    }

    @Test
    void whatNobodyAsksForExpires() {
        Map<String, Object> settings = Map.of("send_type", "GET", "kv_lease_duration", 0.3);
        try (P2pInstance prefiller = P2pInstance.prefiller(settings)) {
            String id = P2pInstance.id(prefiller.address(), "127.0.0.1:1", "abc");
            assertThat(prefiller.prefilled(P2pInstance.leg("p", id, 32), 1, 2)).isEqualTo(HELD);
            assertThat(prefiller.nextEvent()).isEqualTo(new LeaseExpired("p"));
        }
    }

    @Test
    void prefillThatDidNotCompleteIsNotHandedOver() {
        try (P2pInstance prefiller = P2pInstance.prefiller(Map.of())) {
            String id = P2pInstance.id(prefiller.address(), "127.0.0.1:1", "abc");
            assertThat(prefiller.finished(P2pInstance.leg("p", id, 32), new int[] {1}, 16, false))
                    .isEqualTo(FREE);
        }
    }

    @Test
    void decoderThatIsNotThereCostsTheLeaseAndNothingElse() {
        try (P2pInstance prefiller = P2pInstance.prefiller(Map.of())) {
            String id = P2pInstance.id(prefiller.address(), "127.0.0.1:1", "abc");
            assertThat(prefiller.prefilled(P2pInstance.leg("p", id, 32), 1, 2)).isEqualTo(HELD);
            assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("p"));
        }
    }

    @ParameterizedTest
    @EnumSource(P2pOptions.SendType.class)
    void firstFieldThatDiffersIsNamed(P2pOptions.SendType sendType) {
        try (P2pInstance prefiller = P2pInstance.prefiller(with(sendType));
                P2pInstance decoder =
                        new P2pInstance(KvRole.KV_CONSUMER, 16, 32, with(sendType), Map.of("tokenizer", "other"))) {
            String id = P2pInstance.id(prefiller.address(), decoder.address(), "abc");
            decoder.load(P2pInstance.leg("d", id, 32), new int[] {3, 4}, 0);
            assertThat(decoder.nextFailure("d")).contains("tokenizer differs", "t1", "other");
        }
        try (P2pInstance prefiller = P2pInstance.prefiller(with(sendType));
                P2pInstance decoder =
                        new P2pInstance(KvRole.KV_CONSUMER, 32, 32, with(sendType), Map.of("tokenizer", "t1"))) {
            String id = P2pInstance.id(prefiller.address(), decoder.address(), "abc");
            decoder.load(P2pInstance.leg("d", id, 32), new int[] {3}, 0);
            assertThat(decoder.nextFailure("d")).contains("block_size differs");
        }
    }

    @Test
    void otherPromptsUnderTheSameIdAreFound() {
        try (P2pInstance prefiller = P2pInstance.prefiller(Map.of()).fill(1);
                P2pInstance decoder = P2pInstance.decoder(Map.of()).fill(2)) {
            String id = P2pInstance.id(prefiller.address(), decoder.address(), "abc");
            byte[] before = decoder.block(3);
            assertThat(prefiller.prefilled(P2pInstance.leg("p", id, 32), 1, 2)).isEqualTo(HELD);
            assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("p"));
            decoder.load(P2pInstance.leg("d", id, 31), new int[] {3, 4}, 0);
            assertThat(decoder.nextFailure("d")).contains("the prompt differs");
            assertThat(decoder.block(3)).isEqualTo(before);
        }
    }

    @Test
    void hostsThatAreNotAllowedAreNotDealtWith() {
        Map<String, Object> settings = Map.of("kv_allowed_hosts", List.of("10.0.0.1"));
        try (P2pInstance prefiller = P2pInstance.prefiller(settings);
                P2pInstance decoder = P2pInstance.decoder(settings)) {
            String id = P2pInstance.id(prefiller.address(), decoder.address(), "abc");
            assertThat(prefiller.prefilled(P2pInstance.leg("p", id, 32), 1, 2)).isEqualTo(FREE);
            assertThat(decoder.scheduler().numNewMatchedTokens(P2pInstance.leg("d", id, 32), 0))
                    .isZero();
        }
    }

    // Others.

    private static Zmtp dealer(Wire wire, P2pInstance instance, String identity) throws IOException {
        Endpoint address = P2pRoute.of(P2pInstance.id(instance.address(), instance.address(), "x"))
                .orElseThrow()
                .decoder();
        wire.connect(address.host(), address.port(), PATIENCE);
        Zmtp channel = new Zmtp(wire, Zmtp.SocketType.DEALER, identity.getBytes(StandardCharsets.US_ASCII), 1 << 20);
        channel.greet(PATIENCE);
        return channel;
    }

    /// What vLLM's prefiller sends first, and then would block in NCCL.
    @Test
    void vllmsPrefillerIsRefusedInOneSentence() throws Exception {
        String vllm = "127.0.0.1:21001";
        try (P2pInstance decoder = P2pInstance.decoder(Map.of());
                Wire wire = Wire.unconnected()) {
            Zmtp channel = dealer(wire, decoder, vllm);
            channel.send(MsgPack.write(Map.of("cmd", "NEW", "unique_id", new byte[128])));
            channel.send(MsgPack.write(
                    Map.of("cmd", "PUT", "tensor_id", "x#layer", "shape", List.of(2, 20, 32), "dtype", "float32")));
            assertThat(Zmtp.single(channel.receive(PATIENCE))).isEqualTo(new byte[] {'1'}); // as if out of memory
            channel.send(MsgPack.write(Map.of("cmd", "GET", "tensor_id", "x#layer")));
            assertThat(MsgPack.map("it", Zmtp.single(channel.receive(PATIENCE))).map())
                    .isEqualTo(Map.of("ret", 1L));
            decoder.load(P2pInstance.leg("d", P2pInstance.id(vllm, decoder.address(), "a"), 32), new int[] {3, 4}, 0);
            assertThat(decoder.nextFailure("d")).contains("NCCL", "TCP").doesNotContain("\n");
        }
    }

    /// A vLLM's ROUTER takes a command that it does not know for nothing; it must never see a NEW that it would
    /// begin NCCL with.
    @Test
    void vllmsDecoderIsAskedNothingThatItWouldBlockOn() throws Exception {
        BlockingQueue<Map<String, Object>> heard = new LinkedBlockingQueue<>();
        try (ZmtpServer vllm = ZmtpServer.start(
                        "baton-kv-test",
                        Zmtp.SocketType.ROUTER,
                        "127.0.0.1",
                        0,
                        new ZmtpServer.Limits(10, 1 << 20, Duration.ofMinutes(1)),
                        (_, message) -> heard.add(
                                MsgPack.map("it", Zmtp.single(message)).map()));
                P2pInstance prefiller = P2pInstance.prefiller(Map.of("kv_peer_timeout", 0.3))) {
            String id = P2pInstance.id(prefiller.address(), "127.0.0.1:" + vllm.port(), "abc");
            assertThat(prefiller.prefilled(P2pInstance.leg("p", id, 32), 1, 2)).isEqualTo(HELD);
            assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("p"));
            Map<String, Object> first = heard.poll(10, TimeUnit.SECONDS);
            assertThat(first).containsEntry("cmd", "NEW_TCP").doesNotContainKey("unique_id");
            assertThat(heard).isEmpty();
        }
    }

    /// A peer that greets properly and then sends wrong blocks, twice: never used.
    @Test
    void damagedBlocksAreNeverUsed() throws Exception {
        try (P2pInstance decoder = P2pInstance.decoder(Map.of()).fill(5);
                Wire wire = Wire.unconnected()) {
            byte[] before = decoder.block(3);
            Zmtp channel = dealer(wire, decoder, "127.0.0.1:21001");
            String digest = learnDigest(decoder);
            String externalId = P2pInstance.id("127.0.0.1:21001", decoder.address(), "abc");
            String tensorId = Control.tensorId(externalId);
            for (boolean isLast : new boolean[] {false, true}) {
                Map<String, Object> put = new HashMap<>();
                put.put("cmd", "PUT");
                put.put("tensor_id", tensorId);
                put.put("shape", new TensorShape(decoder.pool).of(2));
                put.put("dtype", "float32");
                put.put("baton", digest);
                put.put("num_tokens", 32);
                put.put("prompt_digest", "x");
                put.put("is_last", isLast);
                channel.send(MsgPack.write(put));
                assertThat(Zmtp.single(channel.receive(PATIENCE))).isEqualTo(Control.TAKEN);
                byte[] block = new byte[(int) decoder.pool.blockBytes()];
                channel.send(List.of(block, new byte[8], block, new byte[8]));
                assertThat(Zmtp.single(channel.receive(PATIENCE))).isEqualTo(Control.REFUSED);
            }
            assertThat(decoder.connector.numArrivedBytes()).isZero();
            decoder.load(P2pInstance.leg("d", externalId, 32), new int[] {3, 4}, 0);
            assertThat(decoder.nextFailure("d")).contains("wrong checksum");
            assertThat(decoder.block(3)).isEqualTo(before);
            assertThat(decoder.connector.stats().numChecksumErrors()).isEqualTo(4);
        }
    }

    /// What a Baton with the same model would send along.
    private static String learnDigest(P2pInstance decoder) throws Exception {
        BlockingQueue<Fields> heard = new LinkedBlockingQueue<>();
        try (ZmtpServer other = ZmtpServer.start(
                        "baton-kv-test",
                        Zmtp.SocketType.ROUTER,
                        "127.0.0.1",
                        0,
                        new ZmtpServer.Limits(10, 1 << 20, Duration.ofMinutes(1)),
                        (from, message) -> {
                            heard.add(MsgPack.map("it", Zmtp.single(message)));
                            from.send(MsgPack.write(Map.of("ret", 0)));
                        });
                P2pInstance prefiller = P2pInstance.prefiller(Map.of("kv_peer_timeout", 5))) {
            String id = P2pInstance.id(prefiller.address(), "127.0.0.1:" + other.port(), "abc");
            assertThat(prefiller.prefilled(P2pInstance.leg("p", id, 16), 1)).isEqualTo(HELD);
            assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("p"));
            assertThat(heard.take().text("cmd")).isEqualTo("NEW_TCP");
            return heard.take().text("baton");
        }
    }

    @ParameterizedTest
    @ValueSource(longs = {1, 2})
    void garbageAtThePortDoesNoHarm(long seed) throws Exception {
        Random random = new Random(seed);
        try (P2pInstance prefiller = P2pInstance.prefiller(Map.of()).fill(1);
                P2pInstance decoder = P2pInstance.decoder(Map.of())) {
            for (int round = 0; round < 200; round++) {
                try (Wire wire = Wire.unconnected()) {
                    Zmtp channel = dealer(wire, decoder, "x");
                    byte[] message = MsgPack.write(Map.of(
                            "cmd",
                            List.of("PUT", "GET", "NEW_TCP", "RELEASE", "OTHER").get(random.nextInt(5)),
                            "tensor_id",
                            "y".repeat(random.nextInt(30)),
                            "shape",
                            Collections.nCopies(random.nextInt(8), random.nextLong(1L << 40)),
                            "dtype",
                            "float32"));
                    if (round % 2 == 0) {
                        message[random.nextInt(message.length)] = (byte) random.nextInt();
                    }
                    channel.send(message);
                    channel.send(message);
                }
            }
            String id = P2pInstance.id(prefiller.address(), decoder.address(), "abc");
            assertThat(prefiller.prefilled(P2pInstance.leg("p", id, 32), 1, 2)).isEqualTo(HELD);
            decoder.load(P2pInstance.leg("d", id, 32), new int[] {3, 4}, 0);
            assertThat(decoder.nextEvent()).isInstanceOf(KvArrived.class);
            assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("p"));
            assertSameBlocks(prefiller, new int[] {1, 2}, decoder, new int[] {3, 4});
        }
    }

    @Test
    void proxyIsPingedAsByVllm() throws Exception {
        BlockingQueue<List<String>> heard = new LinkedBlockingQueue<>();
        try (ZmtpServer proxy = ZmtpServer.start(
                "baton-kv-test",
                Zmtp.SocketType.ROUTER,
                "127.0.0.1",
                0,
                new ZmtpServer.Limits(10, 1 << 20, Duration.ofMinutes(1)),
                (from, message) -> heard.add(List.of(
                        new String(from.peerIdentity(), StandardCharsets.UTF_8),
                        MsgPack.map("it", Zmtp.single(message)).map().toString())))) {
            Map<String, Object> settings =
                    Map.of("proxy_ip", "127.0.0.1", "proxy_port", Integer.toString(proxy.port()), "http_port", 20005);
            try (P2pInstance decoder = P2pInstance.decoder(settings)) {
                String said = "{type=D, http_address=127.0.0.1:20005, zmq_address=%s}".formatted(decoder.address());
                assertThat(heard.poll(10, TimeUnit.SECONDS)).containsExactly(decoder.address(), said);
                assertThat(heard.poll(10, TimeUnit.SECONDS)).containsExactly(decoder.address(), said); // and again
            }
            try (P2pInstance prefiller = P2pInstance.prefiller(settings)) {
                assertThat(heard.poll(10, TimeUnit.SECONDS).getLast()).startsWith("{type=P, ");
                assertThat(prefiller.connector.describe()).contains("registers at 127.0.0.1:" + proxy.port());
            }
        }
    }

    @Test
    void settingsThatMakeNoSenseAreNamed() {
        for (Map<String, Object> wrong : List.<Map<String, Object>>of(
                Map.of("send_type", "PUSH"),
                Map.of("proxy_ip", "127.0.0.1", "proxy_port", "x"),
                Map.of("proxy_ip", "127.0.0.1", "proxy_port", "30001"), // without http_port
                Map.of("kv_buffer_size", -1),
                Map.of("mem_pool_size", 1))) {
            assertThatThrownBy(() -> P2pOptions.from(wrong))
                    .isInstanceOf(TransferException.class)
                    .hasMessageContaining("kv_connector_extra_config")
                    .hasMessageNotContaining("\n");
        }
        P2pOptions options = P2pOptions.from(Map.of("nccl_num_channels", "8", "kv_buffer_size", "8e9"));
        assertThat(options.bufferBytes()).isEqualTo(8_000_000_000L);
        assertThat(options.sendType()).isEqualTo(P2pOptions.SendType.PUT_ASYNC);
        assertThat(options.proxy()).isEmpty();
    }
}
