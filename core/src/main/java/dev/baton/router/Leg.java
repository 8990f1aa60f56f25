package dev.baton.router;

import dev.baton.http.HttpCall;
import dev.baton.http.HttpClient;
import dev.baton.http.HttpClientRequest;
import dev.baton.http.HttpException;
import dev.baton.http.HttpHeaders;
import dev.baton.http.HttpResponseListener;
import java.time.Duration;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/// One call to one engine on behalf of one request: counts it on the engine, and ends it when the engine is found
/// dead. Started and called back on one event loop; [#loseIfSilent] may come from any thread. What its listener
/// throws goes to its request, which would otherwise never end.
final class Leg implements HttpResponseListener {
    private final Upstream engine;
    private final HttpResponseListener listener;
    private final Consumer<Throwable> whenListenerFails;
    private volatile @Nullable HttpCall call;
    private final long startNanos = System.nanoTime();
    private volatile long lastBytesNanos = startNanos;
    private volatile boolean paused;
    private volatile @Nullable String lost;

    private Leg(Upstream engine, HttpResponseListener listener, Consumer<Throwable> whenListenerFails) {
        this.engine = engine;
        this.listener = listener;
        this.whenListenerFails = whenListenerFails;
    }

    static Leg start(
            HttpClient client,
            Upstream engine,
            HttpClientRequest request,
            HttpResponseListener listener,
            Consumer<Throwable> whenListenerFails) {
        Leg leg = new Leg(engine, listener, whenListenerFails);
        engine.legStarted(leg);
        leg.call = client.send(request, leg);
        return leg;
    }

    /// Ends the call and closes its connection, so that the engine aborts too.
    void cancel() {
        HttpCall running = call;
        if (running != null) {
            running.cancel();
        }
    }

    void pause() {
        paused = true;
        HttpCall running = call;
        if (running != null) {
            running.pause();
        }
    }

    void resume() {
        paused = false;
        lastBytesNanos = System.nanoTime();
        HttpCall running = call;
        if (running != null) {
            running.resume();
        }
    }

    /// Ends a call on which nothing came for so long, as if its connection had broken.
    void loseIfSilent(Duration silence) {
        if (System.nanoTime() - lastBytesNanos >= silence.toNanos()) {
            lose("it fell silent and fails its health probes");
        }
    }

    /// Ends it as if its connection had broken.
    void lose(String why) {
        lost = why;
        cancel();
    }

    /// When bytes came last; when it began, where none came.
    long lastBytesNanos() {
        return lastBytesNanos;
    }

    /// Whether anything came.
    boolean hasHeard() {
        return lastBytesNanos != startNanos;
    }

    /// Whether its answer has begun and more of it is wanted.
    boolean isStreaming() {
        return hasHeard() && !paused;
    }

    @Override
    public void onHead(int status, HttpHeaders headers) {
        lastBytesNanos = System.nanoTime();
        guarded(() -> listener.onHead(status, headers));
    }

    @Override
    public void onBytes(byte[] bytes) {
        lastBytesNanos = System.nanoTime();
        guarded(() -> listener.onBytes(bytes));
    }

    @Override
    public void onEnd() {
        engine.legEnded(this);
        guarded(listener::onEnd);
    }

    @Override
    public void onFailure(HttpException failure) {
        engine.legEnded(this);
        String why = lost;
        HttpException told =
                why == null ? failure : new HttpException(HttpException.Kind.CLOSED, engine + ": " + why, failure);
        guarded(() -> listener.onFailure(told));
    }

    private void guarded(Runnable callback) {
        try {
            callback.run();
        } catch (RuntimeException | Error e) {
            whenListenerFails.accept(e);
        }
    }
}
