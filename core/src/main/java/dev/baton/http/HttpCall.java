package dev.baton.http;

/// A call in progress. Thread-safe.
public interface HttpCall {
    /// Ends the call: its connection is closed, and the listener gets a failure of kind
    /// [HttpException.Kind#CANCELLED] unless it has ended already.
    void cancel();

    /// Stops reading the response until [#resume()]; the other side is slowed down by TCP.
    void pause();

    /// Reads on.
    void resume();
}
