package dev.baton.engine;

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
        public QueueFull(String message) {
            super(message);
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
