package dev.baton.transfer.lmcache;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.baton.transfer.KvTransferParams;
import dev.baton.transfer.TransferException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class PdOptionsTest {
    @TempDir
    Path folder;

    private LmCacheSettings settings(String yaml) throws IOException {
        Path file = folder.resolve("lmcache.yaml");
        Files.writeString(file, yaml);
        return LmCacheSettings.read(Map.of(), Map.of("LMCACHE_CONFIG_FILE", file.toString()));
    }

    @Test
    void receiverOfTodayIsRead() throws IOException {
        LmCacheSettings settings = settings("""
                local_cpu: False
                max_local_cpu_size: 0
                enable_pd: True
                transfer_channel: "nixl"
                pd_role: "receiver"
                pd_peer_host: "10.0.0.2"
                pd_peer_init_port: [7300, 7301]
                pd_peer_alloc_port: 7400
                pd_buffer_size: 1073741824
                pd_buffer_device: "cpu"
                nixl_backends: [UCX]
                """);
        assertThat(PdOptions.of(settings))
                .contains(new PdOptions(false, 1 << 30, "10.0.0.2", 7300, 7400, Optional.empty(), 0, Optional.empty()));
        assertThat(settings.warnings()).isEmpty();
        assertThat(LmCacheOptions.of(settings, "m", Optional.empty()).saveUnfullChunk())
                .as("a prompt's last chunk is handed over as well")
                .isTrue();
    }

    @Test
    void senderOfTheGenerationBeforeIsRead() throws IOException {
        assertThat(PdOptions.of(settings("""
                        enable_nixl: True
                        enable_xpyd: True
                        nixl_role: "sender"
                        nixl_proxy_host: "localhost"
                        nixl_proxy_port: 7500
                        nixl_buffer_size: 1073741824
                        nixl_buffer_device: "cpu"
                        """)))
                .contains(new PdOptions(true, 0, "", 0, 0, Optional.of("localhost"), 7500, Optional.empty()));
    }

    @Test
    void variablesWithAListAreRead() {
        Map<String, String> environment = Map.of(
                "LMCACHE_ENABLE_PD", "True",
                "LMCACHE_PD_ROLE", "receiver",
                "LMCACHE_PD_PEER_HOST", "h",
                "LMCACHE_PD_PEER_INIT_PORT", "7300,7301",
                "LMCACHE_PD_PEER_ALLOC_PORT", "7400",
                "LMCACHE_PD_BUFFER_SIZE", "1000",
                "LMCACHE_PD_BUFFER_DEVICE", "cpu");
        assertThat(PdOptions.of(LmCacheSettings.read(Map.of(), environment)).map(PdOptions::initPort))
                .contains(7300);
    }

    @Test
    void nothingIsReadUnlessItIsSwitchedOn() throws IOException {
        assertThat(PdOptions.of(settings("enable_pd: False\npd_role: receiver")))
                .isEmpty();
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "pd_role: both                | pd_role is \"both\"",
                "local_cpu: False             | pd_role is \"\"",
                "pd_role: receiver            | pd_buffer_size is not set; a receiver needs it",
                "pd_role: sender              | pd_proxy_host is not set; a sender needs it",
                "pd_buffer_device: cuda       | pd_role",
                "transfer_channel: mooncake   | pd_role",
            })
    void whatIsMissingIsNamed(String line, String sentence) throws IOException {
        LmCacheSettings settings = settings("enable_pd: True\n" + line);
        assertThatThrownBy(() -> PdOptions.of(settings))
                .isInstanceOf(TransferException.class)
                .hasMessageContaining(sentence);
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "pd_buffer_device: cuda       | pd_buffer_device is \"cuda\"",
                "transfer_channel: mooncake   | transfer_channel is \"mooncake\"",
                "nixl_backends: [UCX, GDS]    | nixl_backends is \"UCX,GDS\"",
                "pd_proxy_port: many          | pd_proxy_port is \"many\"",
            })
    void whatIsNotThereIsRefused(String line, String sentence) throws IOException {
        LmCacheSettings settings = settings("enable_pd: True\npd_role: sender\npd_proxy_host: h\n" + line);
        assertThatThrownBy(() -> PdOptions.of(settings))
                .isInstanceOf(TransferException.class)
                .hasMessageContaining(sentence);
    }

    @Test
    void decoderOfARequestIsReadWithPortsAsListsOrNot() {
        Map<String, Object> spec = new HashMap<>(Map.of(
                "req_id", "r", "receiver_host", "h", "receiver_init_port", List.of(1, 2), "receiver_alloc_port", 3));
        assertThat(PdSender.Spec.of(new KvTransferParams(Map.of("disagg_spec", spec))))
                .contains(new PdSender.Spec("r", "h", 1, 3));
        spec.put("receiver_init_port", List.of());
        assertThat(PdSender.Spec.of(new KvTransferParams(Map.of("disagg_spec", spec))))
                .isEmpty();
        spec.put("receiver_init_port", 70_000);
        assertThat(PdSender.Spec.of(new KvTransferParams(Map.of("disagg_spec", spec))))
                .isEmpty();
        assertThat(PdSender.Spec.of(KvTransferParams.NONE)).isEmpty();
    }
}
