package dev.baton.http;

import java.time.Duration;

/// The limits of a client.
///
/// @param connectTimeout time to open a connection
/// @param keepAlive time that an unused connection is kept
/// @param maxConnectionsPerHost connections to one address at a time, divided among the event loops; further
///     calls wait for one
/// @param tls how servers of `https` addresses are known
public record HttpClientConfig(Duration connectTimeout, Duration keepAlive, int maxConnectionsPerHost, ClientTls tls) {
    /// With the authorities that the JDK trusts.
    public HttpClientConfig(Duration connectTimeout, Duration keepAlive, int maxConnectionsPerHost) {
        this(connectTimeout, keepAlive, maxConnectionsPerHost, ClientTls.defaults());
    }

    /// 2 s to connect, 30 s keep-alive, 1,024 connections an address.
    public static HttpClientConfig defaults() {
        return new HttpClientConfig(Duration.ofSeconds(2), Duration.ofSeconds(30), 1024);
    }
}
