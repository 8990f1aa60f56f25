package dev.baton.wire;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.awaitility.Awaitility.await;

import dev.baton.transfer.tcp.KvThreads;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ProtocolException;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.SocketTimeoutException;
import java.nio.ByteBuffer;
import java.nio.channels.ClosedChannelException;
import java.nio.channels.ServerSocketChannel;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/// ZeroMQ's protocol between this room's own ends, and against peers that break it; foreign ends are in
/// [ZmtpInteropTest].
@ExtendWith(KvThreads.class)
@Timeout(60)
class ZmtpTest {
    private static final Duration PATIENCE = Duration.ofSeconds(20);
    private static final ZmtpServer.Limits LIMITS = new ZmtpServer.Limits(64, 1 << 20, Duration.ofMinutes(1));

    private static ZmtpServer echo(ZmtpServer.Limits limits) throws IOException {
        return ZmtpServer.start("baton-kv-test", Zmtp.SocketType.ROUTER, "127.0.0.1", 0, limits, Zmtp::send);
    }

    private static Zmtp dealer(Wire wire, int port) throws IOException {
        wire.connect("127.0.0.1", port, PATIENCE);
        Zmtp channel = new Zmtp(wire, Zmtp.SocketType.DEALER, 32 << 20);
        channel.greet(PATIENCE);
        return channel;
    }

    @Test
    void messagesOfEverySizeAndNumberOfFramesComeBack() throws IOException {
        Random random = new Random(1);
        try (ZmtpServer server = echo(LIMITS);
                Wire wire = Wire.unconnected()) {
            Zmtp channel = dealer(wire, server.port());
            for (int size : new int[] {0, 1, 254, 255, 256, 65_535, 65_536, 65_537, 200_000, 1 << 20}) {
                byte[] message = new byte[size];
                random.nextBytes(message);
                channel.send(message);
                assertThat(Zmtp.single(channel.receive(PATIENCE))).isEqualTo(message);
            }
            List<byte[]> frames = List.of(new byte[0], new byte[300], "x".getBytes(StandardCharsets.UTF_8));
            channel.send(frames);
            List<byte[]> back = channel.receive(PATIENCE);
            assertThat(back).hasSize(3);
            assertThat(back.get(2)).isEqualTo(frames.get(2));
        }
    }

    /// More than a socket takes at once, answered by another thread while the owner waits.
    @Test
    void whatTheSocketDoesNotTakeAtOnceFollows() throws IOException {
        byte[] large = new byte[12 << 20];
        new Random(2).nextBytes(large);
        try (ZmtpServer server = ZmtpServer.start(
                        "baton-kv-test",
                        Zmtp.SocketType.ROUTER,
                        "127.0.0.1",
                        0,
                        LIMITS,
                        (from, _) -> Thread.ofVirtual().start(() -> {
                            try {
                                from.send(large);
                            } catch (IOException e) {
                                from.abort();
                            }
                        }));
                Wire wire = Wire.unconnected()) {
            Zmtp channel = dealer(wire, server.port());
            channel.send(new byte[1]);
            assertThat(Zmtp.single(channel.receive(PATIENCE))).isEqualTo(large);
        }
    }

    /// What is sent to one who does not read is bounded, and the connection ends.
    @Test
    void peerThatDoesNotReadIsGivenUp() throws Exception {
        BlockingQueue<IOException> failures = new LinkedBlockingQueue<>();
        try (ZmtpServer server =
                        ZmtpServer.start("baton-kv-test", Zmtp.SocketType.ROUTER, "127.0.0.1", 0, LIMITS, (from, _) -> {
                            try {
                                for (int i = 0; i < 100; i++) {
                                    from.send(new byte[1 << 20]);
                                }
                            } catch (IOException e) {
                                failures.add(e);
                                throw e;
                            }
                        });
                Wire wire = Wire.unconnected()) {
            dealer(wire, server.port()).send(new byte[1]);
            assertThat(failures.poll(20, TimeUnit.SECONDS)).isInstanceOf(SocketTimeoutException.class);
        }
    }

    @Test
    void identityIsTold() throws Exception {
        BlockingQueue<byte[]> identities = new LinkedBlockingQueue<>();
        byte[] identity = "10.0.0.1:21001".getBytes(StandardCharsets.US_ASCII);
        try (ZmtpServer server = ZmtpServer.start(
                        "baton-kv-test",
                        Zmtp.SocketType.ROUTER,
                        "127.0.0.1",
                        0,
                        LIMITS,
                        (from, _) -> identities.add(from.peerIdentity()));
                ZmtpSender sender =
                        new ZmtpSender(Zmtp.SocketType.DEALER, identity, "127.0.0.1", server.port(), PATIENCE)) {
            sender.send(new byte[1]);
            assertThat(identities.poll(10, TimeUnit.SECONDS)).isEqualTo(identity);
        }
    }

    /// The connecting side that a library's stalls were measured of.
    @Test
    void everyOneOfManyConnectionsComesAbout() throws IOException {
        try (ZmtpServer server = echo(LIMITS);
                ZmtpRequests requests = new ZmtpRequests()) {
            for (int i = 0; i < 500; i++) {
                byte[] question = ("question " + i).getBytes(StandardCharsets.UTF_8);
                assertThat(requests.ask("127.0.0.1", server.port(), question, 100, PATIENCE, PATIENCE)
                                .getFirst())
                        .isEqualTo(question);
            }
        }
    }

    @ParameterizedTest
    @EnumSource(Zmtp.SocketType.class)
    void onlyPartnersTalk(Zmtp.SocketType type) throws IOException {
        boolean fits = type == Zmtp.SocketType.DEALER || type == Zmtp.SocketType.REQ || type == Zmtp.SocketType.ROUTER;
        try (ZmtpServer server = echo(LIMITS);
                Wire wire = Wire.unconnected()) {
            wire.connect("127.0.0.1", server.port(), PATIENCE);
            Zmtp channel = new Zmtp(wire, type, 100);
            if (fits) {
                channel.greet(PATIENCE);
            } else {
                assertThatThrownBy(() -> channel.greet(PATIENCE)).isInstanceOf(ProtocolException.class);
            }
        }
    }

    /// The greeting's deadline counts for all of it, however slowly bytes drip.
    @Test
    void peerThatDoesNotGreetInTimeIsGivenUp() throws Exception {
        try (ServerSocket silent = new ServerSocket(0, 1, InetAddress.getLoopbackAddress());
                Wire wire = Wire.unconnected()) {
            wire.connect("127.0.0.1", silent.getLocalPort(), PATIENCE);
            Zmtp channel = new Zmtp(wire, Zmtp.SocketType.DEALER, 100);
            long start = System.nanoTime();
            assertThatThrownBy(() -> channel.greet(Duration.ofMillis(200))).isInstanceOf(SocketTimeoutException.class);
            assertThat(Duration.ofNanos(System.nanoTime() - start)).isLessThan(PATIENCE);
        }
    }

    @Test
    void silentPeersAreAskedForASignOfLifeAndDroppedWithoutOne() throws Exception {
        ZmtpServer.Limits impatient = new ZmtpServer.Limits(64, 100, Duration.ofMillis(1_200));
        try (ZmtpServer server = echo(impatient);
                Wire alive = Wire.unconnected();
                Wire dead = Wire.unconnected()) {
            Zmtp living = dealer(alive, server.port());
            dealer(dead, server.port()); // reads nothing, answers no ping
            assertThatThrownBy(() -> living.receive(Duration.ofSeconds(5))) // and answers pings meanwhile
                    .isInstanceOf(SocketTimeoutException.class);
            living.send(new byte[] {7});
            assertThat(Zmtp.single(living.receive(PATIENCE))).containsExactly(7);
            ByteBuffer rest = ByteBuffer.allocate(1 << 16);
            assertThatThrownBy(() -> dead.readFully(rest, PATIENCE))
                    .isInstanceOf(IOException.class)
                    .isNotInstanceOf(SocketTimeoutException.class);
        }
    }

    @Test
    void deadlineOfAnAnswerHoldsAlsoIfThePeerAnswersPings() throws Exception {
        try (ZmtpServer server = ZmtpServer.start(
                        "baton-kv-test", Zmtp.SocketType.ROUTER, "127.0.0.1", 0, LIMITS, (_, _) -> {});
                Wire wire = Wire.unconnected()) {
            Zmtp channel = dealer(wire, server.port());
            long start = System.nanoTime();
            assertThatThrownBy(
                            () -> channel.receive(Duration.ofMinutes(1), Duration.ofMillis(50), Duration.ofMillis(500)))
                    .isInstanceOf(SocketTimeoutException.class);
            assertThat(Duration.ofNanos(System.nanoTime() - start))
                    .isBetween(Duration.ofMillis(450), Duration.ofSeconds(30));
        }
    }

    @Test
    void closingEndsQuestionsThatWait() throws Exception {
        ZmtpRequests requests = new ZmtpRequests();
        try (ZmtpServer server =
                ZmtpServer.start("baton-kv-test", Zmtp.SocketType.ROUTER, "127.0.0.1", 0, LIMITS, (_, _) -> {})) {
            AtomicReference<Throwable> outcome = new AtomicReference<>();
            Thread asking = Thread.ofPlatform().start(() -> {
                try {
                    requests.ask("127.0.0.1", server.port(), new byte[1], 100, PATIENCE, Duration.ofMinutes(5));
                } catch (IOException e) {
                    outcome.set(e);
                }
            });
            Thread.sleep(200);
            requests.close();
            assertThat(asking.join(PATIENCE)).isTrue();
            assertThat(outcome.get()).isNotNull();
            assertThatThrownBy(() -> requests.ask("127.0.0.1", server.port(), new byte[1], 9, PATIENCE, PATIENCE))
                    .isInstanceOf(IOException.class);
        }
    }

    @Test
    void senderFindsAPeerThatWasAway() throws Exception {
        BlockingQueue<byte[]> heard = new LinkedBlockingQueue<>();
        ZmtpServer.Receiver receiver = (_, message) -> heard.add(message.getFirst());
        int port = FreePorts.next(); // that nobody takes meanwhile
        ZmtpServer first = ZmtpServer.start("baton-kv-test", Zmtp.SocketType.PULL, "127.0.0.1", port, LIMITS, receiver);
        try (ZmtpSender sender = new ZmtpSender(Zmtp.SocketType.PUSH, new byte[0], "127.0.0.1", port, PATIENCE)) {
            sender.send(new byte[] {1});
            assertThat(heard.poll(10, TimeUnit.SECONDS)).containsExactly(1);
            first.close();
            await().atMost(PATIENCE)
                    .untilAsserted(() -> assertThatThrownBy(() -> sender.send(new byte[] {2}))
                            .isInstanceOf(IOException.class));
            try (ZmtpServer _ =
                    ZmtpServer.start("baton-kv-test", Zmtp.SocketType.PULL, "127.0.0.1", port, LIMITS, receiver)) {
                sender.send(new byte[] {3});
                assertThat(heard.poll(10, TimeUnit.SECONDS)).containsExactly(3);
            }
        }
    }

    @Test
    void framesOverTheLimitAreRefusedBeforeTheyAreRead() throws Exception {
        try (ZmtpServer server = echo(new ZmtpServer.Limits(64, 100, Duration.ofMinutes(1)))) {
            for (List<byte[]> message : List.of(
                    List.of(new byte[101]),
                    List.of(new byte[60], new byte[60]),
                    Arrays.asList(new byte[Zmtp.MAX_FRAMES + 1][0]))) {
                try (Wire wire = Wire.unconnected()) {
                    Zmtp channel = dealer(wire, server.port());
                    channel.send(message);
                    assertThatThrownBy(() -> channel.receive(PATIENCE))
                            .isInstanceOf(IOException.class)
                            .isNotInstanceOf(SocketTimeoutException.class);
                }
            }
        }
    }

    /// Random bytes and damaged conversations end their own connection and nothing else.
    @ParameterizedTest
    @ValueSource(longs = {1, 2, 3})
    void garbageEndsItsConnectionAlone(long seed) throws Exception {
        Random random = new Random(seed);
        byte[] conversation = conversation();
        try (ZmtpServer server = echo(LIMITS);
                Wire good = Wire.unconnected()) {
            Zmtp channel = dealer(good, server.port());
            for (int round = 0; round < 300; round++) {
                byte[] bytes = conversation.clone();
                if (round % 3 == 0) {
                    bytes = new byte[random.nextInt(300)];
                    random.nextBytes(bytes);
                } else {
                    for (int i = random.nextInt(4); i >= 0; i--) {
                        bytes[random.nextInt(bytes.length)] = (byte) random.nextInt();
                    }
                }
                try (Socket raw = new Socket(InetAddress.getLoopbackAddress(), server.port())) {
                    raw.getOutputStream().write(bytes);
                    raw.shutdownOutput();
                    raw.setSoTimeout(10_000);
                    while (raw.getInputStream().read() >= 0) {} // until it is closed
                } catch (java.net.SocketException e) {
                    // reset, which is as good
                }
            }
            channel.send(new byte[] {5});
            assertThat(Zmtp.single(channel.receive(PATIENCE))).containsExactly(5);
        }
    }

    /// And the same of a server towards one who connects.
    @ParameterizedTest
    @ValueSource(longs = {4, 5})
    void garbageOfAServerEndsTheQuestion(long seed) throws Exception {
        Random random = new Random(seed);
        byte[] conversation = conversation();
        ServerSocketChannel listener = ServerSocketChannel.open();
        listener.bind(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0));
        int port = listener.socket().getLocalPort();
        Thread server = Thread.ofPlatform().daemon().start(() -> {
            while (true) {
                byte[] bytes = conversation.clone();
                for (int i = random.nextInt(4); i >= 0; i--) {
                    bytes[random.nextInt(bytes.length)] = (byte) random.nextInt();
                }
                try (Socket raw = listener.accept().socket()) {
                    raw.getOutputStream().write(bytes);
                } catch (ClosedChannelException e) {
                    return;
                } catch (IOException e) {
                    // the next one
                }
            }
        });
        try (listener;
                ZmtpRequests requests = new ZmtpRequests()) {
            for (int round = 0; round < 200; round++) {
                try {
                    requests.ask("127.0.0.1", port, new byte[8], 1 << 20, PATIENCE, PATIENCE);
                } catch (IOException e) {
                    assertThat(e).isNotInstanceOf(SocketTimeoutException.class);
                }
            }
        }
        assertThat(server.join(PATIENCE)).isTrue();
    }

    /// What a DEALER sends: greeting, READY, a PING, a message.
    private static byte[] conversation() throws IOException {
        try (ServerSocket listener = new ServerSocket(0, 1, InetAddress.getLoopbackAddress());
                Wire wire = Wire.unconnected()) {
            wire.connect("127.0.0.1", listener.getLocalPort(), PATIENCE);
            try (Socket raw = listener.accept()) {
                Zmtp channel = new Zmtp(wire, Zmtp.SocketType.DEALER, 100);
                ByteBuffer theirs = ByteBuffer.allocate(64);
                theirs.put(0, (byte) 0xff).put(9, (byte) 0x7f).put(10, (byte) 3).put(11, (byte) 1);
                theirs.put(12, "NULL".getBytes(StandardCharsets.US_ASCII));
                raw.getOutputStream().write(theirs.array());
                byte[] ready = ("\u0004\u0026\u0005READY\u000bSocket-Type\u0000\u0000\u0000\u0006ROUTER"
                                + "\u0008Identity\u0000\u0000\u0000\u0000")
                        .getBytes(StandardCharsets.ISO_8859_1);
                ready[1] = (byte) (ready.length - 2);
                raw.getOutputStream().write(ready);
                channel.greet(PATIENCE);
                assertThatThrownBy(() -> channel.receive(Duration.ofMillis(500), Duration.ofMillis(200)))
                        .isInstanceOf(SocketTimeoutException.class); // after a ping or two
                channel.send(List.of(new byte[0], new byte[40]));
                byte[] said = new byte[4096];
                int length = 0;
                raw.setSoTimeout(300);
                try {
                    for (int n = 0; n >= 0; n = raw.getInputStream().read(said, length, said.length - length)) {
                        length += n;
                    }
                } catch (SocketTimeoutException e) {
                    // all of it
                }
                assertThat(new String(said, 0, length, StandardCharsets.ISO_8859_1))
                        .contains("PING", "READY");
                return Arrays.copyOf(said, length);
            }
        }
    }
}
