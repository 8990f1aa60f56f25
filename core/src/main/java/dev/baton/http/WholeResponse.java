package dev.baton.http;

import java.io.ByteArrayOutputStream;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/// Collects one response up to a limit and reports it, or its failure, once. One call's; called back on its event
/// loop.
public final class WholeResponse implements HttpResponseListener {
    private static final byte[] NOTHING = {};

    private final long maxBytes;
    private final Consumer<HttpClientResponse> whenWhole;
    private final Consumer<HttpException> whenFailed;
    /// What came; most answers come in one piece, which then is not copied.
    private byte[] first = NOTHING;
    private @Nullable ByteArrayOutputStream more;
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
        if (size() + (long) bytes.length > maxBytes) {
            over = true;
            whenFailed.accept(new HttpException(
                    HttpException.Kind.TOO_LARGE, "the response is larger than " + maxBytes + " bytes"));
        } else if (first.length == 0) {
            first = bytes;
        } else {
            if (more == null) {
                more = new ByteArrayOutputStream(first.length + bytes.length);
                more.writeBytes(first);
            }
            more.writeBytes(bytes);
        }
    }

    private int size() {
        return more == null ? first.length : more.size();
    }

    @Override
    public void onEnd() {
        if (!over) {
            whenWhole.accept(new HttpClientResponse(status, headers, more == null ? first : more.toByteArray()));
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
