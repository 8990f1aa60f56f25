package dev.baton.tensor;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SegmentAllocator;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class OffHeapTest {
    private static final long MIB = 1 << 20;

    @ParameterizedTest
    @ValueSource(longs = {1, 4095, MIB, 2 * MIB - 1, 2 * MIB, 2 * MIB + 1, 9 * MIB + 3})
    void memoryIsZeroedAlignedAndEndsWithItsArena(long bytes) {
        MemorySegment memory;
        try (Arena arena = Arena.ofShared()) {
            memory = OffHeap.allocate(arena, bytes);
            assertThat(memory.byteSize()).isEqualTo(bytes);
            assertThat(memory.address() % 64).isZero();
            for (long i = 0; i < bytes; i += i < bytes - 5000 ? 4096 : 1) {
                assertThat(memory.get(ValueLayout.JAVA_BYTE, i)).isZero();
            }
            memory.fill((byte) 7);
            assertThat(memory.get(ValueLayout.JAVA_BYTE, bytes - 1)).isEqualTo((byte) 7);
        }
        assertThatThrownBy(() -> memory.get(ValueLayout.JAVA_BYTE, 0)).isInstanceOf(IllegalStateException.class);
    }

    @Test
    void piecesAreZeroedAlignedAndApart() {
        Random random = new Random(9);
        try (Arena arena = Arena.ofShared()) {
            SegmentAllocator pieces = OffHeap.pieces(arena);
            List<MemorySegment> taken = new ArrayList<>();
            for (int i = 0; i < 60; i++) {
                long alignment = 1L << random.nextInt(12);
                MemorySegment piece = pieces.allocate(1 + random.nextLong(4 * MIB), alignment);
                assertThat(piece.address() % alignment).isZero();
                assertThat(piece.get(ValueLayout.JAVA_BYTE, 0)).isZero();
                assertThat(piece.get(ValueLayout.JAVA_BYTE, piece.byteSize() - 1))
                        .isZero();
                piece.fill((byte) (i + 1));
                taken.add(piece);
            }
            MemorySegment large = pieces.allocate(100 * MIB, 64);
            assertThat(large.byteSize()).isEqualTo(100 * MIB);
            for (int i = 0; i < taken.size(); i++) {
                assertThat(taken.get(i).get(ValueLayout.JAVA_BYTE, 0)).isEqualTo((byte) (i + 1));
                assertThat(taken.get(i).get(ValueLayout.JAVA_BYTE, taken.get(i).byteSize() - 1))
                        .isEqualTo((byte) (i + 1));
            }
        }
    }

    @Test
    void largeMemoryAsksLinuxForHugePages() throws IOException {
        Path smaps = Path.of("/proc/self/smaps");
        Assumptions.assumeTrue(Files.exists(smaps), "not Linux");
        Assumptions.assumeTrue(
                Files.exists(Path.of("/sys/kernel/mm/transparent_hugepage")), "this kernel has no huge pages");
        try (Arena arena = Arena.ofShared()) {
            MemorySegment memory = OffHeap.allocate(arena, 64 * MIB);
            List<String> lines = Files.readAllLines(smaps);
            String flags = "";
            boolean inside = false;
            for (String line : lines) {
                String[] range = line.split(" ", 2)[0].split("-", 2);
                if (range.length == 2 && range[1].matches("[0-9a-f]+")) {
                    inside = Long.parseUnsignedLong(range[0], 16) <= memory.address()
                            && memory.address() < Long.parseUnsignedLong(range[1], 16);
                } else if (inside && line.startsWith("VmFlags:")) {
                    flags = line;
                }
            }
            assertThat(flags.split(" ")).contains("hg");
        }
    }
}
