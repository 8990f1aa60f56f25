package dev.baton.router;

import dev.baton.http.HttpClientResponse;
import dev.baton.http.HttpException;
import dev.baton.http.HttpHeaders;
import dev.baton.http.HttpResponseListener;
import java.io.ByteArrayOutputStream;
import java.util.function.Consumer;

/// Collects one answer up to a limit and reports it, or its failure, once. Event loop only.
final class WholeAnswer implements HttpResponseListener {
    private final int maxBytes;
    private final Consumer<HttpClientResponse> whenAnswered;
    private final Consumer<HttpException> whenFailed;
    private final ByteArrayOutputStream body = new ByteArrayOutputStream(512);
    private int status;
    private HttpHeaders headers = HttpHeaders.none();
    private boolean over;

    WholeAnswer(int maxBytes, Consumer<HttpClientResponse> whenAnswered, Consumer<HttpException> whenFailed) {
        this.maxBytes = maxBytes;
        this.whenAnswered = whenAnswered;
        this.whenFailed = whenFailed;
    }

    @Override
    public void onHead(int status, HttpHeaders headers) {
        this.status = status;
        this.headers = headers;
    }

    @Override
    public void onBytes(byte[] bytes) {
        if (over) {
            return;
        }
        if (body.size() + (long) bytes.length > maxBytes) {
            over = true;
            whenFailed.accept(new HttpException(
                    HttpException.Kind.TOO_LARGE, "the engine's answer is larger than " + maxBytes + " bytes"));
        } else {
            body.writeBytes(bytes);
        }
    }

    @Override
    public void onEnd() {
        if (!over) {
            whenAnswered.accept(new HttpClientResponse(status, headers, body.toByteArray()));
        }
    }

    @Override
    public void onFailure(HttpException failure) {
        if (!over) {
            over = true;
            whenFailed.accept(failure);
        }
    }
}
