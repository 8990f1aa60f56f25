package dev.baton.transfer;

import dev.baton.kvcache.KvCacheSpec;
import dev.baton.tensor.PagedKv;
import dev.baton.transfer.lmcache.LmCacheConnector;
import dev.baton.transfer.mooncake.MooncakeConnector;
import dev.baton.transfer.mooncakestore.MooncakeStoreConnector;
import dev.baton.transfer.nixl.NixlConnector;
import dev.baton.transfer.offload.OffloadingConnector;
import dev.baton.transfer.p2p.P2pNcclConnector;
import dev.baton.transfer.tcp.TcpConnector;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.function.Consumer;

/// The connectors of this version, by the name that `kv_connector` gives them.
public final class KvConnectors {
    private static final Map<String, KvConnectorFactory> FACTORIES = new TreeMap<>(Map.of(
            TcpConnector.NAME, TcpConnector::start,
            LmCacheConnector.NAME, LmCacheConnector::start,
            NixlConnector.NAME, NixlConnector::start,
            MooncakeConnector.NAME, MooncakeConnector::start,
            MooncakeStoreConnector.NAME, MooncakeStoreConnector::start,
            P2pNcclConnector.NAME, P2pNcclConnector::start,
            OffloadingConnector.NAME, OffloadingConnector::start,
            MultiConnector.NAME, MultiConnector::start));

    /// Those that reach pools in a device's memory, or ask here for each of their parts.
    private static final Set<String> ON_DEVICES =
            Set.of(TcpConnector.NAME, NixlConnector.NAME, P2pNcclConnector.NAME, MultiConnector.NAME);

    private KvConnectors() {}

    /// Starts the connector that the configuration names.
    ///
    /// @throws TransferException if there is none of that name, or it cannot start; see [KvConnectorFactory#create]
    public static KvConnector create(
            KvTransferConfig config,
            KvCacheSpec spec,
            PagedKv pool,
            Map<String, String> compatibility,
            Consumer<KvEvent> sink) {
        check(config.connector(), pool.isOnDevice());
        return factory(config.connector()).create(config, spec, pool, compatibility, sink);
    }

    /// Looks, before anything is loaded, whether there is a connector of that name.
    ///
    /// @param isOnDevice whether the KV cache will be in a device's memory
    /// @throws TransferException if there is none, or it does not reach the KV cache
    public static void check(String connector, boolean isOnDevice) {
        factory(connector);
        if (isOnDevice && !ON_DEVICES.contains(connector)) {
            throw new TransferException(("kv_connector \"%s\" reaches host memory only, and the KV cache is in a"
                            + " device's memory; set it to %s, or start with --device cpu")
                    .formatted(connector, TcpConnector.NAME));
        }
    }

    /// Whether other processes of this host are to map the KV cache of an instance that is configured so.
    ///
    /// @throws TransferException if a setting is wrong
    public static boolean sharesMemory(KvTransferConfig config) {
        return switch (config.connector()) {
            case TcpConnector.NAME -> TcpConnector.sharesMemory(config);
            case MultiConnector.NAME -> MultiConnector.sharesMemory(config);
            default -> false;
        };
    }

    private static KvConnectorFactory factory(String connector) {
        KvConnectorFactory factory = FACTORIES.get(connector);
        if (factory == null) {
            throw new TransferException(
                    "kv_connector \"%s\" is not in this version; set it to one of ".formatted(connector)
                            + FACTORIES.keySet());
        }
        return factory;
    }
}
