package dev.baton.http;

/// Writes down what becomes of a call, on its way to the call's own listener.
final class TracedCall implements HttpResponseListener {
    private final Span span;
    private final HttpResponseListener listener;
    private boolean began;

    TracedCall(Span span, HttpResponseListener listener) {
        this.span = span;
        this.listener = listener;
    }

    @Override
    public void onHead(int status, HttpHeaders headers) {
        span.attribute("http.response.status_code", status);
        if (status >= 400) {
            span.fail("status " + status);
        }
        listener.onHead(status, headers);
    }

    @Override
    public void onBytes(byte[] bytes) {
        if (!began) {
            began = true;
            span.event("first bytes");
        }
        listener.onBytes(bytes);
    }

    @Override
    public void onEnd() {
        span.end();
        listener.onEnd();
    }

    @Override
    public void onFailure(HttpException failure) {
        span.fail(String.valueOf(failure.kind()));
        span.end();
        listener.onFailure(failure);
    }
}
