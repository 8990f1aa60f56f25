package dev.baton.transfer.nixl;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

class CompatibilityTest {
    private static Compatibility of(String model, boolean hybrid) {
        return new Compatibility("0.32.0", 14, model, "torch.bfloat16", 2, 64, 6, "CPU_ATTN", "auto", hybrid);
    }

    /// Digests that `hash_factors` of vLLM 0.32 made of the same factors.
    @Test
    void hashesAreVllms() {
        assertThat(of("/models/a \"b\" \u00e9", true).hash())
                .isEqualTo("fabe582b11d739eb59ed81dd25e558be23787b422e755284eb2bcb4b15b5741d");
        assertThat(of("m", false).hash()).isEqualTo("bf8e9d09d39cc26c28d06ea387cb1ce371cb133b69e96bbd3dfd218e80d44ffa");
    }

    @Test
    void textIsWrittenAsPythonDoes() {
        assertThat(of("\"\\\n\t\u0001\u007f\ud83d\ude00", true).json())
                .contains("\"model\": \"\\\"\\\\\\n\\t\\u0001\\u007f\\ud83d\\ude00\"");
    }
}
