package dev.baton.model;

import dev.baton.tensor.cpu.OpsChoice;

/// How a model is loaded and computed.
///
/// @param format where the weights come from
/// @param ops which implementation of the CPU operations
/// @param cpuThreads threads that compute, the engine's own included
/// @param seed for [LoadFormat#DUMMY]: what the weights are drawn from
public record LoadOptions(LoadFormat format, OpsChoice ops, int cpuThreads, long seed) {
    /// Where the weights come from, under vLLM's `--load-format` names in lower case.
    public enum LoadFormat {
        /// What is in the folder: safetensors.
        AUTO,
        /// Weights drawn from a seed, in the shapes and the type that `config.json` says: speed does not depend on
        /// values, so benchmarks and tests need no checkpoint.
        DUMMY
    }

    /// Safetensors, the best operations that the machine has, one thread a core.
    public static LoadOptions defaults() {
        return new LoadOptions(
                LoadFormat.AUTO, OpsChoice.AUTO, Runtime.getRuntime().availableProcessors(), 0);
    }

    public LoadOptions withFormat(LoadFormat newFormat) {
        return new LoadOptions(newFormat, ops, cpuThreads, seed);
    }

    public LoadOptions withOps(OpsChoice newOps) {
        return new LoadOptions(format, newOps, cpuThreads, seed);
    }

    public LoadOptions withCpuThreads(int newCpuThreads) {
        return new LoadOptions(format, ops, newCpuThreads, seed);
    }

    public LoadOptions withSeed(long newSeed) {
        return new LoadOptions(format, ops, cpuThreads, newSeed);
    }
}
