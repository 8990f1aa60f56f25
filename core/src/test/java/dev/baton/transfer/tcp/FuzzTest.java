package dev.baton.transfer.tcp;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import dev.baton.transfer.BlockShape;
import dev.baton.transfer.KvEvent;
import dev.baton.transfer.KvEvent.KvArrived;
import dev.baton.transfer.KvEvent.LeaseReleased;
import dev.baton.transfer.KvRole;
import dev.baton.transfer.RemotePrefill;
import java.io.IOException;
import java.io.InputStream;
import java.net.InetAddress;
import java.net.Socket;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import java.util.concurrent.atomic.AtomicLong;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;

/// Bytes that nobody should send: whatever arrives at the port, the prefiller goes on serving, keeps its leases
/// and holds no memory; whatever a prefiller answers, a decoder never takes wrong bytes for right ones.
///
/// `-Dbaton.fuzz.cases` sets the number of cases; CI runs the default.
@ExtendWith(KvThreads.class)
@Timeout(600)
class FuzzTest {
    private static final int CASES = Integer.getInteger("baton.fuzz.cases", 100_000);
    private static final int FRAMES_A_CONNECTION = 8;

    @Test
    void randomAndMutatedFramesAtThePortDoNoHarm() throws Exception {
        Map<String, Object> extra = Map.of("kv_lease_duration", 600, "kv_send_timeout", 1);
        try (TestInstance prefiller = new TestInstance(KvRole.KV_PRODUCER, "p", 16, 4, extra).fill(1);
                TestInstance decoder = TestInstance.decoder(16, 4, Map.of())) {
            RemotePrefill kept = prefiller.hold("kept", new int[] {0, 1}, 32);
            long heapBefore = usedHeapBytes();
            AtomicLong cases = new AtomicLong();
            List<Thread> attackers = new ArrayList<>();
            List<Throwable> problems = new ArrayList<>();
            for (int t = 0; t < 4; t++) {
                Random random = new Random(97 + t);
                attackers.add(Thread.ofPlatform().start(() -> {
                    try {
                        while (cases.get() < CASES) {
                            cases.addAndGet(attack(random, kept.port(), prefiller));
                        }
                    } catch (IOException | RuntimeException e) {
                        synchronized (problems) {
                            problems.add(e);
                        }
                    }
                }));
            }
            for (Thread attacker : attackers) {
                attacker.join();
            }
            assertThat(problems).isEmpty();
            assertThat(prefiller.events).isEmpty();
            assertThat(prefiller.worker().numLeases()).isEqualTo(1);
            await("connections of the attackers ended")
                    .atMost(Duration.ofSeconds(20))
                    .until(() -> KvThreads.running().stream().noneMatch(name -> name.startsWith("baton-kv-serve-")));
            assertThat(usedHeapBytes() - heapBefore).isLessThan(32L << 20);

            decoder.load("d", kept, new int[] {2, 3}, 0);
            assertThat(decoder.nextEvent()).isInstanceOf(KvArrived.class);
            assertThat(decoder.block(2)).isEqualTo(prefiller.block(0));
            assertThat(decoder.block(3)).isEqualTo(prefiller.block(1));
            assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("kept"));
        }
    }

    /// One connection full of bad frames.
    ///
    /// @return frames sent
    private static int attack(Random random, int port, TestInstance prefiller) throws IOException {
        int sent = 0;
        try (Socket socket = new Socket(InetAddress.getLoopbackAddress(), port)) {
            socket.setSoLinger(true, 0); // no port is left in TIME_WAIT
            socket.setSoTimeout(10_000);
            if (random.nextInt(4) > 0) {
                socket.getOutputStream().write(hello(prefiller));
                readFrame(socket.getInputStream());
            }
            for (int i = 0; i < FRAMES_A_CONNECTION; i++) {
                byte[] bytes = random.nextInt(5) == 0 ? noise(random) : mutated(random, frame(random));
                sent++;
                socket.getOutputStream().write(bytes);
            }
        } catch (IOException e) {
            // the prefiller has hung up, as it may; a refused connection would show at the end
        }
        return Math.max(1, sent);
    }

    private static void readFrame(InputStream in) throws IOException {
        byte[] header = in.readNBytes(Limits.FRAME_HEADER_BYTES);
        if (header.length == Limits.FRAME_HEADER_BYTES) {
            in.readNBytes(ByteBuffer.wrap(header).order(ByteOrder.LITTLE_ENDIAN).getInt());
        }
    }

    private static byte[] hello(TestInstance prefiller) {
        ByteBuffer body = buffer().putLong(Hello.MAGIC).putShort((short) 1).putShort((short) 1);
        FrameChannel.putString(body, "attacker");
        FrameChannel.putString(body, "p");
        Map<String, String> fields = new TreeMap<>(BlockShape.fields(prefiller.spec, Map.of("tokenizer", "t1")));
        body.putShort((short) fields.size());
        fields.forEach((name, value) -> {
            FrameChannel.putString(body, name);
            FrameChannel.putString(body, value);
        });
        return framed(FrameType.HELLO.code(), body);
    }

    private static ByteBuffer buffer() {
        return ByteBuffer.allocate(4096).order(ByteOrder.LITTLE_ENDIAN);
    }

    private static byte[] framed(int code, ByteBuffer body) {
        body.flip();
        ByteBuffer frame = ByteBuffer.allocate(Limits.FRAME_HEADER_BYTES + body.remaining())
                .order(ByteOrder.LITTLE_ENDIAN);
        return frame.putInt(body.remaining()).putInt(code).put(body).array();
    }

    private static byte[] noise(Random random) {
        byte[] bytes = new byte[random.nextInt(200)];
        random.nextBytes(bytes);
        return bytes;
    }

    /// A frame that a decoder might send, about a lease that there is not.
    private static byte[] frame(Random random) {
        ByteBuffer body = buffer();
        FrameType type = FrameType.values()[random.nextInt(FrameType.values().length)];
        String id = "id" + random.nextInt(1000);
        switch (type) {
            case HELLO -> {
                body.putLong(Hello.MAGIC).putShort((short) 1).putShort((short) 1);
                FrameChannel.putString(body, id);
                FrameChannel.putString(body, "p");
                body.putShort((short) 1);
                FrameChannel.putString(body, "model");
                FrameChannel.putString(body, "m");
            }
            case PULL -> {
                FrameChannel.putString(body, id);
                int count = random.nextInt(5);
                body.putLong(random.nextLong()).putInt(random.nextInt()).putShort((short) count);
                for (int i = 0; i < 2 * count; i++) {
                    body.putInt(random.nextInt());
                }
            }
            case RELEASE -> FrameChannel.putString(body, id);
            case HEARTBEAT, LOST -> {
                int count = random.nextInt(5);
                body.putShort((short) count);
                for (int i = 0; i < count; i++) {
                    FrameChannel.putString(body, id);
                }
            }
            case ERROR -> {
                body.putShort((short) random.nextInt(10));
                FrameChannel.putString(body, id);
            }
            case PING, PONG -> body.putLong(random.nextLong());
            case BLOCK -> body.put(new byte[Limits.BLOCK_BODY_BYTES]);
            case OK -> {}
        }
        return framed(type.code(), body);
    }

    private static byte[] mutated(Random random, byte[] frame) {
        byte[] bytes = frame;
        for (int i = random.nextInt(4); i > 0; i--) {
            int at = random.nextInt(bytes.length);
            switch (random.nextInt(5)) {
                case 0 -> bytes[at] ^= (byte) (1 << random.nextInt(8));
                case 1 -> bytes[at] = (byte) random.nextInt();
                case 2 -> bytes = Arrays.copyOf(bytes, Math.max(1, at)); // cut off
                case 3 -> bytes = Arrays.copyOf(bytes, bytes.length + random.nextInt(64)); // zeros behind
                default -> {
                    if (bytes.length >= Integer.BYTES) {
                        int[] extremes = {-1, Integer.MAX_VALUE, Integer.MIN_VALUE, 0xFFFF, 32 * 1024};
                        int place = Math.min(at, bytes.length - Integer.BYTES);
                        ByteBuffer.wrap(bytes)
                                .order(ByteOrder.LITTLE_ENDIAN)
                                .putInt(place, extremes[random.nextInt(extremes.length)]);
                    }
                }
            }
        }
        return bytes;
    }

    private static long usedHeapBytes() {
        System.gc();
        return Runtime.getRuntime().totalMemory() - Runtime.getRuntime().freeMemory();
    }

    @Test
    void noAnswerHoweverDamagedIsTakenForTheRightBlocks() throws Exception {
        int[] all = IntStream.range(0, 4).toArray();
        try (TestInstance prefiller = TestInstance.prefiller(1, 4, Map.of()).fill(1);
                TestInstance decoder = TestInstance.decoder(1, 4, Map.of("kv_peer_timeout", 0.1))) {
            int arrived = 0;
            for (int seed = 0; seed < 300; seed++) {
                Random random = new Random(seed);
                RemotePrefill params = prefiller.hold("r", all, 4);
                decoder.fillWith(0);
                try (KvProxy proxy = new KvProxy(
                        prefiller.pool.blockBytes(),
                        params,
                        (ordinal, block) -> List.of(random.nextInt(4) == 0 ? damaged(random, block) : block))) {
                    decoder.load("d", proxy.through(params), all, 0);
                    KvEvent event = decoder.nextEvent();
                    if (event instanceof KvArrived) {
                        arrived++;
                        for (int block : all) {
                            assertThat(decoder.block(block)).as("seed %d", seed).isEqualTo(prefiller.block(block));
                        }
                    }
                    prefiller.worker().dropLease("r");
                    assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("r"));
                    decoder.finished("d", params, all, 0, false);
                }
            }
            assertThat(arrived).as("loads that went well in spite of it").isBetween(30, 299);
        }
    }

    private static byte[] damaged(Random random, byte[] block) {
        byte[] bytes = block.clone();
        switch (random.nextInt(4)) {
            case 0 -> bytes[random.nextInt(bytes.length)] ^= (byte) (1 << random.nextInt(8));
            case 1 ->
                bytes[random.nextInt(Limits.FRAME_HEADER_BYTES + Limits.BLOCK_BODY_BYTES)] = (byte) random.nextInt();
            case 2 -> bytes = Arrays.copyOf(bytes, random.nextInt(bytes.length));
            default ->
                bytes = (new String(bytes, StandardCharsets.ISO_8859_1) + "x")
                        .getBytes(StandardCharsets.ISO_8859_1); // one byte too many
        }
        return bytes;
    }
}
