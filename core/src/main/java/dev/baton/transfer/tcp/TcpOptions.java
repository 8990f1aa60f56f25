package dev.baton.transfer.tcp;

import dev.baton.transfer.Exposure;
import dev.baton.transfer.ExtraConfig;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

/// Settings of the TCP connector, from `kv_connector_extra_config`. Durations are given in seconds, fractions
/// allowed.
///
/// @param leaseDuration `kv_lease_duration`: how long a prefiller keeps blocks that nobody asks for
/// @param leaseExtension `kv_lease_extension`: what one heartbeat adds, two thirds of the duration unless set
/// @param heartbeatInterval `kv_heartbeat_interval`: how often a decoder renews, a sixth of the duration and at
///     most half a second unless set
/// @param connectTimeout `kv_connect_timeout`: bound on opening a connection
/// @param peerTimeout `kv_peer_timeout`: how long a peer that owes an answer or bytes may be silent
/// @param sendTimeout `kv_send_timeout`: how long a decoder may take no bytes before its connection is closed
/// @param pushArrivalTimeout `kv_push_arrival_timeout`: how long a decoder that came first waits for the
///     prefill leg
/// @param idleTimeout `kv_idle_timeout`: how long a connection stays open unused
/// @param connectionsPerPeer `kv_connections_per_peer`: loads at a time from one prefiller
/// @param maxConnections `kv_max_connections`: connections accepted at a time, and as many again on which a
///     push waits for its prefill
/// @param allowedHosts `kv_allowed_hosts`: values of `remote_host` that are dialled; any if it is empty
/// @param key `kv_key_file`: the key by which instances know each other; without one all are welcome
/// @param cudaIpc `kv_cuda_ipc`: whether blocks go from GPU to GPU between processes of one host, where they can
/// @param sharedMemory `kv_shared_memory`: whether processes of one host map each other's pools in host memory
/// @param pushLayers `kv_push_layers`: whether pushed blocks are copied from GPU to GPU layer by layer
/// @param trustedNetwork `kv_trusted_network`: whether an instance without a key may listen beyond this machine
record TcpOptions(
        Duration leaseDuration,
        Duration leaseExtension,
        Duration heartbeatInterval,
        Duration connectTimeout,
        Duration peerTimeout,
        Duration sendTimeout,
        Duration pushArrivalTimeout,
        Duration idleTimeout,
        int connectionsPerPeer,
        int maxConnections,
        Set<String> allowedHosts,
        Optional<SharedKey> key,
        boolean cudaIpc,
        boolean sharedMemory,
        PushLayers pushLayers,
        boolean trustedNetwork) {

    private static final String LEASE_DURATION = "kv_lease_duration";
    private static final String LEASE_EXTENSION = "kv_lease_extension";
    private static final String HEARTBEAT_INTERVAL = "kv_heartbeat_interval";
    private static final String CONNECT_TIMEOUT = "kv_connect_timeout";
    private static final String PEER_TIMEOUT = "kv_peer_timeout";
    private static final String SEND_TIMEOUT = "kv_send_timeout";
    private static final String PUSH_ARRIVAL_TIMEOUT = "kv_push_arrival_timeout";
    private static final String IDLE_TIMEOUT = "kv_idle_timeout";
    private static final String CONNECTIONS_PER_PEER = "kv_connections_per_peer";
    private static final String MAX_CONNECTIONS = "kv_max_connections";
    private static final String ALLOWED_HOSTS = "kv_allowed_hosts";
    private static final String CUDA_IPC = "kv_cuda_ipc";
    static final String SHARED_MEMORY = "kv_shared_memory";
    private static final String PUSH_LAYERS = "kv_push_layers";
    static final String KEY_FILE = "kv_key_file";
    private static final Set<String> KEYS = Set.of(
            LEASE_DURATION,
            LEASE_EXTENSION,
            HEARTBEAT_INTERVAL,
            CONNECT_TIMEOUT,
            PEER_TIMEOUT,
            SEND_TIMEOUT,
            PUSH_ARRIVAL_TIMEOUT,
            IDLE_TIMEOUT,
            CONNECTIONS_PER_PEER,
            MAX_CONNECTIONS,
            ALLOWED_HOSTS,
            KEY_FILE,
            CUDA_IPC,
            SHARED_MEMORY,
            PUSH_LAYERS,
            Exposure.TRUSTED_NETWORK);

    private static final Duration DEFAULT_LEASE = Duration.ofSeconds(30);
    /// A decoder whose connection broke has to be back before it counts as gone; see [LeaseHolders].
    private static final Duration LONGEST_SILENCE = Duration.ofMillis(500);

    private static final int MAX_COUNT = 10_000;

    /// Reads the settings.
    ///
    /// @throws dev.baton.transfer.TransferException if a key is unknown, a value is out of range or the file of the
    ///     shared key cannot be used
    static TcpOptions from(Map<String, Object> settings) {
        ExtraConfig extra = new ExtraConfig(TcpConnector.NAME, settings, KEYS);
        Duration lease = extra.seconds(LEASE_DURATION, DEFAULT_LEASE);
        return new TcpOptions(
                lease,
                extra.seconds(LEASE_EXTENSION, lease.multipliedBy(2).dividedBy(3)),
                extra.seconds(HEARTBEAT_INTERVAL, shorter(lease.dividedBy(6), LONGEST_SILENCE)),
                extra.seconds(CONNECT_TIMEOUT, Duration.ofSeconds(1)),
                extra.seconds(PEER_TIMEOUT, Duration.ofSeconds(1)),
                extra.seconds(SEND_TIMEOUT, Duration.ofSeconds(10)),
                extra.seconds(PUSH_ARRIVAL_TIMEOUT, Duration.ofSeconds(10)),
                extra.seconds(IDLE_TIMEOUT, Duration.ofSeconds(120)),
                (int) extra.count(CONNECTIONS_PER_PEER, 1, MAX_COUNT, 4),
                (int) extra.count(MAX_CONNECTIONS, 1, MAX_COUNT, 256),
                extra.hosts(ALLOWED_HOSTS),
                extra.text(KEY_FILE).map(file -> SharedKey.read(Path.of(file), KEY_FILE)),
                extra.truth(CUDA_IPC, true),
                extra.truth(SHARED_MEMORY, true),
                PushLayers.of(PUSH_LAYERS, extra.text(PUSH_LAYERS, "auto")),
                extra.truth(Exposure.TRUSTED_NETWORK, false));
    }

    private static Duration shorter(Duration one, Duration other) {
        return one.compareTo(other) < 0 ? one : other;
    }
}
