package dev.baton.transfer;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.catchThrowable;
import static org.junit.jupiter.api.Assumptions.assumeFalse;

import dev.baton.kvcache.KvCacheSpec;
import dev.baton.tensor.DType;
import dev.baton.tensor.PagedKv;
import dev.baton.transfer.lmcache.LmCacheConnector;
import dev.baton.transfer.mooncake.MooncakeConnector;
import dev.baton.transfer.mooncakestore.MooncakeStoreConnector;
import dev.baton.transfer.nixl.NixlConnector;
import dev.baton.transfer.offload.OffloadingConnector;
import dev.baton.transfer.p2p.P2pNcclConnector;
import dev.baton.transfer.tcp.TcpConnector;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/// No connector listens where other machines reach it unless it is given a key, or told that the network is
/// trusted.
class ExposureTest {
    private static final Map<String, Object> LMCACHE_RECEIVER = Map.of(
            "lmcache.enable_pd",
            true,
            "lmcache.pd_role",
            "receiver",
            "lmcache.pd_peer_host",
            "0.0.0.0",
            "lmcache.pd_peer_init_port",
            0,
            "lmcache.pd_peer_alloc_port",
            0,
            "lmcache.pd_buffer_size",
            1 << 20);

    private static final String NO_LIBRARY = "";
    private static final String NIXL = "nixl_home";
    private static final String MOONCAKE = "mooncake_home";

    /// Each connector that listens, a role in which it does, what makes it, what a refusal has to name beside
    /// `kv_trusted_network` (a key, where the protocol has one), and the setting of the library without which it
    /// cannot start.
    static Stream<Arguments> listeners() {
        return Stream.of(
                Arguments.of(TcpConnector.NAME, KvRole.KV_PRODUCER, Map.of(), "kv_key_file", NO_LIBRARY),
                Arguments.of(TcpConnector.NAME, KvRole.KV_BOTH, Map.of(), "kv_key_file", NO_LIBRARY),
                Arguments.of(NixlConnector.NAME, KvRole.KV_PRODUCER, Map.of(), "kv_trusted_network", NIXL),
                Arguments.of(NixlConnector.NAME, KvRole.KV_BOTH, Map.of(), "kv_trusted_network", NIXL),
                Arguments.of(MooncakeConnector.NAME, KvRole.KV_PRODUCER, Map.of(), "kv_trusted_network", NO_LIBRARY),
                Arguments.of(MooncakeConnector.NAME, KvRole.KV_CONSUMER, Map.of(), "kv_trusted_network", NO_LIBRARY),
                Arguments.of(P2pNcclConnector.NAME, KvRole.KV_PRODUCER, Map.of(), "kv_trusted_network", NO_LIBRARY),
                Arguments.of(P2pNcclConnector.NAME, KvRole.KV_CONSUMER, Map.of(), "kv_trusted_network", NO_LIBRARY),
                Arguments.of(LmCacheConnector.NAME, KvRole.KV_CONSUMER, LMCACHE_RECEIVER, "kv_trusted_network", NIXL),
                Arguments.of(
                        LmCacheConnector.NAME, KvRole.KV_BOTH, lmCacheInMooncake(), "kv_trusted_network", MOONCAKE),
                Arguments.of(
                        MooncakeStoreConnector.NAME, KvRole.KV_BOTH, mooncakeStore(), "kv_trusted_network", MOONCAKE));
    }

    private static Map<String, Object> lmCacheInMooncake() {
        Map<String, Object> extra = new HashMap<>(Map.of(
                "lmcache.remote_url",
                "mooncakestore://127.0.0.1:1/",
                "lmcache.extra_config",
                Map.of("global_segment_size", 0),
                "lmcache.blocking_timeout_secs",
                0.1,
                "lmcache.chunk_size",
                16,
                "lmcache.local_cpu",
                false));
        mooncakeHome().ifPresent(home -> extra.put(MOONCAKE, home));
        return extra;
    }

    private static Optional<String> mooncakeHome() {
        return Optional.ofNullable(System.getenv("MOONCAKE_PYTHON"))
                .map(python -> Path.of(python).getParent().getParent().toString());
    }

    private static Map<String, Object> mooncakeStore() {
        Map<String, Object> extra = new HashMap<>(Map.of(
                "master_server_address",
                "127.0.0.1:1",
                "kv_connect_timeout",
                1,
                "kv_peer_timeout",
                0.1,
                "load_timeout",
                0.1));
        mooncakeHome().ifPresent(home -> extra.put(MOONCAKE, home));
        return extra;
    }

    private static KvConnector start(String connector, KvRole role, Map<String, Object> extra, PagedKv pool) {
        KvTransferConfig config =
                new KvTransferConfig(connector, role, "e", "0.0.0.0", 0, KvLoadFailurePolicy.RECOMPUTE, extra);
        return KvConnectors.create(
                config, new KvCacheSpec("m", "float32", 4, 1, 1, 16, 16, 4), pool, Map.of(), _ -> {});
    }

    @ParameterizedTest
    @MethodSource("listeners")
    void listeningBeyondThisMachineNeedsAKeyOrATrustedNetwork(
            String connector, KvRole role, Map<String, Object> extra, String flag, String library) {
        try (PagedKv pool = new PagedKv(4, 1, 1, 16, 16, DType.F32)) {
            Throwable refusal =
                    catchThrowable(() -> start(connector, role, extra, pool).close());
            assertThat(refusal).as("what it says of 0.0.0.0").isNotNull();
            assumeFalse(
                    library.equals(MOONCAKE)
                            && String.valueOf(refusal.getMessage()).contains(MOONCAKE),
                    "without Mooncake's library nothing listens");
            assertThat(refusal)
                    .isInstanceOf(TransferException.class)
                    .hasMessageContainingAll(connector, "0.0.0.0", "beyond this machine", "kv_trusted_network");
            assertThat(refusal.getMessage()).contains(flag).doesNotContain("\n");
        }
    }

    @ParameterizedTest
    @MethodSource("listeners")
    void trustedNetworkIsTakenForAnAnswer(
            String connector, KvRole role, Map<String, Object> extra, String flag, String library) {
        Map<String, Object> trusting = new HashMap<>(extra);
        trusting.put(Exposure.TRUSTED_NETWORK, true);
        try (PagedKv pool = new PagedKv(4, 1, 1, 16, 16, DType.F32)) {
            Throwable other =
                    catchThrowable(() -> start(connector, role, trusting, pool).close());
            if (library.equals(NO_LIBRARY)) {
                assertThat(other).isNull();
            } else if (other != null) { // its library is not on this machine
                assertThat(other)
                        .isInstanceOf(TransferException.class)
                        .hasMessageContaining(library)
                        .message()
                        .doesNotContain("beyond this machine")
                        .doesNotContain("has no \"kv_trusted_network\"");
            }
        }
    }

    @Test
    void everyConnectorIsInTheTableOrListensNowhereItself() {
        List<String> known = new ArrayList<>(List.of(OffloadingConnector.NAME, MultiConnector.NAME));
        listeners().forEach(row -> known.add((String) row.get()[0]));
        assertThatThrownBy(() -> KvConnectors.check("NoConnector", false)).satisfies(e -> {
            Matcher names = Pattern.compile("\\[(.*)\\]").matcher(String.valueOf(e.getMessage()));
            assertThat(names.find()).isTrue();
            assertThat(known).contains(names.group(1).split(", "));
        });
    }
}
