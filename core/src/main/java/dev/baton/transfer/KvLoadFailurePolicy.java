package dev.baton.transfer;

/// What a decoder does with a request whose blocks could not be loaded: vLLM's `kv_load_failure_policy`.
public enum KvLoadFailurePolicy {
    /// Computes the prompt itself.
    RECOMPUTE,
    /// Ends the request with an error.
    FAIL
}
