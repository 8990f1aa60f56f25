package dev.baton.transfer;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.baton.kvcache.KvCacheSpec;
import dev.baton.tensor.DType;
import dev.baton.tensor.PagedKv;
import java.util.Map;
import org.junit.jupiter.api.Test;

class KvConnectorsTest {
    private static final KvCacheSpec SPEC = new KvCacheSpec("m", "float32", 4, 1, 1, 8, 16, 4);

    private static KvConnector create(String name, KvCacheSpec spec, Map<String, Object> extra, String engineId) {
        KvTransferConfig config = new KvTransferConfig(
                name, KvRole.KV_BOTH, engineId, "127.0.0.1", 0, KvLoadFailurePolicy.RECOMPUTE, extra);
        try (PagedKv pool = new PagedKv(4, 1, 1, 16, 8, DType.F32)) {
            KvConnector connector = KvConnectors.create(config, spec, pool, Map.of(), event -> {});
            connector.close();
            return connector;
        }
    }

    @Test
    void connectorIsFoundByItsName() {
        assertThat(create("TcpConnector", SPEC, Map.of(), "e").describe())
                .startsWith("TcpConnector kv_both on 127.0.0.1:");
    }

    @Test
    void unknownNameIsRefusedWithTheKnownOnes() {
        assertThatThrownBy(() -> create("NoConnector", SPEC, Map.of(), "e"))
                .isInstanceOf(TransferException.class)
                .hasMessageContaining("\"NoConnector\" is not in this version")
                .hasMessageContaining("TcpConnector]");
    }

    @Test
    void unknownSettingIsRefusedWithTheKnownOnes() {
        assertThatThrownBy(() -> create("TcpConnector", SPEC, Map.of("kv_lease_durations", 3), "e"))
                .isInstanceOf(TransferException.class)
                .hasMessageContaining("kv_lease_durations")
                .hasMessageContaining("kv_lease_duration,");
    }

    @Test
    void settingOutOfRangeIsRefused() {
        for (Object wrong : new Object[] {0, -1, "x", Double.NaN, 1e9}) {
            assertThatThrownBy(() -> create("TcpConnector", SPEC, Map.of("kv_lease_duration", wrong), "e"))
                    .isInstanceOf(TransferException.class)
                    .hasMessageContaining("kv_lease_duration");
        }
    }

    @Test
    void specThatIsNotThePoolsIsRefused() {
        KvCacheSpec other = new KvCacheSpec("m", "float32", 4, 2, 1, 8, 16, 4);
        assertThatThrownBy(() -> create("TcpConnector", other, Map.of(), "e"))
                .isInstanceOf(TransferException.class)
                .hasMessageContaining("1024 bytes");
    }

    @Test
    void emptyEngineIdIsRefused() {
        assertThatThrownBy(() -> create("TcpConnector", SPEC, Map.of(), ""))
                .isInstanceOf(TransferException.class)
                .hasMessageContaining("engine_id");
    }
}
