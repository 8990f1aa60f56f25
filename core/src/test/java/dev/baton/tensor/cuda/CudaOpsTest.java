package dev.baton.tensor.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.baton.tensor.TensorException;
import dev.baton.tensor.cpu.AttentionShape;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class CudaOpsTest {
    private static final AttentionShape SHAPE = new AttentionShape(32, 8, 128, 0.088f);

    @ParameterizedTest
    @CsvSource({"1,1,512", "64,8192,512", "256,8192,512", "256,65536,512", "256,131072,1024", "256,262144,2048"})
    void scratchMemoryOfDecodeAttentionStaysWithinBounds(int sequences, int tokens, int split) {
        assertThat(CudaOps.splitTokens(SHAPE, sequences, tokens)).isEqualTo(split);
    }

    @Test
    void moreThanTheKernelTakesIsRefusedWithTheFlagsToChange() {
        assertThatThrownBy(() -> CudaOps.splitTokens(SHAPE, 256, 524_288))
                .isInstanceOf(TensorException.class)
                .hasMessageContaining("--max-num-seqs")
                .hasMessageContaining("--max-model-len");
    }
}
