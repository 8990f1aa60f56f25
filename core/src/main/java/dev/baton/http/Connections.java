package dev.baton.http;

import io.vertx.core.Vertx;
import io.vertx.core.http.HttpConnection;
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
        private final Deadline deadline;
        private int active;
        private boolean over;

        private Watch(Deadline deadline) {
            this.deadline = deadline;
        }
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
        Watch watch = new Watch(new Deadline(vertx, connection::close));
        watches.put(connection, watch);
        connection.exceptionHandler(e -> LOG.debug("a client's connection broke: {}", e.toString()));
        connection.closeHandler(closed -> {
            watch.deadline.close();
            watches.remove(connection);
            closed(ip);
        });
        watch.deadline.set(config.headerDeadline());
    }

    private void closed(String ip) {
        count.decrementAndGet();
        countsByIp.computeIfPresent(ip, (same, open) -> open == 1 ? null : open - 1);
    }

    /// A request has come; the connection's deadline waits until it has ended.
    ///
    /// @return false if the connection is over, and what comes on it is not to be answered
    boolean requestStarted(HttpConnection connection) {
        Watch watch = watches.get(connection);
        if (watch == null || watch.over) {
            return false;
        }
        watch.active++;
        watch.deadline.suspend();
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
            watch.deadline.set(config.idleTimeout());
        }
    }
}
