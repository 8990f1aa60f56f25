package dev.baton.transfer.tcp;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Duration;
import java.util.Map;
import org.junit.jupiter.api.Test;

class TcpOptionsTest {
    @Test
    void defaultsAreVllms() {
        assertThat(TcpOptions.from(Map.of()))
                .isEqualTo(new TcpOptions(
                        Duration.ofSeconds(30),
                        Duration.ofSeconds(20),
                        Duration.ofSeconds(5),
                        Duration.ofSeconds(1),
                        Duration.ofSeconds(1),
                        Duration.ofSeconds(10),
                        Duration.ofSeconds(120),
                        4,
                        256));
    }

    @Test
    void heartbeatAndExtensionFollowTheDurationUnlessSet() {
        TcpOptions options = TcpOptions.from(Map.of("kv_lease_duration", "1.5", "kv_heartbeat_interval", 0.05));
        assertThat(options.leaseDuration()).isEqualTo(Duration.ofMillis(1_500));
        assertThat(options.leaseExtension()).isEqualTo(Duration.ofMillis(1_000));
        assertThat(options.heartbeatInterval()).isEqualTo(Duration.ofMillis(50));
    }
}
