package dev.baton.http;

import io.vertx.core.Vertx;
import io.vertx.core.http.HttpConnection;
import java.time.Duration;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// The open connections of one server: their number, in all and by address, and for each one the deadline by
/// which the next request must have arrived. A client that dribbles header bytes keeps a read timeout from
/// firing, so the deadline counts from the connection's opening or the last response, not from the last byte.
/// Each connection is touched by its event loop only.
final class Connections {
    private static final Logger LOG = LoggerFactory.getLogger(Connections.class);

    private final Vertx vertx;
    private final HttpServerConfig config;
    private final Map<HttpConnection, Watch> watches = new ConcurrentHashMap<>();
    private final Map<String, Integer> countsByIp = new ConcurrentHashMap<>();
    private final AtomicInteger count = new AtomicInteger();

    private static final class Watch {
        private static final long NO_TIMER = -1;
        private long timer = NO_TIMER;
        private int active;
        private boolean over;
    }

    Connections(Vertx vertx, HttpServerConfig config) {
        this.vertx = vertx;
        this.config = config;
    }

    int count() {
        return count.get();
    }

    void opened(HttpConnection connection) {
        String ip = String.valueOf(connection.remoteAddress().hostAddress());
        boolean tooMany = count.incrementAndGet() > config.maxConnections();
        tooMany |= countsByIp.merge(ip, 1, Integer::sum) > config.maxConnectionsPerIp();
        if (tooMany) {
            closed(ip);
            connection.close();
            return;
        }
        Watch watch = new Watch();
        watches.put(connection, watch);
        connection.exceptionHandler(e -> LOG.debug("a client's connection broke: {}", e.toString()));
        connection.closeHandler(closed -> {
            cancel(watch);
            watches.remove(connection);
            closed(ip);
        });
        arm(connection, watch, config.headerDeadline());
    }

    private void closed(String ip) {
        count.decrementAndGet();
        countsByIp.computeIfPresent(ip, (same, open) -> open == 1 ? null : open - 1);
    }

    /// Says that a request has come.
    ///
    /// @return false if the connection is over, and what comes on it is not to be answered
    boolean requestStarted(HttpConnection connection) {
        Watch watch = watches.get(connection);
        if (watch == null || watch.over) {
            return false;
        }
        watch.active++;
        cancel(watch);
        return true;
    }

    /// No request that is behind the current one will be answered.
    void takeNoMore(HttpConnection connection) {
        Watch watch = watches.get(connection);
        if (watch != null) {
            watch.over = true;
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
