package dev.baton.discovery;

/// What an engine does in a fleet.
public enum EngineRole {
    /// Computes the prompt's KV cache and keeps it for a decoder (vLLM's `kv_producer`).
    PREFILLER("prefiller"),
    /// Fetches the prompt's KV cache and generates (vLLM's `kv_consumer`).
    DECODER("decoder"),
    /// Does either, as it is asked (vLLM's `kv_both`).
    BOTH("both");

    private final String word;

    EngineRole(String word) {
        this.word = word;
    }

    /// The role in lower case, as it stands in logs, metrics and flags.
    public String word() {
        return word;
    }

    /// Whether it may be sent prefills for another engine.
    public boolean prefills() {
        return this != DECODER;
    }

    /// Whether it may be sent hand-offs.
    public boolean decodes() {
        return this != PREFILLER;
    }
}
