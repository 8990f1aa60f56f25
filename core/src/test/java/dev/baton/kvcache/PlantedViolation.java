package dev.baton.kvcache;

import dev.baton.engine.FinishReason;

/// A class in the wrong room: shows that `ArchitectureTest` sees a forbidden arrow.
public final class PlantedViolation {
    private PlantedViolation() {}

    /// Something that the KV cache must not know.
    public static FinishReason forbidden() {
        return FinishReason.STOP;
    }
}
