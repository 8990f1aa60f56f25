package dev.baton.transfer.tcp;

import dev.baton.transfer.TransferException;
import java.time.Duration;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;

/// Settings of the TCP connector, from `kv_connector_extra_config`. Durations are given in seconds, fractions
/// allowed.
///
/// @param leaseDuration `kv_lease_duration`: how long a prefiller keeps blocks that nobody asks for
/// @param leaseExtension `kv_lease_extension`: what one heartbeat adds, two thirds of the duration unless set
/// @param heartbeatInterval `kv_heartbeat_interval`: how often a decoder renews, a sixth of the duration unless set
/// @param connectTimeout `kv_connect_timeout`: bound on opening a connection
/// @param peerTimeout `kv_peer_timeout`: how long a peer that owes an answer or bytes may be silent
/// @param sendTimeout `kv_send_timeout`: how long a decoder may take no bytes before its connection is closed
/// @param idleTimeout `kv_idle_timeout`: how long a connection stays open unused
/// @param connectionsPerPeer `kv_connections_per_peer`: loads at a time from one prefiller
/// @param maxConnections `kv_max_connections`: connections accepted at a time
/// @param allowedHosts `kv_allowed_hosts`: values of `remote_host` that are dialled; any if it is empty
record TcpOptions(
        Duration leaseDuration,
        Duration leaseExtension,
        Duration heartbeatInterval,
        Duration connectTimeout,
        Duration peerTimeout,
        Duration sendTimeout,
        Duration idleTimeout,
        int connectionsPerPeer,
        int maxConnections,
        Set<String> allowedHosts) {

    private static final String LEASE_DURATION = "kv_lease_duration";
    private static final String LEASE_EXTENSION = "kv_lease_extension";
    private static final String HEARTBEAT_INTERVAL = "kv_heartbeat_interval";
    private static final String CONNECT_TIMEOUT = "kv_connect_timeout";
    private static final String PEER_TIMEOUT = "kv_peer_timeout";
    private static final String SEND_TIMEOUT = "kv_send_timeout";
    private static final String IDLE_TIMEOUT = "kv_idle_timeout";
    private static final String CONNECTIONS_PER_PEER = "kv_connections_per_peer";
    private static final String MAX_CONNECTIONS = "kv_max_connections";
    private static final String ALLOWED_HOSTS = "kv_allowed_hosts";
    private static final Set<String> KEYS = new TreeSet<>(Set.of(
            LEASE_DURATION,
            LEASE_EXTENSION,
            HEARTBEAT_INTERVAL,
            CONNECT_TIMEOUT,
            PEER_TIMEOUT,
            SEND_TIMEOUT,
            IDLE_TIMEOUT,
            CONNECTIONS_PER_PEER,
            MAX_CONNECTIONS,
            ALLOWED_HOSTS));

    private static final Duration DEFAULT_LEASE = Duration.ofSeconds(30);
    private static final int MAX_SECONDS = 86_400;

    /// Reads the settings.
    ///
    /// @throws TransferException if a key is unknown or a value is out of range
    static TcpOptions from(Map<String, Object> extra) {
        for (String key : extra.keySet()) {
            if (!KEYS.contains(key)) {
                throw new TransferException(
                        "kv_connector_extra_config: TcpConnector has no \"%s\"; it has %s".formatted(key, KEYS));
            }
        }
        Duration lease = seconds(extra, LEASE_DURATION, DEFAULT_LEASE);
        return new TcpOptions(
                lease,
                seconds(extra, LEASE_EXTENSION, lease.multipliedBy(2).dividedBy(3)),
                seconds(extra, HEARTBEAT_INTERVAL, lease.dividedBy(6)),
                seconds(extra, CONNECT_TIMEOUT, Duration.ofSeconds(1)),
                seconds(extra, PEER_TIMEOUT, Duration.ofSeconds(1)),
                seconds(extra, SEND_TIMEOUT, Duration.ofSeconds(10)),
                seconds(extra, IDLE_TIMEOUT, Duration.ofSeconds(120)),
                count(extra, CONNECTIONS_PER_PEER, 4),
                count(extra, MAX_CONNECTIONS, 256),
                hosts(extra));
    }

    private static Set<String> hosts(Map<String, Object> extra) {
        if (!extra.containsKey(ALLOWED_HOSTS)) {
            return Set.of();
        }
        Set<String> hosts = new TreeSet<>();
        if (extra.get(ALLOWED_HOSTS) instanceof List<?> list) {
            for (Object host : list) {
                hosts.add(host instanceof String name ? name : "");
            }
        }
        if (hosts.isEmpty() || hosts.contains("")) {
            throw new TransferException("kv_connector_extra_config: %s is %s; needed: a list of at least one host"
                    .formatted(ALLOWED_HOSTS, extra.get(ALLOWED_HOSTS)));
        }
        return Collections.unmodifiableSet(hosts);
    }

    private static Duration seconds(Map<String, Object> extra, String key, Duration otherwise) {
        if (!extra.containsKey(key)) {
            return otherwise;
        }
        double value = number(extra, key);
        if (!(value >= 0.001 && value <= MAX_SECONDS)) {
            throw new TransferException("kv_connector_extra_config: %s is %s; needed: seconds from 0.001 to %d"
                    .formatted(key, extra.get(key), MAX_SECONDS));
        }
        return Duration.ofNanos(Math.round(value * 1e9));
    }

    private static int count(Map<String, Object> extra, String key, int otherwise) {
        if (!extra.containsKey(key)) {
            return otherwise;
        }
        double value = number(extra, key);
        if (!(value >= 1 && value <= 10_000 && value == Math.rint(value))) {
            throw new TransferException("kv_connector_extra_config: %s is %s; needed: a whole number from 1 to 10000"
                    .formatted(key, extra.get(key)));
        }
        return (int) value;
    }

    private static double number(Map<String, Object> extra, String key) {
        Object value = extra.get(key);
        if (value instanceof Number number) {
            return number.doubleValue();
        }
        try {
            return Double.parseDouble(String.valueOf(value));
        } catch (NumberFormatException e) {
            throw new TransferException(
                    "kv_connector_extra_config: %s is \"%s\"; needed: a number".formatted(key, value), e);
        }
    }
}
