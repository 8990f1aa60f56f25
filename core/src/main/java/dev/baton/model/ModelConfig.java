package dev.baton.model;

import dev.baton.tensor.DType;
import java.util.List;

/// What `config.json` and `generation_config.json` of a Hugging Face folder say about a decoder-only model.
///
/// @param architecture the first entry of `architectures`, for example `LlamaForCausalLM`
/// @param eosTokenIds tokens that end a generation; from `generation_config.json`, else from `config.json`
/// @param maxPositionEmbeddings positions that the model can be used for; where the rotary embeddings are stretched
///     by `linear` or `yarn`, the stretched number
/// @param ropeScaling how the rotary frequencies are changed (`rope_scaling`, or `rope_parameters` in newer
///     folders)
/// @param weightsDType the type that the weights are stored in (`torch_dtype` or `dtype`)
public record ModelConfig(
        String architecture,
        int vocabSize,
        int hiddenSize,
        int intermediateSize,
        int numLayers,
        int numHeads,
        int numKvHeads,
        int headDim,
        int maxPositionEmbeddings,
        float rmsNormEps,
        double ropeTheta,
        RopeScaling ropeScaling,
        boolean tieWordEmbeddings,
        DType weightsDType,
        List<Integer> eosTokenIds) {}
