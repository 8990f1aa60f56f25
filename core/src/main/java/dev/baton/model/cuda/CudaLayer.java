package dev.baton.model.cuda;

import dev.baton.model.ModelConfig;
import dev.baton.model.decoder.DecoderSpec;

/// Addresses of one decoder layer's weights; 0 where there are none. Projections that read the same input are one.
///
/// @param inputNorm `(hidden)`
/// @param qkv `((heads + 2 kvHeads) headDim, hidden)`
/// @param queryNorm `(headDim)`
/// @param keyNorm `(headDim)`
/// @param attentionOut `(hidden, heads headDim)`
/// @param mlpNorm `(hidden)`
/// @param gateUp `(2 intermediate, hidden)`
/// @param down `(hidden, intermediate)`
/// @param windowTokens positions that a query sees
record CudaLayer(
        long inputNorm,
        Weight qkv,
        long queryNorm,
        long keyNorm,
        Weight attentionOut,
        long mlpNorm,
        Weight gateUp,
        Weight down,
        int windowTokens) {

    /// A matrix with its bias.
    ///
    /// @param bias address, or 0
    record Weight(long matrix, long bias) {}

    /// @param config of the whole model
    /// @param shard the part of it that is loaded
    static CudaLayer load(ModelConfig config, DecoderSpec spec, int layer, Shard shard, WeightLoader loader) {
        int hiddenSize = config.hiddenSize();
        Span hidden = Span.whole(hiddenSize);
        Span queries = shard.of(config.numHeads() * config.headDim());
        Span keys = shard.keys(config);
        Span intermediate = shard.of(config.intermediateSize());
        String prefix = "model.layers." + layer + ".";
        String attention = prefix + "self_attn.";
        String mlp = prefix + "mlp.";
        return new CudaLayer(
                loader.vector(prefix + "input_layernorm", hiddenSize),
                loader.matrix(
                        spec.queryKeyValueBias(),
                        hidden,
                        new WeightLoader.Part(attention + "q_proj", queries),
                        new WeightLoader.Part(attention + "k_proj", keys),
                        new WeightLoader.Part(attention + "v_proj", keys)),
                spec.queryKeyNorm() ? loader.vector(attention + "q_norm", config.headDim()) : 0,
                spec.queryKeyNorm() ? loader.vector(attention + "k_norm", config.headDim()) : 0,
                loader.matrix(spec.attentionOutBias(), queries, new WeightLoader.Part(attention + "o_proj", hidden)),
                loader.vector(prefix + "post_attention_layernorm", hiddenSize),
                loader.matrix(
                        spec.mlpBias(),
                        hidden,
                        new WeightLoader.Part(mlp + "gate_proj", intermediate),
                        new WeightLoader.Part(mlp + "up_proj", intermediate)),
                loader.matrix(spec.mlpBias(), intermediate, new WeightLoader.Part(mlp + "down_proj", hidden)),
                spec.windowTokens(layer));
    }
}
