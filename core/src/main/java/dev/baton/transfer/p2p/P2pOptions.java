package dev.baton.transfer.p2p;

import dev.baton.transfer.Exposure;
import dev.baton.transfer.ExtraConfig;
import dev.baton.transfer.TransferException;
import java.time.Duration;
import java.util.Arrays;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

/// Settings of the connector: `kv_connector_extra_config` under vLLM's names, and the bounds that are Baton's own.
/// Durations are given in seconds, fractions allowed.
///
/// @param sendType `send_type`
/// @param proxy `proxy_ip` and `proxy_port`: where to register; empty if either is
/// @param httpPort `http_port`: that of the instance's OpenAI server, which the proxy is told
/// @param bufferBytes `kv_buffer_size`: with PUT what a decoder keeps of prompts that no request has asked for yet,
///     with GET what a prefiller keeps for decoders
/// @param poolBytes `mem_pool_size_gb`: what a decoder keeps beyond that
/// @param connectTimeout `kv_connect_timeout`: bound on opening a connection
/// @param peerTimeout `kv_peer_timeout`: how long a peer that owes bytes or an answer may be silent
/// @param loadTimeout `kv_load_timeout`: how long a decoder waits for blocks that are pushed
/// @param leaseDuration `kv_lease_duration`: how long a prefiller keeps blocks, and a decoder what nobody asks for
/// @param maxConnections `kv_max_connections`: connections accepted at a time
/// @param allowedHosts `kv_allowed_hosts`: hosts that a request's id may name; any if it is empty
/// @param trustedNetwork `kv_trusted_network`: whether the port may listen beyond this machine
record P2pOptions(
        SendType sendType,
        Optional<Endpoint> proxy,
        String httpPort,
        long bufferBytes,
        long poolBytes,
        Duration connectTimeout,
        Duration peerTimeout,
        Duration loadTimeout,
        Duration leaseDuration,
        int maxConnections,
        Set<String> allowedHosts,
        boolean trustedNetwork) {

    /// How blocks come to the decoder.
    enum SendType {
        /// The prefiller pushes them, one prompt after the other.
        PUT,
        /// The prefiller pushes them, several prompts at a time.
        PUT_ASYNC,
        /// The prefiller keeps them, and the decoder asks.
        GET
    }

    private static final String SEND_TYPE = "send_type";
    private static final String PROXY_IP = "proxy_ip";
    private static final String PROXY_PORT = "proxy_port";
    private static final String HTTP_PORT = "http_port";
    private static final String BUFFER_SIZE = "kv_buffer_size";
    private static final String POOL_SIZE = "mem_pool_size_gb";
    private static final String CONNECT_TIMEOUT = "kv_connect_timeout";
    private static final String PEER_TIMEOUT = "kv_peer_timeout";
    private static final String LOAD_TIMEOUT = "kv_load_timeout";
    private static final String LEASE_DURATION = "kv_lease_duration";
    private static final String MAX_CONNECTIONS = "kv_max_connections";
    private static final String ALLOWED_HOSTS = "kv_allowed_hosts";
    private static final Set<String> KEYS = Set.of(
            SEND_TYPE,
            PROXY_IP,
            PROXY_PORT,
            HTTP_PORT,
            BUFFER_SIZE,
            POOL_SIZE,
            CONNECT_TIMEOUT,
            PEER_TIMEOUT,
            LOAD_TIMEOUT,
            LEASE_DURATION,
            MAX_CONNECTIONS,
            ALLOWED_HOSTS,
            Exposure.TRUSTED_NETWORK);
    private static final Set<String> IGNORED = Set.of("nccl_num_channels");

    private static final long MAX_BYTES = 1L << 50;
    private static final int MAX_GIB = 1 << 20;

    /// Reads the settings.
    ///
    /// @throws TransferException if a key is unknown or a value is out of range
    static P2pOptions from(Map<String, Object> settings) {
        ExtraConfig extra = new ExtraConfig(P2pNcclConnector.NAME, settings, KEYS, IGNORED);
        String proxyHost = numberOrText(settings, PROXY_IP);
        String proxyPort = numberOrText(settings, PROXY_PORT);
        Optional<Endpoint> proxy = proxyHost.isEmpty() || proxyPort.isEmpty()
                ? Optional.empty()
                : Optional.of(Endpoint.ofSettings(PROXY_IP, proxyHost, PROXY_PORT, proxyPort));
        String httpPort = numberOrText(settings, HTTP_PORT);
        if (proxy.isPresent()) {
            Endpoint _ = Endpoint.ofSettings(PROXY_IP, proxyHost, HTTP_PORT, httpPort);
        }
        return new P2pOptions(
                sendType(extra.text(SEND_TYPE, SendType.PUT_ASYNC.name())),
                proxy,
                httpPort,
                extra.count(BUFFER_SIZE, 0, MAX_BYTES, 1_000_000_000),
                extra.count(POOL_SIZE, 0, MAX_GIB, 0) << 30,
                extra.seconds(CONNECT_TIMEOUT, Duration.ofSeconds(3)),
                extra.seconds(PEER_TIMEOUT, Duration.ofSeconds(2)),
                extra.seconds(LOAD_TIMEOUT, Duration.ofSeconds(30)),
                extra.seconds(LEASE_DURATION, Duration.ofSeconds(60)),
                (int) extra.count(MAX_CONNECTIONS, 1, 10_000, 256),
                extra.hosts(ALLOWED_HOSTS),
                extra.truth(Exposure.TRUSTED_NETWORK, false));
    }

    private static SendType sendType(String name) {
        return Arrays.stream(SendType.values())
                .filter(each -> each.name().equals(name))
                .findFirst()
                .orElseThrow(
                        () -> new TransferException("kv_connector_extra_config: %s is %s; needed: PUT, PUT_ASYNC or GET"
                                .formatted(SEND_TYPE, name)));
    }

    private static String numberOrText(Map<String, Object> settings, String key) {
        return String.valueOf(settings.getOrDefault(key, "")).strip();
    }

    /// Whether decoders ask for blocks, rather than wait for them.
    boolean fetches() {
        return sendType == SendType.GET;
    }

    /// Whether peers on that host are dealt with.
    boolean allows(Endpoint peer) {
        return allowedHosts.isEmpty() || allowedHosts.contains(peer.host());
    }
}
