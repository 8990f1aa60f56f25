package dev.baton.model.family;

import dev.baton.model.ConfigFields;
import dev.baton.model.decoder.DecoderSpec;

/// Qwen3 (`Qwen3ForCausalLM`): every query and key head is normalised before it is rotated, biases only if the
/// configuration asks for them, and Qwen's windows. `head_dim` does not follow from the hidden size, so it must be
/// there.
public final class Qwen3 {
    private Qwen3() {}

    /// What is particular in this configuration.
    public static DecoderSpec describe(ConfigFields config) {
        config.positive("head_dim");
        boolean bias = config.flag("attention_bias", false);
        return QwenWindows.describe(
                config,
                DecoderSpec.PLAIN
                        .withQueryKeyNorm(true)
                        .withQueryKeyValueBias(bias)
                        .withAttentionOutBias(bias));
    }
}
