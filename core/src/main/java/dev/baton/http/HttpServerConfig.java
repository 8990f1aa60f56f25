package dev.baton.http;

import java.time.Duration;
import java.util.Optional;

/// The address and the limits of a server.
///
/// @param host address to bind, for example `127.0.0.1` or `0.0.0.0`
/// @param port port to bind, 0 for any free one
/// @param maxHeaderBytes bytes of a request's head; more is 431
/// @param maxBodyBytes bytes of a request's body; more is 413, counted while it streams in
/// @param headerDeadline time from connecting to the end of the first request's head
/// @param bodyDeadline time from the end of the head to the end of the body; later is 408. What has arrived earns
///     more of it, by `minBodyBytesPerSecond`
/// @param minBodyBytesPerSecond slowest pace of a body, once its deadline is over
/// @param idleTimeout time that a connection may stay without a request
/// @param writeDeadline time that a client may take to accept bytes that are waiting for it
/// @param maxStreamBufferBytes bytes that may wait for one slow client before it is cut off
/// @param maxConnections connections at a time; further ones are closed at once
/// @param maxConnectionsPerIp those of one address; further ones are closed at once
/// @param apiKeys keys of which a client must show one; without it the answer is 401, before the body is read
/// @param tls how connections are secured; empty: they are plain text
/// @param cors which pages of other origins may read the answers
public record HttpServerConfig(
        String host,
        int port,
        int maxHeaderBytes,
        long maxBodyBytes,
        Duration headerDeadline,
        Duration bodyDeadline,
        int minBodyBytesPerSecond,
        Duration idleTimeout,
        Duration writeDeadline,
        int maxStreamBufferBytes,
        int maxConnections,
        int maxConnectionsPerIp,
        ApiKeys apiKeys,
        Optional<ServerTls> tls,
        Cors cors) {

    /// The builder's defaults.
    public static HttpServerConfig of(String host, int port) {
        return builder(host, port).build();
    }

    /// Begins with the defaults: 16 KiB of head, 32 MiB of body, 10 s for the head, 20 s for the body and a
    /// second more for each 16 KiB of it, 75 s idle, 30 s for a write, 1 MiB of waiting bytes a stream, 10,000
    /// connections, as many of them from one address (a proxy before this has only one), no key, plain text, no
    /// other origin.
    public static Builder builder(String host, int port) {
        return new Builder(host, port);
    }

    /// Begins with these values.
    public Builder toBuilder() {
        return new Builder(host, port)
                .maxHeaderBytes(maxHeaderBytes)
                .maxBodyBytes(maxBodyBytes)
                .headerDeadline(headerDeadline)
                .bodyDeadline(bodyDeadline)
                .minBodyBytesPerSecond(minBodyBytesPerSecond)
                .idleTimeout(idleTimeout)
                .writeDeadline(writeDeadline)
                .maxStreamBufferBytes(maxStreamBufferBytes)
                .maxConnections(maxConnections)
                .maxConnectionsPerIp(maxConnectionsPerIp)
                .apiKeys(apiKeys)
                .tls(tls)
                .cors(cors);
    }

    /// Collects the settings of a server. Not thread-safe.
    public static final class Builder {
        private final String host;
        private final int port;
        private int maxHeaderBytes = 16 << 10;
        private long maxBodyBytes = 32L << 20;
        private Duration headerDeadline = Duration.ofSeconds(10);
        private Duration bodyDeadline = Duration.ofSeconds(20);
        private int minBodyBytesPerSecond = 16 << 10;
        private Duration idleTimeout = Duration.ofSeconds(75);
        private Duration writeDeadline = Duration.ofSeconds(30);
        private int maxStreamBufferBytes = 1 << 20;
        private int maxConnections = 10_000;
        private int maxConnectionsPerIp = Integer.MAX_VALUE;
        private ApiKeys apiKeys = ApiKeys.none();
        private Optional<ServerTls> tls = Optional.empty();
        private Cors cors = Cors.none();

        private Builder(String host, int port) {
            this.host = host;
            this.port = port;
        }

        public Builder maxHeaderBytes(int bytes) {
            maxHeaderBytes = bytes;
            return this;
        }

        public Builder maxBodyBytes(long bytes) {
            maxBodyBytes = bytes;
            return this;
        }

        public Builder headerDeadline(Duration deadline) {
            headerDeadline = deadline;
            return this;
        }

        public Builder bodyDeadline(Duration deadline) {
            bodyDeadline = deadline;
            return this;
        }

        public Builder minBodyBytesPerSecond(int bytes) {
            minBodyBytesPerSecond = bytes;
            return this;
        }

        public Builder idleTimeout(Duration timeout) {
            idleTimeout = timeout;
            return this;
        }

        public Builder writeDeadline(Duration deadline) {
            writeDeadline = deadline;
            return this;
        }

        public Builder maxStreamBufferBytes(int bytes) {
            maxStreamBufferBytes = bytes;
            return this;
        }

        public Builder maxConnections(int connections) {
            maxConnections = connections;
            return this;
        }

        public Builder maxConnectionsPerIp(int connections) {
            maxConnectionsPerIp = connections;
            return this;
        }

        public Builder apiKeys(ApiKeys keys) {
            apiKeys = keys;
            return this;
        }

        public Builder tls(Optional<ServerTls> how) {
            tls = how;
            return this;
        }

        public Builder cors(Cors origins) {
            cors = origins;
            return this;
        }

        public HttpServerConfig build() {
            return new HttpServerConfig(
                    host,
                    port,
                    maxHeaderBytes,
                    maxBodyBytes,
                    headerDeadline,
                    bodyDeadline,
                    minBodyBytesPerSecond,
                    idleTimeout,
                    writeDeadline,
                    maxStreamBufferBytes,
                    maxConnections,
                    maxConnectionsPerIp,
                    apiKeys,
                    tls,
                    cors);
        }
    }
}
