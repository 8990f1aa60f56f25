package dev.baton.tensor.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatCode;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.baton.tensor.TensorException;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// How ranks add up: by which way, with how many thread blocks, and what is refused.
class RankSumsTest {
    private static final long KIB = 1 << 10;

    @ParameterizedTest
    @CsvSource({"2,512", "3,256", "4,256", "5,128", "8,128"})
    void smallArraysAreTheKernelsWhereThereIsNcclForLargeOnes(int ranks, long mostKib) {
        assertThat(RankSums.mostBytes(ranks, true, true)).isEqualTo(mostKib * KIB);
    }

    @Test
    void allIsTheKernelsWhereThereIsNoNccl() {
        assertThat(RankSums.mostBytes(4, false, true)).isEqualTo(Long.MAX_VALUE);
    }

    @Test
    void allIsNcclsWhereMemoryIsOutOfReach() {
        assertThat(RankSums.mostBytes(2, true, false)).isZero();
    }

    @ParameterizedTest
    @CsvSource({"132,2,33", "132,4,16", "132,8,8", "108,3,18", "4,8,1", "1000,2,64"})
    void ranksOnOneGpuLeaveHalfOfItToWhoeverIsBehind(int multiprocessors, int ranks, int blocks) {
        assertThat(PeerSums.blocksOfOne(multiprocessors, ranks)).isEqualTo(blocks);
    }

    @Test
    void ranksOnOneGpuWithoutTheKernelsAreRefusedWithTheFlagsToChange() {
        assertThatThrownBy(() -> RankLinks.refuse(true, true, Optional.empty()))
                .isInstanceOf(TensorException.class)
                .hasMessageContaining("--devices")
                .hasMessageContaining("--disable-custom-all-reduce");
    }

    @Test
    void ranksOnOneGpuAndAnotherThatCannotReachItAreRefused() {
        assertThatThrownBy(() -> RankLinks.refuse(true, false, Optional.of("GPU 1 cannot reach the memory of GPU 0")))
                .isInstanceOf(TensorException.class)
                .hasMessageContaining("GPU 1 cannot reach the memory of GPU 0")
                .hasMessageContaining("--devices");
    }

    @Test
    void gpusOfTheirOwnAddUpOverNcclWhereTheyCannotReachEachOther() {
        assertThatCode(() -> RankLinks.refuse(false, false, Optional.of("GPU 1 cannot reach the memory of GPU 0")))
                .doesNotThrowAnyException();
        assertThatCode(() -> RankLinks.refuse(false, true, Optional.empty())).doesNotThrowAnyException();
    }
}
