package dev.baton.transfer.lmcache;

/// Bounds: nothing that a server, a client or a file says makes this side allocate or loop beyond them.
final class Limits {
    /// The longest chunk; Redis holds no longer value either.
    static final int MAX_CHUNK_BYTES = 512 << 20;
    /// Bytes of a key on `lm://`, padded with blanks.
    static final int LM_KEY_BYTES = 150;
    /// The longest line of Redis that is no value.
    static final int MAX_REDIS_LINE_BYTES = 1024;
    /// Chunks that wait to be saved; further ones are not saved.
    static final int MAX_WAITING_SAVES = 4096;
    /// Loads at a time.
    static final int LOAD_THREADS = 2;
    /// Threads that use a tier at a time: those of loads, and the one that saves.
    static final int TIER_THREADS = LOAD_THREADS + 1;

    private Limits() {}
}
