package dev.baton.router;

import dev.baton.http.ApiKey;
import dev.baton.http.HttpExchange;
import dev.baton.http.HttpRefusal;
import java.time.Duration;
import java.util.regex.Pattern;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// A line for each request that was refused before it was routed, beside those of [RoutedRequest]: who, what,
/// why. Never a prompt, a query or a key; keys by their names. Thread-safe.
final class AccessLog {
    /// The logger's.
    static final String NAME = "dev.baton.router.access";

    private static final Logger LOG = LoggerFactory.getLogger(NAME);
    private static final Pattern NOT_SHOWN = Pattern.compile("[^!-~]");

    /// More of a path says nothing more.
    private static final int LONGEST_PATH = 200;

    private final boolean isKept;

    /// @param isKept whether anything is logged
    AccessLog(boolean isKept) {
        this.isKept = isKept;
    }

    /// A request that the router answered by itself.
    ///
    /// @param why in words that repeat nothing of the request
    void refused(HttpExchange exchange, RequestId id, int status, String why) {
        if (isKept) {
            LOG.info(
                    "{} {} {} {} ms id={} key={} route=none refused=\"{}\"",
                    exchange.remoteAddress(),
                    path(exchange.path()),
                    status,
                    millis(Duration.ofNanos(System.nanoTime() - exchange.arrivalNanos())),
                    id.upstream(),
                    keyName(exchange),
                    why.replace('\n', ' '));
        }
    }

    /// A request that came no further than the server.
    void refused(HttpRefusal refusal) {
        if (isKept) {
            LOG.info(
                    "{} {} {} {} ms id=- key={} route=none refused=\"{}\"",
                    refusal.remoteAddress(),
                    path(refusal.path()),
                    refusal.status(),
                    millis(refusal.time()),
                    refusal.keyName().isEmpty() ? "-" : refusal.keyName(),
                    refusal.reason());
        }
    }

    private static long millis(Duration time) {
        return Math.round(time.toNanos() / 1e6);
    }

    /// The name of the key that the client showed, `-` if none was needed.
    static String keyName(HttpExchange exchange) {
        return exchange.apiKey().map(ApiKey::name).orElse("-");
    }

    /// One word of one line, whatever a client has sent.
    private static String path(String sent) {
        String shown = sent.length() > LONGEST_PATH ? sent.substring(0, LONGEST_PATH) + "..." : sent;
        return shown.isEmpty() ? "-" : NOT_SHOWN.matcher(shown).replaceAll("?");
    }
}
