package dev.baton.model.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.baton.model.ModelConfig;
import dev.baton.model.ModelException;
import dev.baton.model.RopeScaling;
import dev.baton.model.decoder.DecoderSpec;
import dev.baton.tensor.DType;
import dev.baton.tensor.cuda.checked.Cuda;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

/// What is said about a GPU's memory.
class ModelSizeTest {
    private static final long GIB = 1L << 30;
    private static final ModelConfig LLAMA_8B = new ModelConfig(
            "LlamaForCausalLM",
            128_256,
            4096,
            14_336,
            32,
            32,
            8,
            128,
            131_072,
            1e-5f,
            500_000,
            new RopeScaling.None(),
            false,
            DType.BF16,
            List.of(1));

    private static CudaOptions options(int maxModelLen, int maxNumSeqs, int blockTokens) {
        return new CudaOptions(0, maxModelLen, maxNumSeqs, 8192, blockTokens, Map.of());
    }

    @Test
    void weightsAreThoseOfTheCheckpoint() {
        ModelSize size = ModelSize.of(LLAMA_8B, DecoderSpec.PLAIN, options(8192, 64, 128));
        assertThat(size.weightsBytes()).isEqualTo(2 * 8_030_261_248L); // parameters as published
    }

    @Test
    void eachOfSeveralGpusHasItsPartAndTheEmbedding() {
        CudaOptions two = new CudaOptions(List.of(0, 1), 8192, 64, 8192, 128, Map.of(), true);
        long embedding = 128_256L * 4096;
        long norms = (2 * 32 + 1) * 4096;
        long divided = 8_030_261_248L - embedding - norms;
        assertThat(ModelSize.of(LLAMA_8B, DecoderSpec.PLAIN, two).weightsBytes())
                .isEqualTo(2 * (embedding + norms + divided / 2));
    }

    @Test
    void modelThatDoesNotFitSaysWhatItNeedsWhatThereIsAndWhichFlagsHelp() {
        ModelSize size = ModelSize.of(LLAMA_8B, DecoderSpec.PLAIN, options(8192, 64, 128));
        size.requireRoom(new Cuda.MemoryInfo(40 * GIB, 80 * GIB));
        assertThatThrownBy(() -> size.requireRoom(new Cuda.MemoryInfo(15 * GIB, 16 * GIB)))
                .isInstanceOf(ModelException.class)
                .hasMessageContaining("its weights need 14.96 GiB and the buffers of a step ")
                .hasMessageContaining("of 16.00 GiB there are 15.00 GiB free")
                .hasMessageContaining("CUDA_VISIBLE_DEVICES")
                .hasMessageContaining("--max-num-batched-tokens and --max-num-seqs");
    }

    @Test
    void cacheTakesWhatItsShareLeaves() {
        Cuda.MemoryInfo before = free(79);
        Cuda.MemoryInfo now = free(59);
        assertThat(ModelSize.kvBlocks(before, now, 20 * GIB, 0.9, GIB, 52)).isEqualTo(52);
        assertThatThrownBy(() -> ModelSize.kvBlocks(before, now, 20 * GIB, 0.9, GIB, 53))
                .isInstanceOf(ModelException.class)
                .hasMessage("the KV cache of one request of full length needs 53.00 GiB of the GPU's memory, and 52.00"
                        + " GiB are left for it: 90 % of 80.00 GiB, of which 20.00 GiB are used; lower"
                        + " --max-model-len, or raise --gpu-memory-utilization");
        assertThatThrownBy(() -> ModelSize.kvBlocks(before, now, 20 * GIB, 0.1, GIB, 1))
                .hasMessageContaining("0.00 GiB are left");
    }

    @Test
    void shareIsThisProcessesWhateverOthersHave() {
        assertThat(ModelSize.kvBlocks(free(40), free(20), 20 * GIB, 0.45, GIB, 1))
                .isEqualTo(16);
        // Ten went: what was asked for here, and one for the libraries.
        assertThat(ModelSize.kvBlocks(free(40), free(30), 9 * GIB, 0.45, GIB, 1))
                .isEqualTo(26);
        // Of 20 that went others have ten.
        assertThat(ModelSize.kvBlocks(free(40), free(20), 9 * GIB, 0.45, GIB, 1))
                .isEqualTo(19);
        assertThatThrownBy(() -> ModelSize.kvBlocks(free(40), free(40), 0, 0.9, GIB, 1))
                .isInstanceOf(ModelException.class)
                .hasMessage("this process may have 90 % of the GPU's 80.00 GiB, and of these 72.00 GiB only 40.00 GiB"
                        + " were free when it began; lower --gpu-memory-utilization, say how large the cache is"
                        + " (--kv-cache-memory-bytes), or end other processes on this GPU");
    }

    @Test
    void allOfTheMemoryIsLessWhatIsTakenLater() {
        assertThat(ModelSize.kvBlocks(free(79), free(59), 20 * GIB, 1, GIB, 1)).isEqualTo(58);
        assertThatThrownBy(() -> ModelSize.kvBlocks(free(40), free(5), 20 * GIB, 0.5, GIB, 5))
                .hasMessageContaining("4.50 GiB are left for it")
                .hasMessageEndingWith("lower --max-model-len, or end other processes on this GPU");
    }

    private static Cuda.MemoryInfo free(int gib) {
        return new Cuda.MemoryInfo(gib * GIB, 80 * GIB);
    }

    @Test
    void blocksThatTheKernelsCannotDoAreRefused() {
        for (int blockTokens : new int[] {1, 8, 24, 48, 256}) {
            assertThatThrownBy(() -> options(1024, 8, blockTokens))
                    .isInstanceOf(ModelException.class)
                    .hasMessage("blocks on a GPU have a power of two from 16 to 128 tokens, not " + blockTokens
                            + " (--block-size)");
        }
        assertThatThrownBy(() -> options(1024, 257, 16)).hasMessageContaining("--max-num-seqs");
        assertThat(options(1025, 256, 16).maxBlocks()).isEqualTo(65);
    }
}
