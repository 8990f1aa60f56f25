package dev.baton.cli;

/// What computes, under the names of `--device`.
enum Device {
    /// A GPU if there is one with all that it needs, else the CPU.
    AUTO,
    CPU,
    /// An NVIDIA GPU.
    CUDA
}
