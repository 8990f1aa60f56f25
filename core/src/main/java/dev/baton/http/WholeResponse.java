package dev.baton.http;

import java.io.ByteArrayOutputStream;
import java.util.function.Consumer;

/// Collects one response up to a limit and reports it, or its failure, once. One call's; called back on its event
/// loop.
public final class WholeResponse implements HttpResponseListener {
    private final long maxBytes;
    private final Consumer<HttpClientResponse> whenWhole;
    private final Consumer<HttpException> whenFailed;
    private final ByteArrayOutputStream body = new ByteArrayOutputStream(512);
    private int status;
    private HttpHeaders headers = HttpHeaders.none();
    private boolean over;

    /// @param maxBytes largest body to take; a larger one is a failure of kind [HttpException.Kind#TOO_LARGE]
    public WholeResponse(long maxBytes, Consumer<HttpClientResponse> whenWhole, Consumer<HttpException> whenFailed) {
        this.maxBytes = maxBytes;
        this.whenWhole = whenWhole;
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
                    HttpException.Kind.TOO_LARGE, "the response is larger than " + maxBytes + " bytes"));
        } else {
            body.writeBytes(bytes);
        }
    }

    @Override
    public void onEnd() {
        if (!over) {
            whenWhole.accept(new HttpClientResponse(status, headers, body.toByteArray()));
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
