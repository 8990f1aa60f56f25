package dev.baton.transfer.mooncake;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.transfer.ScriptProcess;
import dev.baton.transfer.mooncake.LandingZone.Window;
import dev.baton.transfer.tcp.KvThreads;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.zip.CRC32;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;

/// Mooncake's own Transfer Engine, of its published Python package, as the peer of ours in both directions.
///
/// Its Python is `MOONCAKE_PYTHON`, or that of the environment that `shared/peers/mooncake.sh install` makes.
@ExtendWith(KvThreads.class)
@Timeout(120)
class RealTransferEngineTest {
    private static final int REGION_BYTES = 8 << 20;
    private static final Duration PATIENCE = Duration.ofSeconds(20);

    /// Commands on stdin, one line of answer each: `write PORT ADDRESS OFFSET LENGTH [...]`, `fill SEED`, `sum
    /// FROM LENGTH`.
    private static final String SCRIPT = """
            import ctypes, sys, zlib, random
            from mooncake.engine import TransferEngine
            engine = TransferEngine()
            assert engine.initialize("127.0.0.1", "P2PHANDSHAKE", "tcp", "") == 0
            size = %d
            memory = ctypes.create_string_buffer(size)
            base = ctypes.addressof(memory)
            assert engine.register_memory(base, size) == 0
            def say(*words): print("=", *words, flush=True)
            say(engine.get_rpc_port(), base)
            for line in sys.stdin:
                words = line.split()
                numbers = list(map(int, words[1:]))
                if words[0] == "write":
                    peer = "127.0.0.1:%%d" %% numbers[0]
                    parts = [numbers[i:i + 3] for i in range(1, len(numbers), 3)]
                    say(engine.batch_transfer_sync_write(
                        peer, [base + p[1] for p in parts], [p[0] for p in parts], [p[2] for p in parts]))
                elif words[0] == "fill":
                    memory[:] = random.Random(numbers[0]).randbytes(size)
                    say("filled")
                elif words[0] == "sum":
                    say(zlib.crc32(memory[numbers[0]:numbers[0] + numbers[1]]))
            """.formatted(REGION_BYTES);

    private static final class Engine extends ScriptProcess {
        final int port;
        final long base;

        Engine(Path python) throws IOException {
            super(new ProcessBuilder(python.toString(), "-c", SCRIPT));
            String[] words = greeting.split(" ", -1);
            port = Integer.parseInt(words[0]);
            base = Long.parseLong(words[1]);
        }
    }

    private static Path python() {
        String set = System.getenv("MOONCAKE_PYTHON");
        Assumptions.assumeTrue(set != null, "MOONCAKE_PYTHON does not name the Python of an environment with Mooncake");
        Path python = Path.of(set);
        Assumptions.assumeTrue(
                Files.isExecutable(python), "Mooncake's Python package is not installed: there is no " + python);
        return python;
    }

    private static long sum(MemorySegment memory) {
        CRC32 crc = new CRC32();
        crc.update(memory.asByteBuffer());
        return crc.getValue();
    }

    @Test
    void realEngineTakesOurWritesAndGivesOurReads() throws IOException {
        try (Engine engine = new Engine(python());
                Arena arena = Arena.ofConfined();
                TeConnection connection = new TeConnection(PATIENCE)) {
            assertThat(engine.ask("fill 1")).isEqualTo("filled");
            connection.open(TeHandshake.ask("127.0.0.1", engine.port, PATIENCE, PATIENCE), "127.0.0.1", PATIENCE);
            MemorySegment source = arena.allocate(1 << 20);
            for (int i = 0; i < source.byteSize(); i++) {
                source.set(ValueLayout.JAVA_BYTE, i, (byte) (31 * i + i / 256));
            }
            for (int i = 0; i < 6; i++) {
                ByteBuffer[] pieces = {
                    source.asSlice(0, 1000).asByteBuffer(), source.asSlice(1000).asByteBuffer()
                };
                connection.write(engine.base + ((long) i << 20), pieces, source.byteSize());
            }
            for (int i = 0; i < 100; i++) { // small ones, more than may be unacknowledged
                connection.write(
                        engine.base + (6L << 20) + i * 128L,
                        new ByteBuffer[] {source.asSlice(i * 128L, 128).asByteBuffer()},
                        128);
            }
            connection.awaitWritten();
            assertThat(engine.ask("sum %d %d".formatted(5 << 20, 1 << 20))).isEqualTo(Long.toString(sum(source)));
            assertThat(engine.ask("sum %d %d".formatted(6 << 20, 12_800)))
                    .isEqualTo(Long.toString(sum(source.asSlice(0, 12_800))));
            MemorySegment back = arena.allocate(1 << 20);
            connection.read(engine.base + (7L << 20), back.asByteBuffer());
            assertThat(engine.ask("sum %d %d".formatted(7 << 20, 1 << 20))).isEqualTo(Long.toString(sum(back)));
        }
    }

    @Test
    void realEngineWritesIntoAWindowAndNowhereElse() throws IOException {
        MooncakeOptions options = MooncakeOptions.from(Map.of("kv_peer_timeout", 20), Map.of());
        int blocks = 8;
        int blockBytes = 65_536;
        int regions = 3;
        LandingZone zone = new LandingZone(1L << 60, regions, blockBytes);
        TeMemory memory = new TeMemory() {
            @Override
            public List<Range> ranges() {
                return List.of(new Range(1L << 60, 1L << 60));
            }

            @Override
            public Optional<Access> begin(Operation operation, long address, long length, Runnable fence) {
                return operation == Operation.WRITE ? zone.beginWrite(address, length, fence) : Optional.empty();
            }
        };
        try (Engine engine = new Engine(python());
                Arena arena = Arena.ofShared();
                TeServer server = new TeServer("127.0.0.1", memory, options)) {
            assertThat(engine.ask("fill 2")).isEqualTo("filled");
            for (int round = 0; round < 20; round++) {
                List<List<MemorySegment>> targets = new ArrayList<>();
                for (int r = 0; r < regions; r++) {
                    List<MemorySegment> region = new ArrayList<>();
                    for (int b = 0; b < blocks; b++) {
                        region.add(arena.allocate(blockBytes));
                    }
                    targets.add(region);
                }
                Window window = zone.open(targets);
                long first = window.blockNumbers()[0];
                StringBuilder command = new StringBuilder("write " + server.port());
                for (int r = 0; r < regions; r++) {
                    long at = zone.bases().get(r) + first * blockBytes;
                    // One run of three blocks and single ones, as vLLM's descriptors are.
                    command.append(" %d %d %d".formatted(at, r << 20, 3 * blockBytes));
                    for (int b = 3; b < blocks; b++) {
                        command.append(" %d %d %d"
                                .formatted(at + (long) b * blockBytes, (r << 20) + b * blockBytes, blockBytes));
                    }
                }
                assertThat(engine.ask(command.toString())).isEqualTo("0");
                assertThat(window.isFull()).isTrue();
                for (int r = 0; r < regions; r++) {
                    for (int b = 0; b < blocks; b++) {
                        assertThat(engine.ask("sum %d %d".formatted((r << 20) + b * blockBytes, blockBytes)))
                                .isEqualTo(Long.toString(sum(targets.get(r).get(b))));
                    }
                }
                window.close();
                if (round % 5 == 0) { // and it hears that a load is over
                    assertThat(engine.ask(command.toString())).isNotEqualTo("0");
                }
            }
        }
    }
}
