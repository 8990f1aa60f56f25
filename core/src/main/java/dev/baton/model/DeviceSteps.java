package dev.baton.model;

import dev.baton.tensor.PagedKv;

/// Steps of a model that computes on a device, with the logits left there: greedy decoding moves one number a
/// row to the host instead of a row of the vocabulary's size.
///
/// Used from one thread, the engine's. What is asked about rows is about those of the last step.
public interface DeviceSteps {
    /// What [#likeliest] says of a row that holds NaN or an infinity.
    int NOT_FINITE = -1;

    /// Gets ready for steps over a cache, so that the first ones are as fast as those after them.
    void prepare(PagedKv kv);

    /// Runs one step, as [CausalLm#forward]. When it returns, the device has done all of it: others may read its
    /// blocks then, and write to blocks of no later step.
    void forward(ForwardBatch batch, PagedKv kv);

    /// The token with the highest logit, the lowest one of several, or [#NOT_FINITE].
    ///
    /// @param row of those that wanted logits
    int likeliest(int row);

    /// Copies a row of logits to the host.
    ///
    /// @param row of those that wanted logits
    /// @param offset where it begins in `logits`
    void copyRow(int row, float[] logits, int offset);
}
