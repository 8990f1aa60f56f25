package dev.baton.discovery;

import java.util.Locale;

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

    /// Reads a role by its word, or as vLLM's tools say it: `P`, `prefill`, `kv_producer`, `D`, `decode`,
    /// `kv_consumer`, `kv_both`.
    ///
    /// @throws DiscoveryException if it is none of them
    public static EngineRole of(String text) {
        return switch (text.strip().toLowerCase(Locale.ROOT)) {
            case "prefiller", "prefill", "p", "kv_producer" -> PREFILLER;
            case "decoder", "decode", "d", "kv_consumer" -> DECODER;
            case "both", "kv_both" -> BOTH;
            default -> throw new DiscoveryException("'" + text + "' is no role: prefiller, decoder or both");
        };
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
