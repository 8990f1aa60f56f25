package dev.baton.router;

import dev.baton.http.HttpClientResponse;
import dev.baton.http.HttpException;
import dev.baton.http.HttpHeaders;
import dev.baton.http.HttpResponseListener;
import dev.baton.http.WholeResponse;
import dev.baton.openai.Continuation;
import org.jspecify.annotations.Nullable;

/// What a decoder answers: events go on as they come, anything else once it is whole.
final class DecoderAnswer implements HttpResponseListener {
    static final int MAX_ANSWER_BYTES = 64 << 20;
    /// Half of what may wait for a client: a longer event goes on in pieces, and its client is not cut off for it.
    private static final int MAX_EVENT_BYTES = 512 << 10;
    /// One event of an engine that was asked for token ids may have those of the whole prompt.
    private static final int MAX_EVENT_BYTES_WITH_IDS = 16 << 20;

    /// Who is told what it comes to; at most one of `whole`, `streamed`, `begunAnew`, `erred` and
    /// `broke`, and that last.
    interface Sink {
        /// An answer that is no stream.
        void whole(HttpClientResponse answer);

        /// Events for the client; not empty.
        void events(HttpHeaders head, byte[] events);

        /// The stream is complete.
        void streamed();

        /// The engine was to go on with a stream, and does not say that it has understood.
        void begunAnew();

        /// The engine says in its stream that it failed.
        void erred(HttpHeaders head, byte[] errorEvent);

        /// The answer broke off, or never came.
        void broke(HttpException failure);
    }

    private final Upstream engine;
    private final StreamProgress progress;
    private final Telling telling;
    private final boolean askedForComments;
    private final Sink sink;
    /// Whether the client is to get something else than what the engine sends.
    private final boolean needsWholeEvents;

    private final SseFrames frames;
    private @Nullable WholeResponse whole;
    private HttpHeaders head = HttpHeaders.none();
    private boolean tellsTokens;
    private boolean over;

    /// How an engine that writes no comments for the router says which tokens its events show.
    sealed interface Telling {
        /// Not at all.
        record Nothing() implements Telling {}

        /// It was asked for token ids.
        ///
        /// @param byClient whether the client has asked, too
        record Ids(boolean byClient) implements Telling {}

        /// It was asked for token ids, and goes on after a prompt.
        record Rest(PromptContinuation continuation) implements Telling {}

        /// It was told where to go on, which only an engine understands that writes comments.
        record Continued() implements Telling {}
    }

    /// @param askedForComments whether the engine was asked to write comments for the router
    DecoderAnswer(Upstream engine, StreamProgress progress, Telling telling, boolean askedForComments, Sink sink) {
        this.engine = engine;
        this.progress = progress;
        this.telling = telling;
        this.askedForComments = askedForComments;
        this.sink = sink;
        this.needsWholeEvents =
                telling instanceof Telling.Rest || (telling instanceof Telling.Ids(boolean byClient) && !byClient);
        this.frames = new SseFrames(needsWholeEvents ? MAX_EVENT_BYTES_WITH_IDS : MAX_EVENT_BYTES);
    }

    @Override
    public void onHead(int status, HttpHeaders headers) {
        head = headers;
        tellsTokens = headers.first(Continuation.HEADER).isPresent();
        boolean events = headers.first("content-type")
                .filter(type -> type.startsWith("text/event-stream"))
                .isPresent();
        if (status != 200 || !events) {
            whole = new WholeResponse(MAX_ANSWER_BYTES, sink::whole, sink::broke);
            whole.onHead(status, headers);
            return;
        }
        if (askedForComments) {
            engine.streams(tellsTokens);
        }
        if (telling instanceof Telling.Continued && !tellsTokens) {
            over = true;
            sink.begunAnew();
        }
    }

    @Override
    public void onBytes(byte[] bytes) {
        if (whole != null) {
            whole.onBytes(bytes);
        } else if (!over) {
            pass(frames.accept(bytes));
        }
    }

    private void pass(byte[] events) {
        if (frames.cut() && needsWholeEvents) {
            over = true;
            sink.broke(new HttpException(HttpException.Kind.TOO_LARGE, engine + " sent an event that is too long"));
            return;
        }
        byte[] clients = events.length == 0 ? events : clients(events);
        if (clients.length > 0) {
            sink.events(head, clients);
        }
        if (frames.failed()) {
            over = true;
            sink.erred(head, frames.failure());
        }
    }

    private byte[] clients(byte[] events) {
        if (frames.cut()) {
            progress.passedUnread(events, frames.numEvents());
            return events;
        }
        if (telling instanceof Telling.Rest(PromptContinuation continuation)) {
            return progress.takeRest(events, continuation);
        }
        if (tellsTokens) {
            return progress.take(events);
        }
        if (telling instanceof Telling.Ids(boolean byClient)) {
            return progress.takeFields(events, byClient);
        }
        progress.passed(events, frames.numEvents());
        return events;
    }

    @Override
    public void onEnd() {
        if (whole != null) {
            whole.onEnd();
        } else if (!over) {
            pass(frames.finish());
            if (over) {
                return;
            }
            over = true;
            if (frames.done()) {
                sink.streamed();
            } else {
                sink.broke(new HttpException(HttpException.Kind.CLOSED, engine + " ended its stream without [DONE]"));
            }
        }
    }

    @Override
    public void onFailure(HttpException failure) {
        if (whole != null) {
            whole.onFailure(failure);
        } else if (!over) {
            over = true;
            if (frames.done()) {
                sink.streamed(); // the client has all of it; that the connection did not end well is nobody's loss
            } else {
                sink.broke(failure);
            }
        }
    }
}
