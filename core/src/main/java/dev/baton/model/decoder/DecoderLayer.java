package dev.baton.model.decoder;

import dev.baton.model.ModelConfig;
import dev.baton.model.Weights;
import dev.baton.model.decoder.Projection.Part;
import dev.baton.tensor.cpu.AttentionShape;
import dev.baton.tensor.cpu.CpuOps;
import java.lang.foreign.SegmentAllocator;

/// The weights of one decoder layer, packed, and how far its attention sees. Projections that read the same input
/// are one.
///
/// @param attention the heads, with this layer's window
/// @param inputNorm `(hidden)`
/// @param qkv `((heads + 2 kvHeads) headDim, hidden)`
/// @param queryNorm `(headDim)`, or empty
/// @param keyNorm `(headDim)`, or empty
/// @param attentionOut `(hidden, heads headDim)`
/// @param mlpNorm `(hidden)`
/// @param gateUp `(2 intermediate, hidden)`
/// @param down `(hidden, intermediate)`
record DecoderLayer(
        AttentionShape attention,
        float[] inputNorm,
        Projection qkv,
        float[] queryNorm,
        float[] keyNorm,
        Projection attentionOut,
        float[] mlpNorm,
        Projection gateUp,
        Projection down) {
    private static final float[] NO_NORM = {};

    static DecoderLayer load(
            ModelConfig config,
            DecoderSpec spec,
            AttentionShape heads,
            int layer,
            Weights weights,
            CpuOps ops,
            SegmentAllocator memory) {
        int hidden = config.hiddenSize();
        int queries = config.numHeads() * config.headDim();
        int keys = config.numKvHeads() * config.headDim();
        int intermediate = config.intermediateSize();
        String prefix = "model.layers." + layer + ".";
        String attention = prefix + "self_attn.";
        String mlp = prefix + "mlp.";
        return new DecoderLayer(
                heads.withWindowTokens(spec.windowTokens(layer)),
                norm(weights, prefix + "input_layernorm", hidden),
                Projection.load(
                        weights,
                        ops,
                        memory,
                        spec.queryKeyValueBias(),
                        hidden,
                        new Part(attention + "q_proj", queries),
                        new Part(attention + "k_proj", keys),
                        new Part(attention + "v_proj", keys)),
                spec.queryKeyNorm() ? norm(weights, attention + "q_norm", config.headDim()) : NO_NORM,
                spec.queryKeyNorm() ? norm(weights, attention + "k_norm", config.headDim()) : NO_NORM,
                Projection.load(
                        weights, ops, memory, spec.attentionOutBias(), queries, new Part(attention + "o_proj", hidden)),
                norm(weights, prefix + "post_attention_layernorm", hidden),
                Projection.load(
                        weights,
                        ops,
                        memory,
                        spec.mlpBias(),
                        hidden,
                        new Part(mlp + "gate_proj", intermediate),
                        new Part(mlp + "up_proj", intermediate)),
                Projection.load(
                        weights, ops, memory, spec.mlpBias(), intermediate, new Part(mlp + "down_proj", hidden)));
    }

    private static float[] norm(Weights weights, String name, int size) {
        return weights.tensor(name + ".weight", size).toFloats();
    }
}
