package dev.baton.launch;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.OptionalDouble;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class TopologyTest {
    @Test
    void twoPrefillersAndADecoderHaveTheUsualNamesAndPorts() {
        List<Role> roles = topology(2, 1, 9000, 8100, 8200).roles();
        assertThat(roles)
                .extracting(role -> role.name() + " " + role.kind() + " " + role.port())
                .containsExactly(
                        "prefiller1 PREFILLER 8100",
                        "prefiller2 PREFILLER 8101",
                        "decoder1 DECODER 8200",
                        "router ROUTER 9000");
    }

    @Test
    void enginesGetTheirRoleAndTheirFlags() {
        Role decoder = topology(1, 1, 9000, 8100, 8200).roles().get(1);
        assertThat(decoder.arguments())
                .containsExactly(
                        "serve",
                        "some/model",
                        "--host",
                        "127.0.0.1",
                        "--port",
                        "8200",
                        "--kv-transfer-config",
                        "{\"kv_connector\":\"TcpConnector\",\"kv_role\":\"kv_consumer\",\"kv_ip\":\"127.0.0.1\",\"kv_port\":0}",
                        "--block-size",
                        "8");
    }

    @Test
    void routerKnowsEveryEngine() {
        Role router = topology(2, 2, 9000, 8100, 8200).roles().getLast();
        assertThat(router.arguments())
                .containsSubsequence("--prefiller", "127.0.0.1:8100", "--prefiller", "127.0.0.1:8101")
                .containsSubsequence("--decoder", "127.0.0.1:8200", "--decoder", "127.0.0.1:8201")
                .endsWith("--shutdown-timeout", "5");
    }

    @ParameterizedTest
    @CsvSource({"127.0.0.1,127.0.0.1:9000", "::1,[::1]:9000", "[::1],[::1]:9000", "0::,[0::]:9000"})
    void addressHasAnIpv6HostInBrackets(String host, String address) {
        Role role = new Role(Role.Kind.ROUTER, "router", host, 9000, "--port", List.of(), Map.of());
        assertThat(role.address()).isEqualTo(address);
        assertThat(role.readyUri()).hasToString("http://" + address + "/ready").hasPort(9000);
    }

    @Test
    void enginesAreReadyWhenHealthyAndTheRouterWhenItSeesThem() {
        assertThat(topology(1, 1, 9000, 8100, 8200).roles())
                .extracting(role -> role.readyUri().getPath())
                .containsExactly("/health", "/health", "/ready");
    }

    @Test
    void enginesTakeTheGpusInTurnAndTheRouterNone() {
        Topology three = withGpus(2, 1, List.of("4", "GPU-5"));
        assertThat(three.roles())
                .extracting(Role::variables)
                .containsExactly(
                        Map.of("CUDA_VISIBLE_DEVICES", "4"),
                        Map.of("CUDA_VISIBLE_DEVICES", "GPU-5"),
                        Map.of("CUDA_VISIBLE_DEVICES", "4"),
                        Map.of());
        assertThat(withGpus(2, 1, List.of()).roles())
                .extracting(Role::variables)
                .containsOnly(Map.of());
    }

    @Test
    void enginesOfOneGpuDivideItsMemory() {
        assertThat(withGpus(2, 1, List.of("0", "1")).roles())
                .extracting(role -> role.arguments().getLast())
                .containsExactly(
                        "--gpu-memory-utilization=0.45", "--flag", "--gpu-memory-utilization=0.45", "127.0.0.1:8200");
        assertThat(withGpus(2, 1, List.of("0")).roles().get(2).arguments())
                .endsWith("--flag", "--gpu-memory-utilization=0.30");
        assertThat(withGpus(2, 1, List.of("0", "1", "2", "3")).roles())
                .noneMatch(role -> role.arguments().toString().contains("utilization"));
        assertThat(withGpus(2, 1, List.of()).roles())
                .noneMatch(role -> role.arguments().toString().contains("utilization"));
    }

    @Test
    void shareOfTheMemoryThatIsGivenIsEachEngines() {
        Topology given = new Topology(
                1,
                1,
                "127.0.0.1",
                9000,
                8100,
                8200,
                Path.of("some/model"),
                List.of("0"),
                OptionalDouble.empty(),
                List.of("--gpu-memory-utilization=0.2"),
                List.of());
        assertThat(given.roles().getFirst().arguments()).endsWith("--gpu-memory-utilization=0.2");
    }

    @Test
    void noPrefillerIsRefused() {
        assertThatThrownBy(() -> topology(0, 1, 9000, 8100, 8200))
                .isInstanceOf(LaunchException.class)
                .hasMessageContaining("--prefillers");
    }

    @Test
    void portsBeyondTheLastAreRefused() {
        assertThatThrownBy(() -> topology(2, 1, 9000, 65_535, 8200))
                .isInstanceOf(LaunchException.class)
                .hasMessageContaining("--prefiller-port 65535");
    }

    private static Topology withGpus(int prefillers, int decoders, List<String> gpus) {
        return new Topology(
                prefillers,
                decoders,
                "127.0.0.1",
                9000,
                8100,
                8200,
                Path.of("some/model"),
                gpus,
                OptionalDouble.of(0.9),
                List.of("--flag"),
                List.of());
    }

    private static Topology topology(int prefillers, int decoders, int port, int prefillerPort, int decoderPort) {
        return new Topology(
                prefillers,
                decoders,
                "127.0.0.1",
                port,
                prefillerPort,
                decoderPort,
                Path.of("some/model"),
                List.of(),
                OptionalDouble.empty(),
                List.of("--block-size", "8"),
                List.of("--shutdown-timeout", "5"));
    }
}
