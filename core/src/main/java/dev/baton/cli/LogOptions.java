package dev.baton.cli;

import java.net.URI;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/// How much is logged.
@Command
final class LogOptions {
    /// Under vLLM's names, which are Python's, as well as Logback's.
    enum Level {
        CRITICAL,
        ERROR,
        WARNING,
        WARN,
        INFO,
        DEBUG,
        TRACE,
        NOTSET;

        private ch.qos.logback.classic.Level logback() {
            return switch (this) {
                case CRITICAL, ERROR -> ch.qos.logback.classic.Level.ERROR;
                case WARNING, WARN -> ch.qos.logback.classic.Level.WARN;
                case INFO -> ch.qos.logback.classic.Level.INFO;
                case DEBUG -> ch.qos.logback.classic.Level.DEBUG;
                case TRACE, NOTSET -> ch.qos.logback.classic.Level.TRACE;
            };
        }

        @Override
        public String toString() {
            return name().toLowerCase(Locale.ROOT);
        }
    }

    @Option(
            names = "--log-level",
            paramLabel = "LEVEL",
            description = "Least level that is logged: error, warning, info or debug (default: info).")
    @Nullable
    Level level;

    @Option(
            names = "--otlp-traces-endpoint",
            paramLabel = "URL",
            description = "Where a collector takes traces of OpenTelemetry as JSON over HTTP, for example"
                    + " http://localhost:4318/v1/traces (default: none are recorded).")
    @Nullable
    URI otlpTracesEndpoint;

    /// Where traces go.
    ///
    /// @throws IllegalArgumentException if that is no address to post to
    Optional<URI> tracesEndpoint() {
        URI given = otlpTracesEndpoint;
        if (given != null
                && (given.getHost() == null || !List.of("http", "https").contains(given.getScheme()))) {
            throw new IllegalArgumentException("--otlp-traces-endpoint " + given
                    + " is no http:// or https:// address: write http://localhost:4318/v1/traces.");
        }
        return Optional.ofNullable(given);
    }

    /// Makes it so for this process.
    void apply() {
        if (level != null
                && LoggerFactory.getLogger(Logger.ROOT_LOGGER_NAME) instanceof ch.qos.logback.classic.Logger root) {
            root.setLevel(level.logback());
        }
    }
}
