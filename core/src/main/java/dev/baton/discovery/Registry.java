package dev.baton.discovery;

/// Where an engine registers itself. One thread's.
interface Registry extends AutoCloseable {
    /// Says that the engine is there; also each time again, before what was said is over.
    ///
    /// @throws DiscoveryException in one sentence, if that could not be said
    void announce() throws InterruptedException;

    /// Says that the engine is going.
    ///
    /// @throws DiscoveryException in one sentence, if that could not be said
    void withdraw() throws InterruptedException;

    /// Gives sockets back.
    @Override
    void close();
}
