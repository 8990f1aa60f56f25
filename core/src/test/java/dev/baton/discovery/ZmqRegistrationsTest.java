package dev.baton.discovery;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;
import static org.awaitility.Awaitility.await;

import dev.baton.wire.MsgPack;
import dev.baton.wire.Wire;
import dev.baton.wire.Zmtp;
import dev.baton.wire.ZmtpSender;
import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.function.Predicate;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.databind.json.JsonMapper;

/// Engines that register over ZeroMQ, here by a DEALER as vLLM's worker has it.
@Timeout(60)
class ZmqRegistrationsTest {
    /// Only tests of silence have one that ends within a test: a busy machine may take a while to look.
    private static final Duration TIME_TO_LIVE = Duration.ofSeconds(3);

    private final FleetRecorder fleet = new FleetRecorder();
    private ZmqRegistrations source = registrations(Duration.ofMinutes(5));
    private final List<ZmtpSender> dealers = new ArrayList<>();

    @BeforeEach
    void start() {
        source.start(fleet);
    }

    private static ZmqRegistrations registrations(Duration timeToLive) {
        return new ZmqRegistrations("127.0.0.1", 0, timeToLive, AllowedEngines.privateNetworks());
    }

    private void startWithShortLife() {
        source.close();
        source = registrations(TIME_TO_LIVE);
        source.start(fleet);
    }

    @AfterEach
    void close() {
        dealers.forEach(ZmtpSender::close);
        source.close();
    }

    /// vLLM's `ping`: the identity is the address for KV.
    private ZmtpSender dealer(String identity) {
        ZmtpSender sender = new ZmtpSender(
                Zmtp.SocketType.DEALER,
                identity.getBytes(StandardCharsets.UTF_8),
                "127.0.0.1",
                source.port(),
                Duration.ofSeconds(5));
        dealers.add(sender);
        return sender;
    }

    private void say(ZmtpSender dealer, byte[] message, String... addresses) throws IOException {
        say(dealer, message, recorder -> recorder.addresses().equals(List.of(addresses)));
    }

    private void say(ZmtpSender dealer, byte[] message, Predicate<FleetRecorder> until) throws IOException {
        dealer.send(message);
        await().atMost(Duration.ofSeconds(30))
                .pollDelay(Duration.ZERO)
                .pollInterval(Duration.ofMillis(10))
                .until(() -> until.test(fleet));
    }

    private static byte[] ping(String type, String httpAddress, String zmqAddress) {
        return message(
                "{'type':'" + type + "','http_address':'" + httpAddress + "','zmq_address':'" + zmqAddress + "'}");
    }

    private static byte[] message(String singleQuoted) {
        return MsgPack.write(JsonMapper.shared().readValue(singleQuoted.replace('\'', '"'), Object.class));
    }

    @Test
    void enginesOfVllmRegister() throws IOException {
        say(dealer("10.0.0.1:21001"), ping("P", "10.0.0.1:20001", "10.0.0.1:21001"), "10.0.0.1:20001");
        say(
                dealer("10.0.0.2:22001"),
                ping("D", "10.0.0.2:20002", "10.0.0.2:22001"),
                "10.0.0.1:20001",
                "10.0.0.2:20002");
        assertThat(fleet.engine("10.0.0.1:20001"))
                .isEqualTo(EngineInfo.of(EngineAddress.parse("10.0.0.1:20001"), EngineRole.PREFILLER)
                        .withEndpoint(new ConnectorEndpoint.P2pNccl("10.0.0.1:21001")));
        assertThat(fleet.engine("10.0.0.2:20002").role()).isEqualTo(EngineRole.DECODER);
    }

    /// The very bytes of Python's msgpack for such a map.
    @Test
    void bytesOfPythonsMsgpackAreRead() throws IOException {
        byte[] text =
                "\u0083\u00a4type\u00a1P\u00achttp_address\u00ae127.0.0.1:8100 \u00abzmq_address\u00af127.0.0.1:14579"
                        .replace(" ", "")
                        .getBytes(StandardCharsets.ISO_8859_1);
        say(dealer("x"), text, "127.0.0.1:8100");
    }

    @Test
    void whoIsSilentIsGoneWhileOthersAreHeardAndAlsoIfNobodyIs() throws Exception {
        startWithShortLife();
        ZmtpSender talking = dealer("a");
        long start = System.nanoTime();
        say(dealer("b"), ping("P", "10.0.0.2:1", "10.0.0.2:2"), "10.0.0.2:1");
        say(talking, ping("P", "10.0.0.1:1", "10.0.0.1:2"), "10.0.0.1:1", "10.0.0.2:1");
        while (fleet.addresses().size() == 2) {
            talking.send(ping("P", "10.0.0.1:1", "10.0.0.1:2"));
            Thread.sleep(50);
            assertThat(System.nanoTime() - start)
                    .isLessThan(Duration.ofSeconds(20).toNanos());
        }
        assertThat(Duration.ofNanos(System.nanoTime() - start)).isGreaterThan(TIME_TO_LIVE);
        assertThat(fleet.addresses()).containsExactly("10.0.0.1:1");
        fleet.awaitFleet();
        assertThat(fleet.events()).hasSize(4);
    }

    @Test
    void engineThatSaysThatItLeavesIsGoneAtOnceAndMayComeBack() throws IOException {
        ZmtpSender dealer = dealer("a");
        say(dealer, ping("P", "10.0.0.1:1", "10.0.0.1:2"), "10.0.0.1:1");
        say(
                dealer,
                message(
                        "{'type':'P','http_address':'10.0.0.1:1','zmq_address':'10.0.0.1:2','leaving':true,'more':[1]}"));
        say(dealer, ping("D", "10.0.0.1:1", "10.0.0.1:2"), "10.0.0.1:1");
        assertThat(fleet.engine("10.0.0.1:1").role()).isEqualTo(EngineRole.DECODER);
    }

    /// A worker that starts anew has the identity of the one before, whose connection may still look open.
    @Test
    void restartedEngineTakesItsIdentityOver() throws IOException {
        say(dealer("same"), ping("P", "10.0.0.1:1", "10.0.0.1:2"), "10.0.0.1:1");
        say(
                dealer("same"),
                ping("D", "10.0.0.1:1", "10.0.0.1:3"),
                recorder -> recorder.engine("10.0.0.1:1").role() == EngineRole.DECODER);
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "{'type':'X','http_address':'10.0.0.9:1','zmq_address':'10.0.0.9:2'}",
                "{'type':'P','http_address':'10.0.0.9','zmq_address':'10.0.0.9:2'}",
                "{'type':'P','http_address':'10.0.0.9:1'}",
                "{'type':'P','http_address':'10.0.0.9:1','zmq_address':7}",
                "{'type':'P','http_address':'169.254.169.254:80','zmq_address':'10.0.0.9:2'}",
                "{'type':'P','http_address':'10.0.0.9:1','zmq_address':'8.8.8.8:2'}",
                "{'type':'P','http_address':'10.0.0.9:1/x?y','zmq_address':'10.0.0.9:2'}",
                "{'type':'P','http_address':'10.0.0.9:1','zmq_address':'10.0.0.9:2','weight':-1}",
                "[]",
                "7"
            })
    void wrongMessageChangesNothingAndOthersGoOn(String wrong) throws IOException {
        ZmtpSender dealer = dealer("a");
        dealer.send(message(wrong));
        say(dealer, ping("P", "10.0.0.1:1", "10.0.0.1:2"), "10.0.0.1:1");
        assertThat(fleet.events()).first().isEqualTo("+10.0.0.1:1");
        assertThat(fleet.events()).allMatch(event -> event.endsWith("10.0.0.1:1"));
    }

    @Test
    void randomBytesChangeNothing() throws Exception {
        Random random = new Random(7);
        ZmtpSender dealer = dealer("a");
        for (int i = 0; i < 300; i++) {
            byte[] bytes = new byte[random.nextInt(200)];
            random.nextBytes(bytes);
            dealer.send(bytes);
            if (i % 30 == 0) {
                try (Socket raw = new Socket(InetAddress.getLoopbackAddress(), source.port())) {
                    raw.getOutputStream().write(bytes); // no ZeroMQ at all
                }
            }
        }
        try (Wire wire = Wire.unconnected()) {
            wire.connect("127.0.0.1", source.port(), Duration.ofSeconds(5));
            Zmtp raw = new Zmtp(wire, Zmtp.SocketType.DEALER, 1);
            raw.greet(Duration.ofSeconds(5));
            byte[] ping = ping("P", "10.0.0.7:1", "10.0.0.7:2");
            raw.send(List.of(ping, ping, ping));
        }
        say(dealer, ping("P", "10.0.0.1:1", "10.0.0.1:2"), "10.0.0.1:1");
        assertThat(fleet.events()).allMatch(event -> event.endsWith("10.0.0.1:1"));
    }

    @Test
    void takenPortIsExplainedInOneSentence() throws Exception {
        try (ServerSocket taken = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            int port = taken.getLocalPort();
            assertThatExceptionOfType(DiscoveryException.class)
                    .isThrownBy(() -> new ZmqRegistrations(
                                    "127.0.0.1", port, TIME_TO_LIVE, AllowedEngines.privateNetworks())
                            .start(fleet))
                    .withMessageContaining("127.0.0.1:" + port)
                    .withMessageNotContaining("\n");
        }
    }

    @Test
    void engineThatRegistersItselfStaysUntilItIsClosed() throws Exception {
        startWithShortLife();
        EngineInfo engine = new EngineInfo(
                EngineAddress.parse("127.0.0.1:8100"),
                EngineRole.BOTH,
                2,
                new ConnectorEndpoint.P2pNccl("127.0.0.1:99"));
        Registrar registrar = Registrar.start(
                List.of("zmq://127.0.0.1:" + source.port()),
                new Registrar.Config(engine, Duration.ofSeconds(6), ""),
                () -> true);
        fleet.awaitFleet("127.0.0.1:8100");
        assertThat(fleet.engine("127.0.0.1:8100")).isEqualTo(engine);
        Thread.sleep(TIME_TO_LIVE.multipliedBy(2));
        assertThat(fleet.events()).hasSize(1);
        long start = System.nanoTime();
        registrar.close();
        fleet.awaitFleet();
        assertThat(Duration.ofNanos(System.nanoTime() - start)).isLessThan(TIME_TO_LIVE.minusMillis(200));
    }
}
