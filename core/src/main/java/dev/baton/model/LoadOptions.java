package dev.baton.model;

import dev.baton.tensor.Quantization;
import dev.baton.tensor.cpu.OpsChoice;

/// How a model is loaded and computed.
///
/// @param format where the weights come from
/// @param ops which implementation of the CPU operations
/// @param cpuThreads threads that compute, the engine's own included
/// @param quantization what weight matrices are turned into
/// @param seed for [LoadFormat#DUMMY]: what the weights are drawn from
public record LoadOptions(LoadFormat format, OpsChoice ops, int cpuThreads, Quantization quantization, long seed) {
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
                LoadFormat.AUTO, OpsChoice.AUTO, Runtime.getRuntime().availableProcessors(), Quantization.NONE, 0);
    }

    public LoadOptions withFormat(LoadFormat newFormat) {
        return new LoadOptions(newFormat, ops, cpuThreads, quantization, seed);
    }

    public LoadOptions withOps(OpsChoice newOps) {
        return new LoadOptions(format, newOps, cpuThreads, quantization, seed);
    }

    public LoadOptions withCpuThreads(int newCpuThreads) {
        return new LoadOptions(format, ops, newCpuThreads, quantization, seed);
    }

    public LoadOptions withQuantization(Quantization newQuantization) {
        return new LoadOptions(format, ops, cpuThreads, newQuantization, seed);
    }

    public LoadOptions withSeed(long newSeed) {
        return new LoadOptions(format, ops, cpuThreads, quantization, newSeed);
    }
}
