package dev.baton.model.family;

import dev.baton.model.ConfigFields;
import dev.baton.model.decoder.DecoderSpec;

/// Qwen2 and Qwen2.5 (`Qwen2ForCausalLM`): a bias on queries, keys and values, and Qwen's windows.
public final class Qwen2 {
    private Qwen2() {}

    /// What is particular in this configuration.
    public static DecoderSpec describe(ConfigFields config) {
        return QwenWindows.describe(config, DecoderSpec.PLAIN.withQueryKeyValueBias(true));
    }
}
