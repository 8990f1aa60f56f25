package dev.baton.transfer.mooncake;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.awaitility.Awaitility.await;

import dev.baton.transfer.mooncake.LandingZone.Window;
import dev.baton.transfer.mooncake.TeMemory.Operation;
import dev.baton.transfer.tcp.KvThreads;
import dev.baton.wire.Wire;
import java.io.EOFException;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.net.ProtocolException;
import java.net.SocketException;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import java.util.concurrent.atomic.AtomicBoolean;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// Mooncake's data protocol against itself: client, server, and the memory that a server opens for loads.
@ExtendWith(KvThreads.class)
class TransferEngineTest {
    private static final Duration PATIENCE = Duration.ofSeconds(10);
    private static final MooncakeOptions OPTIONS =
            MooncakeOptions.from(Map.of("kv_peer_timeout", 10, "kv_connect_timeout", 10), Map.of());

    private final Arena arena = Arena.ofShared();

    @AfterEach
    void freeMemory() {
        arena.close();
    }

    private MemorySegment noise(long bytes, long seed) {
        byte[] noise = new byte[(int) bytes];
        new Random(seed).nextBytes(noise);
        MemorySegment memory = arena.allocate(bytes, 64);
        memory.copyFrom(MemorySegment.ofArray(noise));
        return memory;
    }

    private static TeConnection connect(TeServer server) throws IOException {
        TeHandshake.Descriptor descriptor = TeHandshake.ask("127.0.0.1", server.port(), PATIENCE, PATIENCE);
        assertThat(descriptor.version()).isEqualTo(2);
        TeConnection connection = new TeConnection(PATIENCE);
        connection.open(descriptor, "127.0.0.1", PATIENCE);
        return connection;
    }

    private static void write(TeConnection connection, long address, MemorySegment bytes) throws IOException {
        connection.write(address, new ByteBuffer[] {bytes.asByteBuffer()}, bytes.byteSize());
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 7, 8, 4095, 4096, 4097, 1 << 20, (5 << 20) + 3})
    void bytesThatAreWrittenAreReadBack(int bytes) throws IOException {
        MemorySegment source = noise(bytes, bytes);
        MemorySegment back = arena.allocate(bytes);
        MemorySegment memory = arena.allocate(3L * bytes);
        try (TeServer server = new TeServer("127.0.0.1", new RegisteredMemory(memory), OPTIONS);
                TeConnection connection = connect(server)) {
            for (int i = 0; i < 100; i++) { // more than may be unacknowledged
                write(connection, memory.address() + bytes, source);
            }
            connection.read(memory.address() + bytes, back.asByteBuffer());
            assertThat(back.mismatch(source)).isEqualTo(-1);
            assertThat(memory.asSlice(0, bytes).mismatch(arena.allocate(bytes))).isEqualTo(-1);
            assertThat(memory.asSlice(2L * bytes, bytes).mismatch(arena.allocate(bytes)))
                    .isEqualTo(-1);
        }
    }

    @Test
    void piecesAreWrittenInOrder() throws IOException {
        MemorySegment memory = arena.allocate(64);
        try (TeServer server = new TeServer("127.0.0.1", new RegisteredMemory(memory), OPTIONS);
                TeConnection connection = connect(server)) {
            ByteBuffer[] pieces = {ByteBuffer.wrap(new byte[] {1, 2}), ByteBuffer.wrap(new byte[] {3, 4, 5})};
            connection.write(memory.address() + 10, pieces, 5);
            connection.awaitWritten();
            assertThat(memory.asSlice(9, 7).toArray(ValueLayout.JAVA_BYTE)).containsExactly(0, 1, 2, 3, 4, 5, 0);
        }
    }

    @ParameterizedTest
    @ValueSource(longs = {-1, 57, 64, 1L << 62, Long.MIN_VALUE})
    void addressesOutsideAreRejectedForBothAndChangeNothing(long offset) throws IOException {
        MemorySegment memory = noise(64, 1);
        byte[] before = memory.toArray(ValueLayout.JAVA_BYTE);
        try (TeServer server = new TeServer("127.0.0.1", new RegisteredMemory(memory), OPTIONS);
                TeConnection writing = connect(server);
                TeConnection reading = connect(server)) {
            write(writing, memory.address() + offset, noise(8, 2));
            assertThatThrownBy(writing::awaitWritten)
                    .isInstanceOf(ProtocolException.class)
                    .hasMessageContaining("rejected");
            assertThatThrownBy(() -> reading.read(memory.address() + offset, ByteBuffer.allocate(8)))
                    .isInstanceOf(ProtocolException.class);
        }
        assertThat(memory.toArray(ValueLayout.JAVA_BYTE)).isEqualTo(before);
    }

    @Test
    void engineThatAcknowledgesNothingIsRefusedOnBothSides() throws IOException {
        try (TeConnection connection = new TeConnection(PATIENCE)) {
            TeHandshake.Descriptor old = new TeHandshake.Descriptor("n", "", 1, 1, List.of());
            assertThatThrownBy(() -> connection.open(old, "127.0.0.1", PATIENCE))
                    .isInstanceOf(ProtocolException.class)
                    .hasMessageContaining("version 1");
        }
        MemorySegment memory = arena.allocate(64);
        try (TeServer server = new TeServer("127.0.0.1", new RegisteredMemory(memory), OPTIONS)) {
            TeHandshake.Descriptor descriptor = TeHandshake.ask("127.0.0.1", server.port(), PATIENCE, PATIENCE);
            try (Wire wire = Wire.unconnected()) {
                wire.connect("127.0.0.1", descriptor.dataPort(), PATIENCE);
                ByteBuffer header = TeFraming.buffer(TeFraming.HEADER_BYTES + 8);
                header.putLong(8)
                        .putLong(memory.address())
                        .putLong(1)
                        .putLong(-1)
                        .flip();
                wire.writeSteadily(new ByteBuffer[] {header}, PATIENCE);
                assertThatThrownBy(() -> wire.readFully(ByteBuffer.allocate(1), PATIENCE))
                        .isInstanceOfAny(EOFException.class, SocketException.class);
            }
        }
        assertThat(memory.get(ValueLayout.JAVA_LONG, 0)).isZero();
    }

    private static List<List<MemorySegment>> targets(MemorySegment memory, int regions, int blocks) {
        long bytes = memory.byteSize() / regions / blocks;
        List<List<MemorySegment>> targets = new ArrayList<>();
        for (int r = 0; r < regions; r++) {
            List<MemorySegment> region = new ArrayList<>();
            for (int b = 0; b < blocks; b++) {
                region.add(memory.asSlice((r * blocks + b) * bytes, bytes));
            }
            targets.add(region);
        }
        return targets;
    }

    private static TeMemory memory(LandingZone zone) {
        return new TeMemory() {
            @Override
            public List<Range> ranges() {
                return List.of(new Range(1L << 60, 1L << 60));
            }

            @Override
            public Optional<Access> begin(Operation operation, long address, long length, Runnable fence) {
                return zone.beginWrite(address, length, fence);
            }
        };
    }

    @Test
    void blocksOfSeveralRegionsLandWhereTheyBelongInAnyPieces() throws IOException {
        int regions = 3;
        int blocks = 5;
        int blockBytes = 64;
        MemorySegment memory = arena.allocate((long) regions * blocks * blockBytes);
        MemorySegment source = noise(memory.byteSize(), 3);
        LandingZone zone = new LandingZone(1L << 60, regions, blockBytes);
        Window window = zone.open(targets(memory, regions, blocks));
        long first = window.blockNumbers()[0];
        try (TeServer server = new TeServer("127.0.0.1", memory(zone), OPTIONS);
                TeConnection connection = connect(server)) {
            Random random = new Random(5);
            for (int r = 0; r < regions; r++) {
                int length = blocks * blockBytes;
                for (int at = 0; at < length; ) {
                    assertThat(window.isFull()).isFalse();
                    int bytes = Math.min(length - at, 1 + random.nextInt(100));
                    write(
                            connection,
                            zone.bases().get(r) + first * blockBytes + at,
                            source.asSlice((long) r * length + at, bytes));
                    connection.awaitWritten();
                    at += bytes;
                }
            }
            assertThat(window.isFull()).isTrue();
            assertThat(memory.mismatch(source)).isEqualTo(-1);
        }
        window.close();
    }

    @Test
    void writesBesideOrBeyondTheirWindowAreRejected() {
        LandingZone zone = new LandingZone(1L << 60, 2, 16);
        Window before = zone.open(targets(arena.allocate(64), 2, 2));
        Window window = zone.open(targets(arena.allocate(64), 2, 2));
        long at = zone.bases().get(0) + window.blockNumbers()[0] * 16;
        Runnable none = () -> {};
        for (long[] range : new long[][] {
            {at - 1, 1 + 16}, // from one window into the next
            {at - 16, 32},
            {at, 33},
            {at + 32, 1},
            {at + 31, 2},
            {at + 2 * LandingZone.SPAN, 1}, // a region that there is not
            {at, -1},
            {at, Long.MAX_VALUE},
            {0, 16},
            {Long.MIN_VALUE, 16},
        }) {
            assertThat(zone.beginWrite(range[0], range[1], none))
                    .as("%d bytes at %d", range[1], range[0] - at)
                    .isEmpty();
        }
        assertThat(zone.beginWrite(at + LandingZone.SPAN + 31, 1, none)).isPresent();
        before.close();
    }

    @Test
    void bytesWrittenTwiceDoNotStandForOthers() {
        LandingZone zone = new LandingZone(1L << 60, 1, 16);
        Window window = zone.open(targets(arena.allocate(16), 1, 1));
        long at = zone.bases().get(0) + window.blockNumbers()[0] * 16;
        for (int i = 0; i < 2; i++) {
            zone.beginWrite(at, 8, () -> {}).orElseThrow().end(true);
        }
        zone.beginWrite(at + 8, 8, () -> {}).orElseThrow().end(false); // broken off
        assertThat(window.isFull()).isFalse();
        zone.beginWrite(at + 8, 8, () -> {}).orElseThrow().end(true);
        assertThat(window.isFull()).isTrue();
        window.close();
    }

    @Test
    void writerThatWasPausedIsRefusedOnceItsLoadIsOver() throws IOException {
        MemorySegment memory = arena.allocate(64);
        LandingZone zone = new LandingZone(1L << 60, 1, 64);
        Window old = zone.open(targets(memory, 1, 1));
        long oldAddress = zone.bases().get(0) + old.blockNumbers()[0] * 64;
        try (TeServer server = new TeServer("127.0.0.1", memory(zone), OPTIONS);
                TeConnection late = connect(server);
                TeConnection paused = connect(server)) {
            // One has sent the half of a write when its load is cancelled, the other one has not begun.
            ByteBuffer[] half = {noise(32, 1).asByteBuffer()};
            paused.write(oldAddress, half, 64);
            await().until(() -> memory.get(ValueLayout.JAVA_LONG, 0) != 0);
            AtomicBoolean closed = new AtomicBoolean();
            Thread closing = Thread.ofPlatform().start(() -> {
                old.close();
                closed.set(true);
            });
            await().atMost(Duration.ofSeconds(2)).untilTrue(closed);
            assertThat(closing.isAlive() && !closed.get()).isFalse();

            memory.fill((byte) 0);
            Window next = zone.open(targets(memory, 1, 1)); // the same memory for another load
            write(late, oldAddress, noise(64, 2));
            assertThatThrownBy(late::awaitWritten).hasMessageContaining("rejected");
            assertThatThrownBy(paused::awaitWritten).isInstanceOf(IOException.class);
            assertThat(memory.mismatch(arena.allocate(64))).isEqualTo(-1);
            assertThat(next.isFull()).isFalse();
            next.close();
        }
    }
}
