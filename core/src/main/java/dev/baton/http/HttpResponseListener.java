package dev.baton.http;

/// Receives a response as it arrives, on one event loop: one head, any number of pieces, then exactly one end or
/// failure. A failure may come first. Must not block.
public interface HttpResponseListener {
    void onHead(int status, HttpHeaders headers);

    /// The next piece of the body.
    ///
    /// @param bytes the listener's to keep
    void onBytes(byte[] bytes);

    /// The response is complete.
    void onEnd();

    /// No further bytes will come.
    void onFailure(HttpException failure);
}
