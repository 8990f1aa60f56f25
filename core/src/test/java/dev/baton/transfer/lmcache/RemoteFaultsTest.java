package dev.baton.transfer.lmcache;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.io.OutputStream;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// Servers that are silent, gone, or say anything: a miss in time, never a hang, never more bytes than there is
/// room.
@Timeout(value = 120, unit = TimeUnit.SECONDS)
class RemoteFaultsTest {
    private static final ChunkHead HEAD = new ChunkHead(480, 1, 3, 2, 3, 8, 5);
    private static final String KEY = "m@1@0@a@bfloat16";

    /// What a server does with a connection.
    @FunctionalInterface
    private interface Behaviour {
        void with(Socket socket, int number) throws IOException;
    }

    /// A server that behaves as it is told.
    private static final class OddServer implements AutoCloseable {
        private final ServerSocket listener;

        OddServer(Behaviour behaviour) throws IOException {
            listener = new ServerSocket(0, 50, InetAddress.getLoopbackAddress());
            AtomicInteger number = new AtomicInteger();
            Thread.ofPlatform().daemon().start(() -> {
                while (!listener.isClosed()) {
                    try {
                        Socket socket = listener.accept();
                        Thread.ofPlatform().daemon().start(() -> {
                            try (socket) {
                                behaviour.with(socket, number.getAndIncrement());
                            } catch (IOException e) {
                                // the client is gone
                            }
                        });
                    } catch (IOException e) {
                        return;
                    }
                }
            });
        }

        ServerAddress address() {
            return new ServerAddress("127.0.0.1", listener.getLocalPort(), Optional.empty(), "");
        }

        @Override
        public void close() throws IOException {
            listener.close();
        }
    }

    private static Tier tier(String scheme, ServerAddress address, Duration timeout) {
        return scheme.equals("lm") ? new LmTier(address, timeout) : new RedisTier(address, timeout);
    }

    private static MemorySegment room() {
        return Arena.ofAuto().allocate(HEAD.lengthBytes());
    }

    @ParameterizedTest
    @ValueSource(strings = {"lm", "redis"})
    void silentServerIsAMissWithinTheTimeoutAndThenLeftAlone(String scheme) throws IOException {
        AtomicInteger asked = new AtomicInteger();
        Counters counters = new Counters();
        try (OddServer server = new OddServer((socket, number) -> {
                    asked.incrementAndGet();
                    socket.getInputStream().transferTo(OutputStream.nullOutputStream());
                });
                Tiers tiers = Tiers.of(List.of(tier(scheme, server.address(), Duration.ofMillis(200))), counters)) {
            long start = System.nanoTime();
            for (int i = 0; i < 100; i++) {
                assertThat(tiers.get(KEY, HEAD, room())).isFalse();
                assertThat(tiers.contains(KEY)).isFalse();
            }
            assertThat(Duration.ofNanos(System.nanoTime() - start)).isLessThan(Duration.ofSeconds(15));
            assertThat(asked.get()).isBetween(1, 4);
            assertThat(counters.tierFailures.sum()).isBetween(1L, 4L);
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"lm", "redis"})
    void serverThatIsNotThereIsAMiss(String scheme) throws IOException {
        OddServer server = new OddServer((socket, number) -> {});
        ServerAddress address = server.address();
        server.close();
        Counters counters = new Counters();
        try (Tiers tiers = Tiers.of(List.of(tier(scheme, address, Duration.ofSeconds(5))), counters)) {
            assertThat(tiers.get(KEY, HEAD, room())).isFalse();
            for (GuardedTier tier : tiers.missing(KEY)) {
                assertThat(tier.put(KEY, HEAD, room())).isFalse();
            }
            assertThat(counters.tierFailures.sum()).isEqualTo(2);
        }
    }

    @Test
    void serverThatWasRestartedIsUsedAgainAtOnce() throws IOException {
        LmCacheServer first = LmCacheServer.start("127.0.0.1", 0, 1 << 20, 4);
        int port = first.port();
        ServerAddress address = new ServerAddress("127.0.0.1", port, Optional.empty(), "");
        try (LmTier tier = new LmTier(address, Duration.ofSeconds(5))) {
            tier.put(KEY, HEAD, room());
            assertThat(tier.contains(KEY)).isTrue();
            first.close();
            try (LmCacheServer _ = LmCacheServer.start("127.0.0.1", port, 1 << 20, 4)) {
                assertThat(tier.contains(KEY)).isFalse();
                tier.put(KEY, HEAD, room());
                assertThat(tier.get(KEY, HEAD, room())).isTrue();
            }
            assertThatThrownBy(() -> tier.contains(KEY)).isInstanceOf(IOException.class);
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"lm", "redis"})
    void disconnectEndsACallThatWaits(String scheme) throws Exception {
        try (OddServer server = new OddServer(
                (socket, number) -> socket.getInputStream().transferTo(OutputStream.nullOutputStream()))) {
            Tier tier = tier(scheme, server.address(), Duration.ofMinutes(1));
            Thread waiting = Thread.ofPlatform()
                    .start(() -> assertThatThrownBy(() -> tier.contains(KEY)).isInstanceOf(IOException.class));
            Thread.sleep(100);
            tier.disconnect();
            assertThat(waiting.join(Duration.ofSeconds(10))).isTrue();
            assertThatThrownBy(() -> tier.contains(KEY)).isInstanceOf(IOException.class);
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"lm", "redis"})
    void anyAnswerIsAHitAMissOrAFailure(String scheme) throws IOException {
        byte[] right = scheme.equals("lm") ? lmAnswer() : redisAnswer();
        AtomicInteger connections = new AtomicInteger();
        try (OddServer server = new OddServer((socket, number) -> {
            connections.incrementAndGet();
            Random random = new Random(number);
            byte[] answer = right.clone();
            for (int n = random.nextInt(4); n > 0; n--) {
                answer[random.nextInt(Math.min(answer.length, 60))] = (byte) random.nextInt(256);
            }
            int length = random.nextInt(5) == 0 ? random.nextInt(answer.length) : answer.length;
            socket.getOutputStream().write(answer, 0, length);
            socket.shutdownOutput();
            socket.getInputStream().transferTo(OutputStream.nullOutputStream());
        })) {
            int hits = 0;
            int failures = 0;
            for (int i = 0; i < 400; i++) {
                MemorySegment exact = room();
                try (Tier tier = tier(scheme, server.address(), Duration.ofSeconds(2))) {
                    if (tier.get(KEY, HEAD, exact)) {
                        hits++;
                    }
                } catch (IOException e) {
                    failures++;
                }
            }
            assertThat(hits).isPositive();
            assertThat(failures).isGreaterThan(100);
            assertThat(connections.get()).isEqualTo(400);
        }
    }

    private static byte[] lmAnswer() {
        byte[] answer = new byte[36 + 480];
        LmMessage.reply(LmMessage.SUCCESS, HEAD).get(answer, 0, 36);
        return answer;
    }

    private static byte[] redisAnswer() throws IOException {
        java.io.ByteArrayOutputStream out = new java.io.ByteArrayOutputStream();
        out.write("$28\r\n".getBytes(StandardCharsets.US_ASCII));
        out.write(HEAD.toBytes());
        out.write("\r\n$480\r\n".getBytes(StandardCharsets.US_ASCII));
        out.write(new byte[480]);
        out.write("\r\n".getBytes(StandardCharsets.US_ASCII));
        return out.toByteArray();
    }

    @Test
    void redisThatSaysALengthOfItsOwnIsNotBelieved() throws IOException {
        for (String line : List.of(
                "$999999999999999999", "$-2", "$", "$x", ":28", "+OK", "-ERR no", "$28$", "*1", "x".repeat(5000))) {
            try (OddServer server = new OddServer((socket, number) -> {
                        socket.getOutputStream().write((line + "\r\n").getBytes(StandardCharsets.US_ASCII));
                        socket.getInputStream().transferTo(OutputStream.nullOutputStream());
                    });
                    Tier tier = tier("redis", server.address(), Duration.ofSeconds(5))) {
                assertThatThrownBy(() -> tier.get(KEY, HEAD, room())).as(line).isInstanceOf(IOException.class);
            }
        }
    }

    @TempDir
    Path folder;

    @Test
    void redisWithoutTheBytesForgetsTheHeadToo() throws Exception {
        try (RedisServer redis = new RedisServer(folder);
                Socket client = new Socket("127.0.0.1", redis.port)) {
            ServerAddress address = ServerAddress.parse("redis://127.0.0.1:" + redis.port, 1);
            try (RedisTier tier = new RedisTier(address, Duration.ofSeconds(5))) {
                tier.put(KEY, HEAD, room());
                assertThat(tier.get(KEY, HEAD, room())).isTrue();
                client.getOutputStream().write(("DEL " + KEY + "kv_bytes\r\n").getBytes(StandardCharsets.US_ASCII));
                assertThat(client.getInputStream().readNBytes(4)).asString().isEqualTo(":1\r\n");
                assertThat(tier.contains(KEY)).isTrue();
                assertThat(tier.get(KEY, HEAD, room())).isFalse();
                assertThat(tier.contains(KEY)).isFalse();
            }
        }
    }

    @Test
    void redisThatIsFullIsStillRead() throws Exception {
        Counters counters = new Counters();
        try (RedisServer redis = new RedisServer(folder)) {
            ServerAddress address = ServerAddress.parse("redis://127.0.0.1:" + redis.port, 1);
            try (Tiers tiers = Tiers.of(List.of(new RedisTier(address, Duration.ofSeconds(5))), counters);
                    Socket client = new Socket("127.0.0.1", redis.port)) {
                assertThat(tiers.missing(KEY).getFirst().put(KEY, HEAD, room())).isTrue();
                client.getOutputStream().write("CONFIG SET maxmemory 1\r\n".getBytes(StandardCharsets.US_ASCII));
                assertThat(client.getInputStream().readNBytes(5)).asString().isEqualTo("+OK\r\n");
                assertThat(tiers.missing(KEY + 1).getFirst().put(KEY + 1, HEAD, room()))
                        .isFalse();
                assertThat(tiers.get(KEY, HEAD, room())).isTrue();
                assertThat(counters.tierFailures.sum()).isEqualTo(1);
            }
        }
    }
}
