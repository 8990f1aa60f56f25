package dev.baton.http;

import io.vertx.core.Vertx;
import io.vertx.core.http.HttpConnection;
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
        private final Deadline deadline;
        private int active;

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
        if (count.incrementAndGet() > config.maxConnections()) {
            count.decrementAndGet();
            connection.close();
            return;
        }
        Watch watch = new Watch(new Deadline(vertx, connection::close));
        watches.put(connection, watch);
        connection.exceptionHandler(e -> LOG.debug("a client's connection broke: {}", e.toString()));
        connection.closeHandler(closed -> {
            watch.deadline.close();
            watches.remove(connection);
            count.decrementAndGet();
        });
        watch.deadline.set(config.headerDeadline());
    }

    void requestStarted(HttpConnection connection) {
        Watch watch = watches.get(connection);
        if (watch != null) {
            watch.active++;
            watch.deadline.suspend();
        }
    }

    void requestEnded(HttpConnection connection) {
        Watch watch = watches.get(connection);
        if (watch != null && --watch.active == 0) {
            watch.deadline.set(config.idleTimeout());
        }
    }
}
