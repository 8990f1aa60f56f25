package dev.baton.model.cuda;

/// Where a model's tensors come from on their way to the device. Used from one thread.
interface WeightSource extends AutoCloseable {
    /// Brings a part of a tensor to the device, in bf16.
    ///
    /// @param to address of as much memory as the part needs
    /// @param shape a span of each dimension, one or two
    /// @throws dev.baton.model.ModelException if it is missing or has another shape
    void load(String name, long to, Span... shape);

    /// Names the weights; see [dev.baton.model.Weights#digest()].
    String digest();

    /// Waits for copies under way, and lets go of staging memory.
    @Override
    void close();
}
