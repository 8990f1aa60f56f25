package dev.baton.serving;

import dev.baton.openai.StreamOptions;
import java.time.Duration;
import java.util.Optional;

/// What holds for every stream of an instance. Thread-safe.
///
/// @param forceUsage whether usage is reported on each chunk, asked for or not (`--enable-force-include-usage`)
/// @param keepAliveInterval how long a stream may be silent (`--sse-keep-alive-interval`); empty: for ever
record Streaming(boolean forceUsage, Optional<Duration> keepAliveInterval) {
    private static final StreamOptions ALWAYS = new StreamOptions(true, true);

    /// What holds for a request that asks for this.
    StreamOptions options(StreamOptions asked) {
        return forceUsage ? ALWAYS : asked;
    }
}
