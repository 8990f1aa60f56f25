package dev.baton.transfer;

/// What an instance does with KV blocks: vLLM's `kv_role`.
public enum KvRole {
    KV_PRODUCER,
    KV_CONSUMER,
    KV_BOTH
}
