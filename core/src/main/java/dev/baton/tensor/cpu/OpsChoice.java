package dev.baton.tensor.cpu;

/// Which implementation of the CPU operations is wanted.
public enum OpsChoice {
    /// The Vector API where it pays, else scalar.
    AUTO,
    /// Plain loops.
    SCALAR,
    /// The Vector API; an error where the module is missing.
    VECTOR
}
