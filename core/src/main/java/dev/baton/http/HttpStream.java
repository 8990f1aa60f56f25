package dev.baton.http;

import io.vertx.core.buffer.Buffer;
import io.vertx.core.http.HttpServerResponse;

/// The body of a streamed response. Everything written within one turn of the event loop goes out in one write;
/// bytes that the client does not accept wait in a bounded buffer, and a client that lets it overflow, or
/// accepts nothing until the write deadline, is cut off ([HttpExchange.Gone#TOO_SLOW]).
///
/// Thread-safe; writes of one thread stay in order. Writes after the end, or to a client that is gone, are dropped.
public final class HttpStream {
    private final HttpServerConfig config;
    private final HttpExchange exchange;
    private final HttpServerResponse response;

    private final Object lock = new Object();
    // guarded by lock
    private Buffer pending = Buffer.buffer();
    private boolean flushScheduled;
    private boolean ending;
    private boolean sourceTold;
    // event loop only
    private boolean waitsForDrain;
    private Runnable whenDrained = () -> {};

    HttpStream(HttpServerConfig config, HttpExchange exchange, HttpServerResponse response) {
        this.config = config;
        this.exchange = exchange;
        this.response = response;
    }

    /// Adds bytes to the response.
    ///
    /// @return false if bytes wait for a slow client: a source that can pause should, until [#onDrain]
    public boolean write(byte[] bytes) {
        boolean overflow;
        boolean schedule;
        int waiting;
        synchronized (lock) {
            if (ending) {
                return true;
            }
            pending.appendBytes(bytes);
            waiting = pending.length();
            overflow = waiting > config.maxStreamBufferBytes();
            schedule = !flushScheduled;
            flushScheduled = true;
            sourceTold |= waiting > config.maxStreamBufferBytes() / 4;
        }
        if (overflow) {
            exchange.cutOff(HttpExchange.Gone.TOO_SLOW);
        } else if (schedule) {
            exchange.executeLater(this::flush);
        }
        return waiting <= config.maxStreamBufferBytes() / 4;
    }

    /// Ends the response after what was written.
    public void end() {
        boolean schedule;
        synchronized (lock) {
            if (ending) {
                return;
            }
            ending = true;
            schedule = !flushScheduled;
            flushScheduled = true;
        }
        if (schedule) {
            exchange.executeLater(this::flush);
        }
    }

    /// Registers what to do each time that a slow client has caught up; called on the event loop.
    public void onDrain(Runnable task) {
        exchange.execute(() -> whenDrained = task);
    }

    private void flush() {
        if (exchange.isGone() || response.closed()) {
            drop();
            return;
        }
        if (response.ended()) {
            return;
        }
        if (response.writeQueueFull()) {
            awaitDrain();
            return;
        }
        Buffer bytes;
        boolean last;
        synchronized (lock) {
            bytes = pending;
            pending = Buffer.buffer();
            last = ending;
            flushScheduled = false;
        }
        if (last) {
            exchange.watchLastWrite(response.end(bytes));
            return;
        }
        if (bytes.length() > 0) {
            exchange.watchWrite(response.write(bytes));
        }
        resumeSource();
    }

    /// A source that was told to wait has to hear when to go on, also if its bytes came in one turn of the
    /// event loop and so never met a full queue.
    private void resumeSource() {
        if (response.writeQueueFull()) {
            awaitDrain();
            return;
        }
        boolean told;
        synchronized (lock) {
            told = sourceTold;
            sourceTold = false;
        }
        if (told) {
            whenDrained.run();
        }
    }

    /// Until then writes only add to the buffer.
    private void awaitDrain() {
        if (waitsForDrain) {
            return;
        }
        waitsForDrain = true;
        response.drainHandler(drained -> {
            waitsForDrain = false;
            flush();
        });
    }

    private void drop() {
        synchronized (lock) {
            ending = true;
            pending = Buffer.buffer();
        }
    }
}
