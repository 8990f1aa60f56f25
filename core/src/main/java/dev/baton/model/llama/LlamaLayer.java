package dev.baton.model.llama;

import dev.baton.model.ModelConfig;
import dev.baton.model.Weights;
import dev.baton.tensor.cpu.CpuOps;
import dev.baton.tensor.cpu.PackedMatrix;
import java.lang.foreign.Arena;

/// The weights of one decoder layer, packed. Projections that read the same input are one matrix.
///
/// @param inputNorm `(hidden)`
/// @param qkv `((heads + 2 kvHeads) headDim, hidden)`
/// @param attentionOut `(hidden, heads headDim)`
/// @param mlpNorm `(hidden)`
/// @param gateUp `(2 intermediate, hidden)`
/// @param down `(hidden, intermediate)`
record LlamaLayer(
        float[] inputNorm,
        PackedMatrix qkv,
        PackedMatrix attentionOut,
        float[] mlpNorm,
        PackedMatrix gateUp,
        PackedMatrix down) {

    static LlamaLayer load(ModelConfig config, int layer, Weights weights, CpuOps ops, Arena arena) {
        int hidden = config.hiddenSize();
        int queries = config.numHeads() * config.headDim();
        int keys = config.numKvHeads() * config.headDim();
        int intermediate = config.intermediateSize();
        String prefix = "model.layers." + layer + ".";
        String attention = prefix + "self_attn.";
        String mlp = prefix + "mlp.";
        return new LlamaLayer(
                weights.tensor(prefix + "input_layernorm.weight", hidden).toFloats(),
                ops.pack(
                        arena,
                        weights.tensor(attention + "q_proj.weight", queries, hidden)
                                .matrix(),
                        weights.tensor(attention + "k_proj.weight", keys, hidden)
                                .matrix(),
                        weights.tensor(attention + "v_proj.weight", keys, hidden)
                                .matrix()),
                ops.pack(
                        arena,
                        weights.tensor(attention + "o_proj.weight", hidden, queries)
                                .matrix()),
                weights.tensor(prefix + "post_attention_layernorm.weight", hidden)
                        .toFloats(),
                ops.pack(
                        arena,
                        weights.tensor(mlp + "gate_proj.weight", intermediate, hidden)
                                .matrix(),
                        weights.tensor(mlp + "up_proj.weight", intermediate, hidden)
                                .matrix()),
                ops.pack(
                        arena,
                        weights.tensor(mlp + "down_proj.weight", hidden, intermediate)
                                .matrix()));
    }
}
