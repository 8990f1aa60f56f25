package dev.baton.model.decoder;

import dev.baton.model.ModelConfig;
import dev.baton.tensor.DType;
import dev.baton.tensor.Quantization;
import dev.baton.tensor.cpu.AttentionShape;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/// What one family's decoder differs in from the plain one, Llama 3's: pre-norm layers of grouped-query attention
/// with rotary embeddings and a gated SiLU perceptron, all without biases, every position seen.
///
/// Immutable, so safe to share.
///
/// @param queryKeyValueBias whether `q_proj`, `k_proj` and `v_proj` have a bias
/// @param attentionOutBias whether `o_proj` has a bias
/// @param mlpBias whether `gate_proj`, `up_proj` and `down_proj` have a bias
/// @param queryKeyNorm whether every query and key head is normalised before it is rotated (`q_norm`, `k_norm`)
/// @param windowTokens positions that a query sees, its own included, per layer ([#UNBOUNDED] for all); one entry
///     stands for every layer
public record DecoderSpec(
        boolean queryKeyValueBias,
        boolean attentionOutBias,
        boolean mlpBias,
        boolean queryKeyNorm,
        List<Integer> windowTokens) {
    /// The window of a layer that sees every position.
    public static final int UNBOUNDED = AttentionShape.UNBOUNDED;

    /// Llama 3.
    public static final DecoderSpec PLAIN = new DecoderSpec(false, false, false, false, List.of(UNBOUNDED));

    public DecoderSpec {
        windowTokens = List.copyOf(windowTokens);
    }

    public DecoderSpec withQueryKeyValueBias(boolean bias) {
        return new DecoderSpec(bias, attentionOutBias, mlpBias, queryKeyNorm, windowTokens);
    }

    public DecoderSpec withAttentionOutBias(boolean bias) {
        return new DecoderSpec(queryKeyValueBias, bias, mlpBias, queryKeyNorm, windowTokens);
    }

    public DecoderSpec withMlpBias(boolean bias) {
        return new DecoderSpec(queryKeyValueBias, attentionOutBias, bias, queryKeyNorm, windowTokens);
    }

    public DecoderSpec withQueryKeyNorm(boolean norm) {
        return new DecoderSpec(queryKeyValueBias, attentionOutBias, mlpBias, norm, windowTokens);
    }

    /// The same window in every layer.
    public DecoderSpec withWindowTokens(int tokens) {
        return withWindowTokens(List.of(tokens));
    }

    /// A window for each layer.
    public DecoderSpec withWindowTokens(List<Integer> tokensPerLayer) {
        return new DecoderSpec(queryKeyValueBias, attentionOutBias, mlpBias, queryKeyNorm, tokensPerLayer);
    }

    /// The window of one layer.
    public int windowTokens(int layer) {
        return windowTokens.get(windowTokens.size() == 1 ? 0 : layer);
    }

    /// What must be equal on two instances of such a decoder that exchange KV blocks.
    ///
    /// @param dtype of the activations, and so of what keys and values were before they were stored
    /// @see dev.baton.model.CausalLm#fingerprint()
    public Map<String, String> fingerprint(
            ModelConfig config, DType dtype, String weightsDigest, Quantization quantization) {
        Map<String, String> fields = new LinkedHashMap<>();
        fields.put("architecture", config.architecture());
        fields.put("decoder", describe(config.numLayers()));
        fields.put("attention_heads", Integer.toString(config.numHeads()));
        fields.put("rms_norm_eps", Float.toString(config.rmsNormEps()));
        fields.put("rope_theta", Double.toString(config.ropeTheta()));
        fields.put("rope_scaling", config.ropeScaling().describe());
        fields.put("vocab_size", Integer.toString(config.vocabSize()));
        fields.put("dtype", dtype.name());
        fields.put("weights_digest", weightsDigest);
        fields.put("quantization", quantization.flag());
        return Collections.unmodifiableMap(fields);
    }

    /// A value for the fingerprint: equal exactly where the decoders are. Of the windows only changes are named.
    ///
    /// @param layers number of layers of the model
    String describe(int layers) {
        StringBuilder text = new StringBuilder()
                .append("qkv_bias=")
                .append(queryKeyValueBias)
                .append(", o_bias=")
                .append(attentionOutBias)
                .append(", mlp_bias=")
                .append(mlpBias)
                .append(", qk_norm=")
                .append(queryKeyNorm);
        for (int layer = 0; layer < layers; layer++) {
            if (layer == 0 || windowTokens(layer) != windowTokens(layer - 1)) {
                text.append(layer == 0 ? ", window=" : ", from layer " + layer + " ")
                        .append(windowTokens(layer) == UNBOUNDED ? "none" : windowTokens(layer));
            }
        }
        return text.toString();
    }
}
