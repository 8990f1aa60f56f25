package dev.baton.tensor;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// Memory that other processes can map, and handles that are not what they say.
class MemoryFileTest {
    private static final Path DESCRIPTORS = Path.of("/proc/self/fd");

    @BeforeAll
    static void needsMemoryFiles() {
        assumeTrue(Files.isDirectory(DESCRIPTORS), "memory files need Linux");
    }

    private static List<Path> memoryFiles() throws IOException {
        try (Stream<Path> all = Files.list(DESCRIPTORS)) {
            return all.filter(MemoryFileTest::isMemoryFile).toList();
        }
    }

    private static boolean isMemoryFile(Path descriptor) {
        try {
            return Files.readSymbolicLink(descriptor).toString().startsWith("/memfd:baton-kv");
        } catch (IOException e) {
            return false; // the one that lists the folder
        }
    }

    @ParameterizedTest
    @ValueSource(longs = {1, 4_095, 4_096, 4_097, (2 << 20) + 8})
    void whatTheOwnerWritesTheOthersReadAndCannotChange(long bytes) throws IOException {
        int before = memoryFiles().size();
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment seen;
            try (MemoryFile file = MemoryFile.create(bytes)) {
                assertThat(file.segment().byteSize()).isEqualTo(bytes);
                seen = MemoryFile.open(file.handle(), bytes, arena);
                assertThat(seen.byteSize()).isEqualTo(bytes);
                file.segment().fill((byte) 7);
                assertThat(seen.isReadOnly()).isTrue();
                assertThat(Files.getPosixFilePermissions(memoryFiles().getLast()))
                        .isEqualTo(PosixFilePermissions.fromString("rw-------"));
            }
            assertThat(seen.get(ValueLayout.JAVA_BYTE, bytes - 1))
                    .as("after its owner has closed it")
                    .isEqualTo((byte) 7);
        }
        assertThat(memoryFiles()).hasSize(before);
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "",
                "1:2",
                "1:2:00",
                "../../etc:1:00000000000000000000000000000000",
                "1/../self:1:00000000000000000000000000000000",
                "99999999999:1:00000000000000000000000000000000",
                "4294967295:0:00000000000000000000000000000000"
            })
    void handleThatNamesNoMemoryFileIsRefused(String handle) {
        try (Arena arena = Arena.ofConfined()) {
            assertThatThrownBy(() -> MemoryFile.open(handle, 8, arena)).isInstanceOf(TensorException.class);
        }
    }

    @Test
    void otherFilesAndOtherTokensAndOtherSizesAreRefused() {
        try (Arena arena = Arena.ofConfined();
                MemoryFile file = MemoryFile.create(100_000)) {
            String[] parts = file.handle().split(":");
            assertThatThrownBy(() -> MemoryFile.open(parts[0] + ":0:" + parts[2], 100_000, arena))
                    .isInstanceOf(TensorException.class)
                    .hasMessageContaining("no KV cache");
            String other = "0".repeat(parts[2].length());
            assertThatThrownBy(() -> MemoryFile.open(parts[0] + ":" + parts[1] + ":" + other, 100_000, arena))
                    .isInstanceOf(TensorException.class)
                    .hasMessageContaining("another Baton");
            for (long bytes : new long[] {1, 8_192, 1_000_000, 1L << 40}) {
                assertThatThrownBy(() -> MemoryFile.open(file.handle(), bytes, arena))
                        .isInstanceOf(TensorException.class)
                        .hasMessageContaining("bytes, not of");
            }
        }
    }
}
