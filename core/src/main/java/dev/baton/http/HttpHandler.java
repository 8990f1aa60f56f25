package dev.baton.http;

/// Answers requests. Called on an event loop once the whole body is there, so it must not block: work that
/// takes long goes to another thread, which may answer through the exchange from there.
@FunctionalInterface
public interface HttpHandler {
    void handle(HttpExchange exchange);

    /// Takes note of a request that never comes to [#handle], because the server has refused it. Called on an event
    /// loop, as its answer goes out.
    default void refused(HttpRefusal refusal) {}
}
