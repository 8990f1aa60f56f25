package dev.baton.model.family;

import dev.baton.model.ConfigFields;
import dev.baton.model.decoder.DecoderSpec;

/// Llama 2 and 3 (`LlamaForCausalLM`), and what shares their shape: the plain decoder, with biases only if the
/// configuration asks for them.
public final class Llama {
    private Llama() {}

    /// What is particular in this configuration.
    public static DecoderSpec describe(ConfigFields config) {
        config.mustBe("sliding_window", "null");
        boolean attentionBias = config.flag("attention_bias", false);
        return DecoderSpec.PLAIN
                .withQueryKeyValueBias(attentionBias)
                .withAttentionOutBias(attentionBias)
                .withMlpBias(config.flag("mlp_bias", false));
    }
}
