package dev.baton.discovery;

/// What an engine does in a fleet.
public enum EngineRole {
    /// Computes the prompt's KV cache and keeps it for a decoder (vLLM's `kv_producer`).
    PREFILLER("prefiller"),
    /// Fetches the prompt's KV cache and generates (vLLM's `kv_consumer`).
    DECODER("decoder");

    private final String word;

    EngineRole(String word) {
        this.word = word;
    }

    /// The role in lower case, as it stands in logs, metrics and flags.
    public String word() {
        return word;
    }
}
