package dev.baton.transfer.offload;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.baton.kvcache.BlockHash;
import dev.baton.transfer.TransferException;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class FileTierTest {
    private static final int BYTES = 1000;

    @TempDir
    Path root;

    private final Random random = new Random(1);

    private FileTier tier(long maxBytes) {
        return new FileTier(root, "m_0_r0", BYTES, maxBytes);
    }

    private MemorySegment block() {
        byte[] bytes = new byte[BYTES];
        random.nextBytes(bytes);
        MemorySegment block = Arena.ofAuto().allocate(BYTES);
        block.copyFrom(MemorySegment.ofArray(bytes));
        return block;
    }

    private static MemorySegment read(FileTier tier, BlockHash hash) throws IOException {
        MemorySegment target = Arena.ofAuto().allocate(BYTES);
        return tier.read(hash, target) ? target : MemorySegment.NULL;
    }

    private List<Path> files() throws IOException {
        try (Stream<Path> all = Files.walk(root)) {
            return all.filter(Files::isRegularFile).toList();
        }
    }

    @Test
    void blocksComeBackAsTheyWereAlsoToAnotherInstance() throws IOException {
        FileTier tier = tier(Long.MAX_VALUE);
        MemorySegment[] blocks = new MemorySegment[20];
        for (int i = 0; i < blocks.length; i++) {
            blocks[i] = block();
            tier.write(new BlockHash(i * 0x123456789abcdefL, -i), blocks[i]);
        }
        FileTier other = tier(Long.MAX_VALUE);
        assertThat(other.size()).isEqualTo(20);
        for (int i = 0; i < blocks.length; i++) {
            BlockHash hash = new BlockHash(i * 0x123456789abcdefL, -i);
            assertThat(other.knows(hash)).isTrue();
            assertThat(read(other, hash).mismatch(blocks[i])).isEqualTo(-1);
        }
        assertThat(read(other, new BlockHash(77, 77))).isEqualTo(MemorySegment.NULL);
    }

    @ParameterizedTest
    @ValueSource(ints = {0, 8, 24, 32, 38, 40, 541, 1039})
    void aFlippedBitIsAMissAndTheFileIsGone(int at) throws IOException {
        FileTier tier = tier(Long.MAX_VALUE);
        BlockHash hash = new BlockHash(1, 2);
        tier.write(hash, block());
        Path file = files().getFirst();
        byte[] bytes = Files.readAllBytes(file);
        bytes[at] ^= 4;
        Files.write(file, bytes);
        assertThat(read(tier, hash)).isEqualTo(MemorySegment.NULL);
        assertThat(tier.knows(hash)).isFalse();
        assertThat(files()).isEmpty();
    }

    @ParameterizedTest
    @ValueSource(ints = {0, 1, 39, 40, 1039, 1041, 5000})
    void aFileOfAnotherLengthIsAMiss(int length) throws IOException {
        FileTier tier = tier(Long.MAX_VALUE);
        BlockHash hash = new BlockHash(1, 2);
        tier.write(hash, block());
        Files.write(files().getFirst(), Arrays.copyOf(Files.readAllBytes(files().getFirst()), length));
        assertThat(read(tier, hash)).isEqualTo(MemorySegment.NULL);
        assertThat(files()).isEmpty();
    }

    @Test
    void aFileUnderAnotherNameIsNotThatBlock() throws IOException {
        FileTier tier = tier(Long.MAX_VALUE);
        tier.write(new BlockHash(1, 2), block());
        Path file = files().getFirst();
        Files.move(file, file.resolveSibling(new BlockHash(1, 3) + ".bin"));
        assertThat(read(tier, new BlockHash(1, 3))).isEqualTo(MemorySegment.NULL);
    }

    @Test
    void theLeastRecentlyUsedFilesMakeRoom() throws IOException {
        FileTier tier = tier(3 * (BYTES + 40));
        for (int i = 0; i < 3; i++) {
            tier.write(new BlockHash(i, i), block());
        }
        assertThat(read(tier, new BlockHash(0, 0)).byteSize()).isEqualTo(BYTES);
        tier.write(new BlockHash(3, 3), block());
        assertThat(files()).hasSize(3);
        assertThat(tier.knows(new BlockHash(1, 1))).isFalse();
        assertThat(tier.knows(new BlockHash(0, 0))).isTrue();
    }

    @Test
    void aFileThatAnotherInstanceDeletedIsAMiss() throws IOException {
        FileTier tier = tier(Long.MAX_VALUE);
        tier.write(new BlockHash(1, 2), block());
        Files.delete(files().getFirst());
        assertThat(tier.knows(new BlockHash(1, 2))).isTrue();
        assertThat(read(tier, new BlockHash(1, 2))).isEqualTo(MemorySegment.NULL);
        assertThat(tier.knows(new BlockHash(1, 2))).isFalse();
    }

    @Test
    void strangersFilesAreLeftAlone() throws IOException {
        Files.createDirectories(root.resolve("m_0_r0"));
        for (String name : List.of("x.bin", "config.json", "zz3456789012345678901234567890ab.bin")) {
            Files.writeString(root.resolve("m_0_r0").resolve(name), "hello");
        }
        assertThat(tier(1).size()).isZero();
        assertThat(files()).hasSize(3);
    }

    @Test
    void aDirectoryThatCannotBeIsExplained() throws IOException {
        Files.writeString(root.resolve("file"), "x");
        assertThatThrownBy(() -> new FileTier(root.resolve("file"), "m", BYTES, 10))
                .isInstanceOf(TransferException.class)
                .hasMessageContaining("root_dir")
                .hasMessageNotContaining("java.");
    }
}
