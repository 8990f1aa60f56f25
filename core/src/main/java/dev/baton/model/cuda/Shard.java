package dev.baton.model.cuda;

import dev.baton.model.ModelConfig;
import dev.baton.model.ModelException;

/// One GPU's part of a model that several compute together: query heads with the key heads that they need,
/// columns of the feed-forward layer, and tokens of the vocabulary's logits. Norms, the residual stream and the
/// embedding are everybody's: a copy of the table costs memory alone, where a divided one costs a sum over the
/// GPUs in every step.
///
/// Two sums over the GPUs a layer are needed, behind the products that read what is divided.
///
/// Source: M. Shoeybi et al., "Megatron-LM" (2019).
///
/// @param rank number of the GPU
/// @param ranks how many there are
record Shard(int rank, int ranks) {
    /// What the kernels read at once.
    private static final int VECTOR = 8;

    /// All of a model.
    static final Shard WHOLE = new Shard(0, 1);

    /// Looks whether a model can be divided so.
    ///
    /// @throws ModelException saying by what it can not
    void check(ModelConfig model) {
        require(ranks >= 1, "at least one GPU is needed");
        require(
                model.numHeads() % ranks == 0,
                "the model's " + model.numHeads() + " attention heads cannot be divided among so many GPUs");
        require(
                model.numKvHeads() % ranks == 0 || ranks % model.numKvHeads() == 0,
                "the model's " + model.numKvHeads() + " key-value heads cannot be divided among so many GPUs");
        require(
                ranks == 1 || model.intermediateSize() % (ranks * VECTOR) == 0,
                "the model's intermediate size of " + model.intermediateSize() + " cannot be divided among so many GPUs"
                        + " in multiples of " + VECTOR);
    }

    private void require(boolean holds, String message) {
        if (!holds) {
            throw new ModelException("--tensor-parallel-size is " + ranks + ": " + message);
        }
    }

    /// The model's shape as this GPU computes it.
    ModelConfig of(ModelConfig model) {
        return new ModelConfig(
                model.architecture(),
                model.vocabSize(),
                model.hiddenSize(),
                model.intermediateSize() / ranks,
                model.numLayers(),
                model.numHeads() / ranks,
                kvHeads(model),
                model.headDim(),
                model.maxPositionEmbeddings(),
                model.rmsNormEps(),
                model.ropeTheta(),
                model.ropeScaling(),
                model.tieWordEmbeddings(),
                model.weightsDType(),
                model.eosTokenIds());
    }

    /// Key heads of one GPU. If there are fewer than GPUs, several have the same one.
    int kvHeads(ModelConfig model) {
        return Math.max(1, model.numKvHeads() / ranks);
    }

    /// This GPU's part of a dimension that is divided.
    Span of(int total) {
        int count = total / ranks;
        return new Span(rank * count, count, total);
    }

    /// Rows of a layer's key and value projections.
    Span keys(ModelConfig model) {
        int first = (int) ((long) rank * model.numKvHeads() / ranks);
        return new Span(
                first * model.headDim(), kvHeads(model) * model.headDim(), model.numKvHeads() * model.headDim());
    }

    /// Tokens whose logits this GPU computes: a part if the vocabulary can be divided, else all.
    Span logits(ModelConfig model) {
        return model.vocabSize() % (ranks * VECTOR) == 0 ? of(model.vocabSize()) : Span.whole(model.vocabSize());
    }
}
