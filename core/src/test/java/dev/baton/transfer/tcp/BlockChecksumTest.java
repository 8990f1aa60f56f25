package dev.baton.transfer.tcp;

import static org.assertj.core.api.Assertions.assertThat;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.SplittableRandom;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class BlockChecksumTest {
    private static final long EPOCH = 7;

    private final BlockChecksum checksum = new BlockChecksum("prefiller", "request#1");

    @ParameterizedTest
    @ValueSource(ints = {1, 4_096, 65_535, 65_536, 65_537, 131_072, 200_003})
    void copyingGivesTheChecksumOfWhatWasWritten(int bytes) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment source = arena.allocate(bytes);
            MemorySegment target = arena.allocate(bytes);
            SplittableRandom random = new SplittableRandom(bytes);
            for (int i = 0; i < bytes; i++) {
                source.set(ValueLayout.JAVA_BYTE, i, (byte) random.nextInt());
            }
            int sum = checksum.of(EPOCH, 3, 16, source.asByteBuffer());
            assertThat(checksum.copy(EPOCH, 3, 16, source, target)).isEqualTo(sum);
            assertThat(target.mismatch(source)).isEqualTo(-1);
            assertThat(checksum.copy(EPOCH + 1, 3, 16, source, target)).isNotEqualTo(sum);
            assertThat(checksum.copy(EPOCH, 4, 16, source, target)).isNotEqualTo(sum);
            int last = bytes - 1;
            source.set(ValueLayout.JAVA_BYTE, last, (byte) (source.get(ValueLayout.JAVA_BYTE, last) ^ 1));
            assertThat(checksum.copy(EPOCH, 3, 16, source, target)).isNotEqualTo(sum);
        }
    }
}
