package dev.baton.transfer.mooncake;

import dev.baton.transfer.Exposure;
import dev.baton.transfer.ExtraConfig;
import dev.baton.transfer.TransferException;
import java.time.Duration;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

/// Settings of the Mooncake connector: `kv_connector_extra_config`, and, under vLLM's names, the environment.
/// Durations are given in seconds, fractions allowed.
///
/// @param numWorkers `num_workers`: transfers that a prefiller pushes at a time
/// @param bootstrapPort `bootstrap_port`, else `VLLM_MOONCAKE_BOOTSTRAP_PORT`: where a prefiller's bootstrap server
///     listens, 0 for any free port
/// @param abortTimeout `abort_request_timeout`, else `VLLM_MOONCAKE_ABORT_REQUEST_TIMEOUT`: how long a prefiller
///     keeps blocks that nobody asks for, and a question waits for its prefill
/// @param connectTimeout `kv_connect_timeout`: bound on opening a connection
/// @param peerTimeout `kv_peer_timeout`: how long a peer that owes bytes may be silent
/// @param idleTimeout `kv_idle_timeout`: how long a connection for data stays open unused
/// @param maxConnections `kv_max_connections`: connections accepted at a time, on each port
/// @param allowedHosts `kv_allowed_hosts`: hosts of `remote_bootstrap_addr`, of the workers that it names and of
///     decoders that blocks are pushed to; any if it is empty
/// @param trustedNetwork `kv_trusted_network`: whether the ports may listen beyond this machine
/// @param vllmLayout `vllm_kv_layout`: how the blocks of engines that are not Baton are laid out; nothing is
///     exchanged with them if it is not set, because they do not say
/// @param vllmLayerName `vllm_layer_name`: what such an engine calls its layers; `%d` stands for the number
/// @param maxStagingBytes `max_staging_bytes`: memory for blocks of such engines that wait for conversion
record MooncakeOptions(
        int numWorkers,
        int bootstrapPort,
        Duration abortTimeout,
        Duration connectTimeout,
        Duration peerTimeout,
        Duration idleTimeout,
        int maxConnections,
        Set<String> allowedHosts,
        boolean trustedNetwork,
        Optional<VllmLayout> vllmLayout,
        String vllmLayerName,
        long maxStagingBytes) {

    private static final String PROTOCOL = "mooncake_protocol";
    private static final String NUM_WORKERS = "num_workers";
    private static final String BOOTSTRAP_PORT = "bootstrap_port";
    private static final String ABORT_TIMEOUT = "abort_request_timeout";
    private static final String CONNECT_TIMEOUT = "kv_connect_timeout";
    private static final String PEER_TIMEOUT = "kv_peer_timeout";
    private static final String IDLE_TIMEOUT = "kv_idle_timeout";
    private static final String MAX_CONNECTIONS = "kv_max_connections";
    private static final String ALLOWED_HOSTS = "kv_allowed_hosts";
    private static final String VLLM_LAYOUT = "vllm_kv_layout";
    private static final String VLLM_LAYER_NAME = "vllm_layer_name";
    private static final String MAX_STAGING_BYTES = "max_staging_bytes";
    private static final Set<String> KEYS = Set.of(
            PROTOCOL,
            "device_name", // of RDMA; taken, as vLLM's configurations have it, and not used
            NUM_WORKERS,
            BOOTSTRAP_PORT,
            ABORT_TIMEOUT,
            CONNECT_TIMEOUT,
            PEER_TIMEOUT,
            IDLE_TIMEOUT,
            MAX_CONNECTIONS,
            ALLOWED_HOSTS,
            Exposure.TRUSTED_NETWORK,
            VLLM_LAYOUT,
            VLLM_LAYER_NAME,
            MAX_STAGING_BYTES);

    private static final int DEFAULT_BOOTSTRAP_PORT = 8998;
    private static final int DEFAULT_ABORT_SECONDS = 480;

    /// Reads the settings.
    ///
    /// @param environment like [System#getenv()]
    /// @throws TransferException if a key is unknown or a value is out of range
    static MooncakeOptions from(Map<String, Object> settings, Map<String, String> environment) {
        ExtraConfig extra = new ExtraConfig(MooncakeConnector.NAME, settings, KEYS);
        String protocol = extra.text(PROTOCOL, "tcp");
        if (!protocol.equals("tcp")) {
            throw new TransferException(
                    "kv_connector_extra_config: %s is %s; this version speaks tcp".formatted(PROTOCOL, protocol));
        }
        String layout = extra.text(VLLM_LAYOUT, "");
        String layerName = extra.text(VLLM_LAYER_NAME, "model.layers.%d.self_attn.attn");
        if (!layerName.replace("%d", "").equals(layerName.replaceFirst("%d", "")) || layerName.split("%").length != 2) {
            throw new TransferException("kv_connector_extra_config: %s is %s; needed: a text with %%d once"
                    .formatted(VLLM_LAYER_NAME, layerName));
        }
        long port = number(environment, "VLLM_MOONCAKE_BOOTSTRAP_PORT", 65_535, DEFAULT_BOOTSTRAP_PORT);
        Duration abort = Duration.ofSeconds(
                number(environment, "VLLM_MOONCAKE_ABORT_REQUEST_TIMEOUT", 86_400, DEFAULT_ABORT_SECONDS));
        return new MooncakeOptions(
                (int) extra.count(NUM_WORKERS, 1, 1_000, 10),
                (int) extra.count(BOOTSTRAP_PORT, 0, 65_535, port),
                extra.seconds(ABORT_TIMEOUT, abort),
                extra.seconds(CONNECT_TIMEOUT, Duration.ofSeconds(1)),
                extra.seconds(PEER_TIMEOUT, Duration.ofSeconds(2)),
                extra.seconds(IDLE_TIMEOUT, Duration.ofSeconds(120)),
                (int) extra.count(MAX_CONNECTIONS, 1, 10_000, 256),
                extra.hosts(ALLOWED_HOSTS),
                extra.truth(Exposure.TRUSTED_NETWORK, false),
                layout.isEmpty() ? Optional.empty() : Optional.of(VllmLayout.of(layout)),
                layerName,
                extra.count(MAX_STAGING_BYTES, 1, 1L << 50, 1L << 30));
    }

    /// Whether peers on that host are dealt with.
    boolean allows(String host) {
        return allowedHosts.isEmpty() || allowedHosts.contains(host);
    }

    private static long number(Map<String, String> environment, String name, long most, long otherwise) {
        String text = environment.get(name);
        if (text == null) {
            return otherwise;
        }
        try {
            long value = Long.parseLong(text.strip());
            if (value >= 1 && value <= most) {
                return value;
            }
        } catch (NumberFormatException e) {
            throw wrong(name, text, most);
        }
        throw wrong(name, text, most);
    }

    private static TransferException wrong(String name, String text, long most) {
        return new TransferException("%s is \"%s\"; needed: a whole number from 1 to %d".formatted(name, text, most));
    }
}
