package dev.baton.http;

import java.util.List;
import java.util.Optional;

/// Keys that may change while a server runs. Asked by one thread at a time.
public interface ApiKeySource {
    /// The keys, if they are others than those of the last call, or this is the first one.
    ///
    /// @throws IllegalArgumentException in a sentence that repeats nothing secret, if there is no saying what
    ///     they are
    Optional<List<ApiKey>> readIfChanged();
}
