package dev.baton.discovery;

import java.util.List;

/// Something that knows which engines there are: a list, a file, registrations, leases. Thread-safe.
///
/// A source that cannot be reached for a while reports nothing: engines that are known stay until it says
/// otherwise, and whether they are alive is the router's own finding.
public interface EngineSource extends AutoCloseable {
    /// Begins to report; called once.
    ///
    /// @throws DiscoveryException in one sentence, if it can never work as configured (a port in use, an unreadable
    ///     file)
    void start(EngineListener listener);

    /// Engines that it reports as soon as it starts and never takes back: what is wrong with these can be said
    /// before anything runs.
    default List<EngineInfo> fixed() {
        return List.of();
    }

    /// What it is, for the log: `static list`, `file engines.yaml`.
    String description();

    /// Reports nothing more; gives sockets and threads back.
    @Override
    void close();
}
