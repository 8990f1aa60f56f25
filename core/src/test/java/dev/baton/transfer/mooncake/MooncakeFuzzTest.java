package dev.baton.transfer.mooncake;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.transfer.KvEvent.KvArrived;
import dev.baton.transfer.KvEvent.LeaseReleased;
import dev.baton.transfer.mooncake.XferMetadata.Baton;
import dev.baton.transfer.mooncake.XferMetadata.Region;
import dev.baton.transfer.mooncake.XferMetadata.Want;
import dev.baton.transfer.tcp.KvThreads;
import dev.baton.wire.Wire;
import java.io.EOFException;
import java.io.IOException;
import java.net.ProtocolException;
import java.net.SocketException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// Every parser with random bytes and with damaged messages: refused in one sentence, never anything else.
@ExtendWith(KvThreads.class)
class MooncakeFuzzTest {
    private static final int ROUNDS = 20_000;
    private static final Duration PATIENCE = Duration.ofSeconds(10);

    @FunctionalInterface
    private interface Parser {
        Object parse(byte[] message) throws ProtocolException;
    }

    private static byte[] question() {
        return new XferMetadata(
                        "127.0.0.1",
                        4711,
                        Map.of("d", new Want("x", new long[] {1, 300, 70_000, 1L << 40})),
                        List.of(new Region(1L << 60, 4096, 4096, "model.layers.0.self_attn.attn", 0)),
                        1,
                        1,
                        Optional.of(new Baton(Map.of("dtype", "float32"), Map.of("d", "digest"))))
                .bytes();
    }

    private static byte[] damaged(byte[] message, Random random) {
        byte[] damaged = message.clone();
        for (int i = random.nextInt(4); i >= 0; i--) {
            damaged[random.nextInt(damaged.length)] = (byte) random.nextInt(256);
        }
        return random.nextInt(3) == 0 ? Arrays.copyOf(damaged, random.nextInt(damaged.length + 8)) : damaged;
    }

    private static void fuzz(Parser parser, byte[] good, long seed) throws ProtocolException {
        assertThat(parser.parse(good)).isNotNull();
        Random random = new Random(seed);
        int refused = 0;
        for (int round = 0; round < ROUNDS; round++) {
            byte[] message = damaged(good, random);
            if (round % 4 == 0) {
                message = new byte[random.nextInt(64)];
                random.nextBytes(message);
            }
            try {
                parser.parse(message);
            } catch (ProtocolException e) {
                assertThat(e.getMessage()).isNotBlank().doesNotContain("\n");
                refused++;
            }
        }
        assertThat(refused).isGreaterThan(ROUNDS / 4);
    }

    @Test
    void questionsAreReadOrRefused() throws ProtocolException {
        fuzz(XferMetadata::read, question(), 1);
        assertThat(XferMetadata.read(question()).wants().get("d").blocks()).containsExactly(1, 300, 70_000, 1L << 40);
    }

    @Test
    void answersAreReadOrRefused() throws ProtocolException {
        XferResponse answer = XferResponse.ok(
                XferResponse.Status.CONTINUE, "a request", Optional.of(new long[] {0, 0xffff_ffffL, 5}));
        fuzz(XferResponse::read, answer.bytes(), 2);
        assertThat(XferResponse.read(answer.bytes()).checksums().get("a request"))
                .containsExactly(0, 0xffff_ffffL, 5);
    }

    @Test
    void descriptorsAreReadOrRefused() throws ProtocolException {
        TeHandshake.Descriptor descriptor =
                new TeHandshake.Descriptor("127.0.0.1:1", "127.0.0.1", 2, 2, List.of(new TeMemory.Range(1L << 60, -1)));
        fuzz(TeHandshake.Descriptor::read, descriptor.json(), 3);
    }

    @Test
    void registrationsAreReadOrRefused() throws ProtocolException {
        byte[] good = """
                {"engine_id": "e\\u00e9x", "dp_rank": 0, "tp_rank": 0, "pp_rank": 0, "addr": "tcp://10.0.0.1:5"}""".getBytes(StandardCharsets.UTF_8);
        fuzz(BootstrapServer.Registration::read, good, 4);
        assertThat(BootstrapServer.Registration.read(good).engineId()).isEqualTo("eéx");
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "",
                "{",
                "{\"a\":}",
                "{\"a\":1,}",
                "[1]",
                "{\"a\":01}",
                "{\"a\":1}x",
                "{\"a\":\"\\x\"}",
                "{\"a\":\"\u0001\"}",
                "{'a':1}",
                "{\"a\":tru}",
                "{\"a\":1 \"b\":2}",
                "{\"a\":[1,]}",
                "{\"a\":1,\"a\":2}",
                "{\"a\":-}",
                "{\"a\":1e}",
                "{\"a\":99999999999999999999}"
            })
    void malformedJsonIsRefused(String json) {
        assertThat(refused(() -> SmallJson.map("it", json.getBytes(StandardCharsets.UTF_8))))
                .isTrue();
    }

    @Test
    void nestingIsBounded() {
        String json = "{\"a\":" + "[".repeat(100_000) + "]".repeat(100_000) + "}";
        assertThat(refused(() -> SmallJson.map("it", json.getBytes(StandardCharsets.UTF_8))))
                .isTrue();
    }

    @FunctionalInterface
    private interface Reading {
        Object read() throws ProtocolException;
    }

    private static boolean refused(Reading reading) {
        try {
            reading.read();
            return false;
        } catch (ProtocolException e) {
            return true;
        }
    }

    /// Sends bytes to a port and reads what comes until the other side closes.
    private static byte[] exchange(int port, byte[] message) throws IOException {
        try (Wire wire = Wire.unconnected()) {
            wire.connect("127.0.0.1", port, PATIENCE);
            ByteBuffer answer = ByteBuffer.allocate(1 << 16);
            try {
                wire.writeSteadily(new ByteBuffer[] {ByteBuffer.wrap(message)}, PATIENCE);
                wire.readFully(answer, PATIENCE);
            } catch (EOFException | SocketException e) {
                // closed, as it should be
            } catch (IOException e) {
                assertThat(e.getMessage()).containsAnyOf("reset", "pipe", "Broken");
            }
            byte[] bytes = new byte[answer.position()];
            answer.flip().get(bytes);
            return bytes;
        }
    }

    @Test
    void bootstrapServerAnswersAsVllmsDoesAndOutlivesGarbage() throws IOException {
        try (BootstrapServer server = new BootstrapServer("127.0.0.1", 0)) {
            Random random = new Random(6);
            String post = "POST /register HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s";
            String worker = """
                    {"engine_id":"%s","dp_rank":0,"tp_rank":0,"pp_rank":%d,"addr":"%s"}""";
            record Case(String body, String status, String needed) {}
            for (Case each : List.of(
                    new Case(worker.formatted("e", 0, "tcp://a:1"), "200", "{\"status\":\"ok\"}"),
                    new Case(worker.formatted("e", 0, "tcp://a:1"), "200", "{\"status\":\"ok\"}"),
                    new Case(worker.formatted("e", 1, "tcp://a:2"), "200", "{\"status\":\"ok\"}"),
                    new Case(worker.formatted("e", 0, "tcp://b:1"), "400", "is registered at tcp://a:1"),
                    new Case(worker.formatted("f", 0, "tcp://a:1"), "400", "Engine ID mismatch"),
                    new Case("{}", "400", "engine_id"))) {
                String answer = new String(
                        exchange(
                                server.port(),
                                post.formatted(each.body().length(), each.body())
                                        .getBytes(StandardCharsets.UTF_8)),
                        StandardCharsets.UTF_8);
                assertThat(answer).startsWith("HTTP/1.1 " + each.status()).contains(each.needed());
            }
            for (int round = 0; round < 50; round++) {
                byte[] garbage = new byte[1 + random.nextInt(20_000)];
                random.nextBytes(garbage);
                garbage[garbage.length - 1] = '\n';
                byte[] ended = (new String(garbage, StandardCharsets.ISO_8859_1) + "\r\n\r\n")
                        .getBytes(StandardCharsets.ISO_8859_1);
                exchange(server.port(), ended);
            }
            for (String head : List.of(
                    "POST /register HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n",
                    "POST /register HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
                    "POST /register HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")) {
                assertThat(exchange(server.port(), head.getBytes(StandardCharsets.US_ASCII)))
                        .isEmpty();
            }
            String list = new String(
                    exchange(
                            server.port(),
                            "GET /query HTTP/1.1\r\nHost: x\r\n\r\n".getBytes(StandardCharsets.US_ASCII)),
                    StandardCharsets.UTF_8);
            assertThat(list)
                    .startsWith("HTTP/1.1 200 OK\r\n")
                    .endsWith(
                            "{\"0\":{\"engine_id\":\"e\",\"worker_addr\":{\"0\":{\"0\":\"tcp://a:1\",\"1\":\"tcp://a:2\"}}}}");
            assertThat(new String(
                            exchange(server.port(), "GET / HTTP/1.1\r\n\r\n".getBytes(StandardCharsets.US_ASCII)),
                            StandardCharsets.UTF_8))
                    .startsWith("HTTP/1.1 404");
        }
    }

    @Test
    void instancesOutliveGarbageOnEveryPort() throws IOException {
        Random random = new Random(9);
        try (MooncakeInstance prefiller =
                        MooncakeInstance.prefiller(16, 8, Map.of()).fill(1);
                MooncakeInstance decoder =
                        MooncakeInstance.decoder(16, 8, Map.of()).fill(2);
                Asking asking = new Asking(prefiller)) {
            byte[] before = decoder.block(0);
            int transferEngine =
                    Integer.parseInt(decoder.connector.describe().replaceAll(".*Transfer Engine on [^:]*:", ""));
            int sideChannel = new Bootstraps(PATIENCE, PATIENCE)
                    .find(Bootstraps.Address.of(prefiller.bootstrap()), prefiller.engineId)
                    .port();
            TeHandshake.Descriptor descriptor = TeHandshake.ask("127.0.0.1", transferEngine, PATIENCE, PATIENCE);
            for (int round = 0; round < 200; round++) {
                byte[] garbage = new byte[64 + random.nextInt(200)]; // more than a header or a greeting
                random.nextBytes(garbage);
                if (round < 60) {
                    garbage[7] |= (byte) 0x80; // a length that nothing waits for
                    exchange(transferEngine, garbage);
                    garbage[16] &= 0x7f; // no operation of the framing that is spoken
                    exchange(descriptor.dataPort(), garbage);
                    exchange(sideChannel, garbage);
                }
                asking.ask(round % 2 == 0 ? garbage : damaged(question(), random));
                if (round % 2 == 0) {
                    assertThat(asking.answer().message()).isNotEmpty(); // refused with a sentence
                }
            }
            assertThat(decoder.block(0)).isEqualTo(before);
            prefiller.hold("p", "fine", new int[] {1}, 16);
            decoder.load(decoder.decodeFrom(prefiller, "d", "fine", 16), new int[] {0}, 0);
            assertThat(decoder.nextEvent()).isInstanceOf(KvArrived.class);
            assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("p"));
            assertThat(decoder.block(0)).isEqualTo(prefiller.block(1));
        }
    }
}
