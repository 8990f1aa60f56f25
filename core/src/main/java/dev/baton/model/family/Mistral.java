package dev.baton.model.family;

import dev.baton.model.ConfigFields;
import dev.baton.model.decoder.DecoderSpec;

/// Mistral (`MistralForCausalLM`): the plain decoder, in which every layer sees a window of tokens if
/// `sliding_window` says one (v0.1 has 4096, v0.3 has `null`).
public final class Mistral {
    /// What transformers takes when the field is not there at all.
    private static final int DEFAULT_WINDOW_TOKENS = 4096;

    private Mistral() {}

    /// What is particular in this configuration.
    public static DecoderSpec describe(ConfigFields config) {
        config.mustBe("attention_bias", "false");
        config.mustBe("mlp_bias", "false");
        config.mustBe("layer_types", "null");
        if (config.has("sliding_window")) {
            return DecoderSpec.PLAIN.withWindowTokens(config.positive("sliding_window"));
        }
        return config.isNull("sliding_window")
                ? DecoderSpec.PLAIN
                : DecoderSpec.PLAIN.withWindowTokens(DEFAULT_WINDOW_TOKENS);
    }
}
