package dev.baton.http;

import io.vertx.core.Vertx;
import io.vertx.core.http.HttpConnection;
import java.time.Duration;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// The open connections of one server: their number, and for each one the deadline by which the next request
/// must have arrived. A client that dribbles header bytes keeps a read timeout from firing, so the deadline
/// counts from the connection's opening or the last response, not from the last byte. Each connection is
/// touched by its event loop only.
final class Connections {
    private static final Logger LOG = LoggerFactory.getLogger(Connections.class);

    private final Vertx vertx;
    private final HttpServerConfig config;
    private final Map<HttpConnection, Watch> watches = new ConcurrentHashMap<>();
    private final AtomicInteger count = new AtomicInteger();

    private static final class Watch {
        private static final long NO_TIMER = -1;
        private long timer = NO_TIMER;
        private int active;
    }

    Connections(Vertx vertx, HttpServerConfig config) {
        this.vertx = vertx;
        this.config = config;
    }

    int count() {
        return count.get();
    }

    void opened(HttpConnection connection) {
        if (count.incrementAndGet() > config.maxConnections()) {
            count.decrementAndGet();
            connection.close();
            return;
        }
        Watch watch = new Watch();
        watches.put(connection, watch);
        connection.exceptionHandler(e -> LOG.debug("a client's connection broke: {}", e.toString()));
        connection.closeHandler(closed -> {
            cancel(watch);
            watches.remove(connection);
            count.decrementAndGet();
        });
        arm(connection, watch, config.headerDeadline());
    }

    void requestStarted(HttpConnection connection) {
        Watch watch = watches.get(connection);
        if (watch != null) {
            watch.active++;
            cancel(watch);
        }
    }

    void requestEnded(HttpConnection connection) {
        Watch watch = watches.get(connection);
        if (watch != null && --watch.active == 0) {
            arm(connection, watch, config.idleTimeout());
        }
    }

    private void arm(HttpConnection connection, Watch watch, Duration deadline) {
        cancel(watch);
        watch.timer = vertx.setTimer(Math.max(1, deadline.toMillis()), id -> {
            watch.timer = Watch.NO_TIMER;
            connection.close();
        });
    }

    private void cancel(Watch watch) {
        if (watch.timer != Watch.NO_TIMER) {
            vertx.cancelTimer(watch.timer);
            watch.timer = Watch.NO_TIMER;
        }
    }
}
