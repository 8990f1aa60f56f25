package dev.baton.transfer.tcp;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.baton.transfer.TransferException;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class TcpOptionsTest {
    @Test
    void defaultsAreVllmsButForMoreHeartbeats() {
        assertThat(TcpOptions.from(Map.of()))
                .isEqualTo(new TcpOptions(
                        Duration.ofSeconds(30),
                        Duration.ofSeconds(20),
                        Duration.ofMillis(500),
                        Duration.ofSeconds(1),
                        Duration.ofSeconds(1),
                        Duration.ofSeconds(10),
                        Duration.ofSeconds(10),
                        Duration.ofSeconds(120),
                        4,
                        256,
                        Set.of(),
                        Optional.empty(),
                        true,
                        true,
                        PushLayers.AUTO,
                        false));
    }

    @ParameterizedTest
    @ValueSource(strings = {"", "10.0.0.1", "list", "mixed", "blank"})
    void allowedHostsThatAreNoListOfHostsAreRefused(String value) {
        Object hosts = switch (value) {
            case "list" -> List.of();
            case "mixed" -> List.of("10.0.0.1", 5);
            case "blank" -> List.of("");
            default -> value;
        };
        assertThatThrownBy(() -> TcpOptions.from(Map.of("kv_allowed_hosts", hosts)))
                .isInstanceOf(TransferException.class)
                .hasMessageContaining("kv_allowed_hosts");
    }

    @ParameterizedTest
    @ValueSource(strings = {"", "AUTO", "yes"})
    void wayOfLayersThatIsNotKnownIsRefused(String value) {
        assertThat(TcpOptions.from(Map.of("kv_push_layers", "never")).pushLayers())
                .isEqualTo(PushLayers.NEVER);
        assertThatThrownBy(() -> TcpOptions.from(Map.of("kv_push_layers", value)))
                .isInstanceOf(TransferException.class)
                .hasMessageContaining("needed: auto, always or never");
    }

    @Test
    void heartbeatAndExtensionFollowTheDurationUnlessSet() {
        TcpOptions options = TcpOptions.from(Map.of("kv_lease_duration", "1.5", "kv_heartbeat_interval", 0.05));
        assertThat(options.leaseDuration()).isEqualTo(Duration.ofMillis(1_500));
        assertThat(options.leaseExtension()).isEqualTo(Duration.ofMillis(1_000));
        assertThat(options.heartbeatInterval()).isEqualTo(Duration.ofMillis(50));
    }
}
