package dev.baton.http;

import java.time.Duration;

/// The address and the limits of a server.
///
/// @param host address to bind, for example `127.0.0.1` or `0.0.0.0`
/// @param port port to bind, 0 for any free one
/// @param maxHeaderBytes bytes of a request's head; more is 431
/// @param maxBodyBytes bytes of a request's body; more is 413, counted while it streams in
/// @param headerDeadline time from connecting to the end of the first request's head
/// @param bodyDeadline time from the end of the head to the end of the body; later is 408
/// @param idleTimeout time that a connection may stay without a request
/// @param writeDeadline time that a client may take to accept bytes that are waiting for it
/// @param maxStreamBufferBytes bytes that may wait for one slow client before it is cut off
/// @param maxConnections connections at a time; further ones are closed at once
public record HttpServerConfig(
        String host,
        int port,
        int maxHeaderBytes,
        long maxBodyBytes,
        Duration headerDeadline,
        Duration bodyDeadline,
        Duration idleTimeout,
        Duration writeDeadline,
        int maxStreamBufferBytes,
        int maxConnections) {

    /// The defaults: 16 KiB of head, 32 MiB of body, 10 s for the head, 60 s for the body, 75 s idle, 30 s for
    /// a write, 1 MiB of waiting bytes a stream, 10,000 connections.
    public static HttpServerConfig of(String host, int port) {
        return new HttpServerConfig(
                host,
                port,
                16 << 10,
                32L << 20,
                Duration.ofSeconds(10),
                Duration.ofSeconds(60),
                Duration.ofSeconds(75),
                Duration.ofSeconds(30),
                1 << 20,
                10_000);
    }

    public HttpServerConfig withMaxBodyBytes(long bytes) {
        return new HttpServerConfig(
                host,
                port,
                maxHeaderBytes,
                bytes,
                headerDeadline,
                bodyDeadline,
                idleTimeout,
                writeDeadline,
                maxStreamBufferBytes,
                maxConnections);
    }

    public HttpServerConfig withDeadlines(Duration header, Duration body, Duration idle, Duration write) {
        return new HttpServerConfig(
                host,
                port,
                maxHeaderBytes,
                maxBodyBytes,
                header,
                body,
                idle,
                write,
                maxStreamBufferBytes,
                maxConnections);
    }

    public HttpServerConfig withMaxStreamBufferBytes(int bytes) {
        return new HttpServerConfig(
                host,
                port,
                maxHeaderBytes,
                maxBodyBytes,
                headerDeadline,
                bodyDeadline,
                idleTimeout,
                writeDeadline,
                bytes,
                maxConnections);
    }

    public HttpServerConfig withMaxConnections(int connections) {
        return new HttpServerConfig(
                host,
                port,
                maxHeaderBytes,
                maxBodyBytes,
                headerDeadline,
                bodyDeadline,
                idleTimeout,
                writeDeadline,
                maxStreamBufferBytes,
                connections);
    }
}
