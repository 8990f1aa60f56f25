package dev.baton.discovery;

/// Who is told of engines that come and go. Called from any thread; implementations are thread-safe and do not
/// block.
public interface EngineListener {
    /// An engine is there, or what is known of it has changed: its role, its weight, its connector.
    void joined(EngineInfo engine);

    /// An engine is gone: deregistered, its lease over, its line deleted.
    ///
    /// @param why for the log, in a few words
    void left(EngineAddress address, String why);
}
