package dev.baton.router;

import dev.baton.http.HttpExchange;
import dev.baton.http.HttpHeaders;
import dev.baton.http.HttpStream;
import dev.baton.openai.ApiError;
import dev.baton.openai.SseWriter;
import org.jspecify.annotations.Nullable;

/// The client's side of a streamed answer: one for a request, whichever engines its events come from. A client that
/// reads slowly slows the leg down that it reads from. Event loop only.
final class AnswerStream {
    private final HttpExchange exchange;
    private final RequestId id;
    private @Nullable HttpStream stream;
    private @Nullable Leg source;

    AnswerStream(HttpExchange exchange, RequestId id) {
        this.exchange = exchange;
        this.id = id;
    }

    /// Whether the client has been told anything: its answer is a stream then, come what may.
    boolean isOpen() {
        return stream != null;
    }

    /// Writes events.
    ///
    /// @param head the head of the engine's answer; counts once
    /// @param from where they come from
    void write(byte[] events, HttpHeaders head, Leg from) {
        source = from;
        if (!opened(head).write(events)) {
            from.pause();
        }
    }

    /// Writes events of the router's own to an open stream.
    void write(byte[] events) {
        if (stream != null) {
            stream.write(events);
        }
    }

    private HttpStream opened(HttpHeaders head) {
        HttpStream opened = stream;
        if (opened == null) {
            opened = exchange.startStream(200, ForwardedHeaders.toClient(head, id));
            opened.onDrain(this::resume);
            stream = opened;
        }
        return opened;
    }

    private void resume() {
        if (source != null) {
            source.resume();
        }
    }

    /// Ends an open stream with an engine's own error event.
    void fail(byte[] errorEvent) {
        if (stream != null) {
            stream.write(errorEvent);
            stream.end();
        }
    }

    /// Ends an open stream with an error event.
    void fail(ApiError error) {
        if (stream != null) {
            stream.write(SseWriter.error(error));
            stream.end();
        }
    }

    void end() {
        if (stream != null) {
            stream.end();
        }
    }
}
