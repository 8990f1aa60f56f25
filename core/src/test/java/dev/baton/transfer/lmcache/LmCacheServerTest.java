package dev.baton.transfer.lmcache;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.baton.transfer.TransferException;
import java.io.DataInputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.net.Socket;
import java.net.SocketException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// The server over plain sockets, byte by byte as LMCache's client speaks.
@Timeout(value = 60, unit = TimeUnit.SECONDS)
class LmCacheServerTest {
    private static final String KEY = "/models/tiny@1@0@6cccce88f049006f@bfloat16";

    private static byte[] header(int command, int length, String key) {
        ByteBuffer out = ByteBuffer.allocate(186).order(ByteOrder.LITTLE_ENDIAN);
        for (int number : new int[] {command, length, 1, 3, 0, 2, 4, 256, 128}) {
            out.putInt(number);
        }
        out.put(key.getBytes(StandardCharsets.US_ASCII));
        while (out.hasRemaining()) {
            out.put((byte) ' ');
        }
        return out.array();
    }

    private static int[] reply(Socket socket) throws IOException {
        byte[] bytes = new DataInputStream(socket.getInputStream()).readNBytes(36);
        int[] numbers = new int[bytes.length / 4];
        ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).asIntBuffer().get(numbers);
        return numbers;
    }

    private static void put(Socket socket, String key, byte[] chunk) throws IOException {
        OutputStream out = socket.getOutputStream();
        out.write(header(1, chunk.length, key));
        out.write(chunk);
    }

    private static byte[] noise(int seed, int length) {
        byte[] noise = new byte[length];
        new Random(seed).nextBytes(noise);
        return noise;
    }

    private static Socket connect(LmCacheServer server) throws IOException {
        Socket socket = new Socket("127.0.0.1", server.port());
        socket.setSoTimeout(20_000);
        return socket;
    }

    @Test
    void clientOfLmCacheIsAnsweredAsItsServerDoes() throws IOException {
        try (LmCacheServer server = LmCacheServer.start("127.0.0.1", 0, 4 << 20, 4);
                Socket socket = connect(server)) {
            OutputStream out = socket.getOutputStream();
            out.write(header(5, 0, "health"));
            assertThat(reply(socket)).containsExactly(200, 0, 1, 2, 0, 0, 0, 0, 0);
            out.write(header(3, 0, KEY));
            assertThat(reply(socket)).containsExactly(400, 0, 1, 2, 0, 0, 0, 0, 0);
            out.write(header(2, 0, KEY));
            assertThat(reply(socket)).containsExactly(400, 0, 1, 2, 0, 0, 0, 0, 0);
            byte[] chunk = noise(1, 524_288);
            put(socket, KEY, chunk);
            out.write(header(3, 0, KEY));
            assertThat(reply(socket)).containsExactly(200, 0, 1, 2, 0, 0, 0, 0, 0);
            out.write(header(2, 0, KEY));
            assertThat(reply(socket)).containsExactly(200, 524_288, 1, 3, 2, 4, 256, 128, 0);
            assertThat(socket.getInputStream().readNBytes(chunk.length)).isEqualTo(chunk);
            assertThat(server.numChunks()).isEqualTo(1);
            assertThat(server.usedBytes()).isEqualTo(524_288);
        }
    }

    @Test
    void headerOfAnAnswerComesInOneRead() throws IOException {
        try (LmCacheServer server = LmCacheServer.start("127.0.0.1", 0, 4 << 20, 4);
                Socket socket = connect(server)) {
            put(socket, KEY, noise(1, 200_000));
            for (int i = 0; i < 50; i++) {
                socket.getOutputStream().write(header(2, 0, KEY));
                assertThat(socket.getInputStream().read(new byte[36])).isEqualTo(36);
                assertThat(socket.getInputStream().readNBytes(200_000)).hasSize(200_000);
            }
        }
    }

    @ParameterizedTest
    @CsvSource({"1, -1, k", "1, 2147483647, k", "1, 1048577, k", "1, 10, ''", "4, 0, k", "0, 0, k", "77, 0, k"})
    void whatBreaksTheRulesEndsTheConnectionOnly(int command, int length, String key) throws IOException {
        try (LmCacheServer server = LmCacheServer.start("127.0.0.1", 0, 1 << 20, 4);
                Socket good = connect(server)) {
            try (Socket bad = connect(server)) {
                bad.getOutputStream().write(header(command, length, key));
                assertThat(endOf(bad)).isTrue();
            }
            assertThat(server.usedBytes()).isZero();
            put(good, KEY, noise(1, 1 << 20));
            good.getOutputStream().write(header(3, 0, KEY));
            assertThat(reply(good)[0]).isEqualTo(200);
        }
    }

    private static boolean endOf(Socket socket) throws IOException {
        try {
            return socket.getInputStream().read() < 0;
        } catch (SocketException e) {
            return true; // reset
        }
    }

    @Test
    void memoryKeepsItsBoundAndForgetsTheOldest() throws IOException {
        try (LmCacheServer server = LmCacheServer.start("127.0.0.1", 0, 1 << 20, 4);
                Socket socket = connect(server)) {
            for (int i = 0; i < 40; i++) {
                put(socket, KEY + i, noise(i, 200_000)); // four pages of 64 KiB each
                socket.getOutputStream().write(header(2, 0, KEY + 0));
                assertThat(reply(socket)[0]).isEqualTo(200);
                assertThat(socket.getInputStream().readNBytes(200_000)).isEqualTo(noise(0, 200_000));
                assertThat(server.usedBytes()).isLessThanOrEqualTo(1 << 20);
            }
            assertThat(server.numChunks()).isEqualTo(4);
            socket.getOutputStream().write(header(3, 0, KEY + 30));
            assertThat(reply(socket)[0]).isEqualTo(400);
        }
    }

    @Test
    void clientThatLeavesInTheMiddleLeavesNothingBehind() throws IOException {
        try (LmCacheServer server = LmCacheServer.start("127.0.0.1", 0, 1 << 20, 4)) {
            try (Socket socket = connect(server)) {
                socket.getOutputStream().write(header(1, 1 << 20, KEY));
                socket.getOutputStream().write(noise(1, 100_000));
                Awaitility.await().until(() -> server.usedBytes() == 1 << 20);
            }
            Awaitility.await().atMost(Duration.ofSeconds(10)).until(() -> server.numConnections() == 0);
            assertThat(server.usedBytes()).isZero();
            assertThat(server.numChunks()).isZero();
        }
    }

    @Test
    void chunkForWhichThereIsNoRoomIsReadAndForgotten() throws IOException {
        try (LmCacheServer server = LmCacheServer.start("127.0.0.1", 0, 1 << 20, 4);
                Socket slow = connect(server);
                Socket other = connect(server)) {
            slow.getOutputStream().write(header(1, 1 << 20, KEY)); // takes all the memory and sends nothing
            Awaitility.await().until(() -> server.usedBytes() == 1 << 20);
            put(other, KEY + 1, noise(1, 300_001));
            other.getOutputStream().write(header(3, 0, KEY + 1));
            assertThat(reply(other)[0]).isEqualTo(400);
            slow.getOutputStream().write(noise(2, 1 << 20));
            slow.getOutputStream().write(header(3, 0, KEY));
            assertThat(reply(slow)[0]).isEqualTo(200);
        }
    }

    @Test
    @SuppressWarnings("try") // that a client closes is what it is about
    void clientsBeyondTheBoundAreTurnedAway() throws IOException {
        try (LmCacheServer server = LmCacheServer.start("127.0.0.1", 0, 1 << 20, 2);
                Socket first = connect(server);
                Socket second = connect(server)) {
            Awaitility.await().until(() -> server.numConnections() == 2);
            try (Socket third = connect(server)) {
                assertThat(endOf(third)).isTrue();
            }
            first.close();
            Awaitility.await().until(() -> server.numConnections() == 1);
            try (Socket fourth = connect(server)) {
                fourth.getOutputStream().write(header(5, 0, ""));
                assertThat(reply(fourth)[0]).isEqualTo(200);
            }
            second.getOutputStream().write(header(5, 0, ""));
            assertThat(reply(second)[0]).isEqualTo(200);
        }
    }

    @Test
    void manyClientsAtOnceGetTheirOwnChunks() throws InterruptedException {
        AtomicInteger wrong = new AtomicInteger();
        AtomicInteger hits = new AtomicInteger();
        try (LmCacheServer server = LmCacheServer.start("127.0.0.1", 0, 2 << 20, 16)) {
            List<Thread> clients = new ArrayList<>();
            for (int c = 0; c < 8; c++) {
                Random random = new Random(c);
                clients.add(Thread.ofPlatform().start(() -> {
                    try (Socket socket = connect(server)) {
                        for (int i = 0; i < 200; i++) {
                            int id = random.nextInt(20);
                            put(socket, KEY + id, noise(id, 100_000 + id));
                            int wanted = random.nextInt(20);
                            socket.getOutputStream().write(header(2, 0, KEY + wanted));
                            int[] reply = reply(socket);
                            if (reply[0] == 200) {
                                hits.incrementAndGet();
                                byte[] chunk = socket.getInputStream().readNBytes(reply[1]);
                                if (!java.util.Arrays.equals(chunk, noise(wanted, 100_000 + wanted))) {
                                    wrong.incrementAndGet();
                                }
                            }
                        }
                    } catch (IOException e) {
                        wrong.addAndGet(1000);
                    }
                }));
            }
            for (Thread client : clients) {
                client.join();
            }
        }
        assertThat(wrong.get()).isZero();
        assertThat(hits.get()).isGreaterThan(400);
    }

    @Test
    void randomBytesEndConnectionsAndNothingElse() throws IOException {
        try (LmCacheServer server = LmCacheServer.start("127.0.0.1", 0, 1 << 20, 8)) {
            Random random = new Random(11);
            for (int i = 0; i < 300; i++) {
                try (Socket socket = connect(server)) {
                    byte[] bytes = i % 2 == 0
                            ? noise(i, random.nextInt(600))
                            : header(random.nextInt(7), random.nextInt(-5, 5000), KEY + random.nextInt(5));
                    socket.getOutputStream().write(bytes);
                    if (i % 4 == 1) {
                        socket.getOutputStream().write(noise(i, random.nextInt(6000)));
                    }
                    socket.shutdownOutput();
                    socket.getInputStream().transferTo(OutputStream.nullOutputStream());
                } catch (SocketException e) {
                    // reset, as it deserves
                }
            }
            Awaitility.await().atMost(Duration.ofSeconds(10)).until(() -> server.numConnections() == 0);
            try (Socket socket = connect(server)) {
                put(socket, KEY, noise(1, 1 << 20)); // every page is free or can be had
                socket.getOutputStream().write(header(3, 0, KEY));
                assertThat(reply(socket)[0]).isEqualTo(200);
            }
        }
    }

    @Test
    void boundsThatMakeNoSenseAreRefused() {
        assertThatThrownBy(() -> LmCacheServer.start("127.0.0.1", 0, 1000, 1))
                .isInstanceOf(TransferException.class)
                .hasMessageContaining("--max-bytes");
        assertThatThrownBy(() -> LmCacheServer.start("127.0.0.1", 0, 1 << 20, 0))
                .isInstanceOf(TransferException.class)
                .hasMessageContaining("--max-connections");
        try (LmCacheServer server = LmCacheServer.start("127.0.0.1", 0, 1 << 20, 1)) {
            assertThatThrownBy(() -> LmCacheServer.start("127.0.0.1", server.port(), 1 << 20, 1))
                    .isInstanceOf(TransferException.class)
                    .hasMessageContaining("--port");
        }
    }
}
