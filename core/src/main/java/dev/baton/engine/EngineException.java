package dev.baton.engine;

import java.time.Duration;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/// The engine cannot take a request. Says why; the sub-class says whether trying again helps.
public class EngineException extends RuntimeException {
    public EngineException(String message) {
        super(message);
    }

    public EngineException(String message, Throwable cause) {
        super(message, cause);
    }

    /// Too many requests wait already; another try later may succeed.
    public static final class QueueFull extends EngineException {
        /// What there is too much of.
        public enum Limit {
            /// [EngineConfig#maxWaiting].
            REQUESTS,
            /// [EngineConfig#maxWaitingTokens].
            PROMPT_TOKENS
        }

        private final Limit limit;
        private final @Nullable Duration retryAfter;

        /// @param retryAfter when there may be room again, null if nothing is known about that
        public QueueFull(Limit limit, String message, @Nullable Duration retryAfter) {
            super(message);
            this.limit = limit;
            this.retryAfter = retryAfter;
        }

        /// The limit that was reached.
        public Limit limit() {
            return limit;
        }

        /// When there may be room again, by the pace at which requests have left the queue lately; empty if
        /// none has. For the header `Retry-After`, to be rounded up to whole seconds.
        public Optional<Duration> retryAfter() {
            return Optional.ofNullable(retryAfter);
        }
    }

    /// The engine has stopped and will not come back.
    public static final class Dead extends EngineException {
        public Dead(String message) {
            super(message);
        }

        public Dead(String message, Throwable cause) {
            super(message, cause);
        }
    }
}
