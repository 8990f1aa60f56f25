package dev.baton.http;

import java.net.URI;
import java.time.Duration;

/// A request to send.
///
/// @param target absolute `http` or `https` address; only scheme, host, port, path and query are used
/// @param body the whole body; empty for none
/// @param firstByteDeadline time until the head of the response, connecting included
/// @param idleDeadline longest time between two pieces of the response's body
public record HttpClientRequest(
        String method,
        URI target,
        HttpHeaders headers,
        byte[] body,
        Duration firstByteDeadline,
        Duration idleDeadline) {

    /// A GET.
    public static HttpClientRequest get(URI target, Duration deadline) {
        return new HttpClientRequest("GET", target, HttpHeaders.none(), new byte[0], deadline, deadline);
    }

    /// A POST of JSON.
    public static HttpClientRequest postJson(URI target, byte[] json, Duration deadline) {
        return new HttpClientRequest(
                "POST", target, HttpHeaders.of("content-type", "application/json"), json, deadline, deadline);
    }

    public HttpClientRequest withHeader(String name, String value) {
        return new HttpClientRequest(method, target, headers.with(name, value), body, firstByteDeadline, idleDeadline);
    }
}
