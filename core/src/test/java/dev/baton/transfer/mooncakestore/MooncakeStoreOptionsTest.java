package dev.baton.transfer.mooncakestore;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.baton.kvcache.KvCacheSpec;
import dev.baton.tensor.DType;
import dev.baton.tensor.PagedKv;
import dev.baton.transfer.KvConnectors;
import dev.baton.transfer.KvLoadFailurePolicy;
import dev.baton.transfer.KvRole;
import dev.baton.transfer.KvTransferConfig;
import dev.baton.transfer.TransferException;
import dev.baton.transfer.mooncake.VllmLayout;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class MooncakeStoreOptionsTest {
    private static final Map<String, Object> LEAST = Map.of("master_server_address", "10.0.0.1:50051");

    @TempDir
    Path folder;

    private static MooncakeStoreOptions options(Map<String, Object> settings, Map<String, String> environment) {
        return MooncakeStoreOptions.from(settings, "/models/org/Llama-3.1-8B/", environment);
    }

    private static Map<String, Object> with(String key, Object value) {
        Map<String, Object> settings = new HashMap<>(LEAST);
        settings.put(key, value);
        return settings;
    }

    @Test
    void masterIsAllThatIsNeeded() {
        MooncakeStoreOptions options = options(LEAST, Map.of());
        assertThat(options.cluster()).isEqualTo(new Cluster("10.0.0.1:50051", "P2PHANDSHAKE", "tcp", "", 0, 64 << 20));
        assertThat(options.cluster().masterHost()).isEqualTo("10.0.0.1");
        assertThat(options.modelName()).isEqualTo("Llama-3.1-8B");
        assertThat(options.cachePrefix()).isEmpty();
        assertThat(options.lookup()).isTrue();
        assertThat(options.saveDecodeCache()).isFalse();
        assertThat(options.vllmLayout()).isEmpty();
        assertThat(options.hashSeed()).isEqualTo("vllm-none-hash");
        assertThat(options.operationTimeout()).isEqualTo(Duration.ofSeconds(5));
    }

    @Test
    void fileOfVllmIsRead() throws IOException {
        Path file = folder.resolve("mooncake.json");
        Files.writeString(file, """
                {"mode": "embedded", "metadata_server": "http://10.0.0.2:8080/metadata",
                 "master_server_address": "10.0.0.2:50051", "protocol": "rdma", "device_name": "mlx5_0",
                 "global_segment_size": "1.5GB", "local_buffer_size": 1048576, "tenant_id": null, "other": [1]}
                """);
        MooncakeStoreOptions options = options(
                Map.of("cache_prefix", "p", "vllm_kv_layout", "cpu", "load_async", true),
                Map.of("MOONCAKE_CONFIG_PATH", file.toString(), "PYTHONHASHSEED", "0", "MOONCAKE_HOME", "/opt/m"));
        assertThat(options.cluster())
                .isEqualTo(new Cluster(
                        "10.0.0.2:50051", "http://10.0.0.2:8080/metadata", "rdma", "mlx5_0", 3L << 29, 1 << 20));
        assertThat(options.cachePrefix()).isEqualTo("p");
        assertThat(options.vllmLayout()).contains(VllmLayout.CPU);
        assertThat(options.hashSeed()).isEqualTo("0");
        assertThat(options.home()).contains(Path.of("/opt/m"));
    }

    @Test
    void embeddedIsTheModeOfAFileThatNamesNone() throws IOException {
        Path file = folder.resolve("mooncake.json");
        Files.writeString(file, "{\"master_server_address\": \"h:1\"}");
        Map<String, String> environment = Map.of("MOONCAKE_CONFIG_PATH", file.toString());
        assertThat(options(Map.of(), environment).cluster().segmentBytes()).isEqualTo(4L << 30);
        assertThat(options(Map.of("mode", "standalone-store"), environment)
                        .cluster()
                        .segmentBytes())
                .isZero();
    }

    @ParameterizedTest
    @ValueSource(strings = {"{", "[]", "{\"mode\": 3, \"master_server_address\": \"h:1\"}"})
    void fileThatIsNoneIsRefused(String content) throws IOException {
        Path file = folder.resolve("mooncake.json");
        Files.writeString(file, content);
        assertThatThrownBy(() -> options(Map.of(), Map.of("MOONCAKE_CONFIG_PATH", file.toString())))
                .isInstanceOf(TransferException.class);
    }

    @ParameterizedTest
    @CsvSource({
        "master_server_address, 10.0.0.1, host:port",
        "master_server_address, h:1:2, host:port",
        "master_server_address, h:65536, host:port",
        "mode, both, embedded or standalone-store",
        "mode, embedded , ",
        "global_segment_size, 4GB, gives memory",
        "local_buffer_size, 4TB, a text like 4GB",
        "local_buffer_size, -1, a text like 4GB",
        "tenant_id, me, tenant",
        "vllm_kv_layout, other, interleaved or cpu",
        "cache_prefix, 'a\tb', control characters",
        "store_tp_size, 2, has no",
        "kv_peer_timeout, 0, seconds",
        "staging_bytes, 0, whole number",
    })
    void settingsThatMakeNoSenseAreRefused(String key, String value, String words) {
        if (words == null) { // and one that does, to see that the others are not refused for something else
            assertThat(options(with(key, value), Map.of()).cluster().segmentBytes())
                    .isEqualTo(4L << 30);
            return;
        }
        assertThatThrownBy(() -> options(with(key, value), Map.of()))
                .isInstanceOf(TransferException.class)
                .hasMessageContaining(key.equals("vllm_kv_layout") ? "vllm_kv_layout" : key)
                .hasMessageContaining(words);
    }

    @Test
    void masterMustBeNamed() {
        assertThatThrownBy(() -> options(Map.of(), Map.of()))
                .isInstanceOf(TransferException.class)
                .hasMessageContaining("master_server_address")
                .hasMessageContaining("MOONCAKE_CONFIG_PATH");
    }

    @Test
    void whereMooncakeIsNotInstalledOneSentenceSaysWhatToDo() {
        KvCacheSpec spec = new KvCacheSpec("m", "float32", 4, 1, 1, 8, 16, 4);
        KvTransferConfig config = new KvTransferConfig(
                "MooncakeStoreConnector",
                KvRole.KV_BOTH,
                "e",
                "127.0.0.1",
                0,
                KvLoadFailurePolicy.RECOMPUTE,
                with("mooncake_home", folder.toString()));
        try (PagedKv pool = new PagedKv(4, 1, 1, 16, 8, DType.F32)) {
            assertThatThrownBy(() -> KvConnectors.create(config, spec, pool, Map.of(), _ -> {}))
                    .isInstanceOf(TransferException.class)
                    .hasMessageContaining("libmooncake_store.so")
                    .hasMessageContaining(folder.toString())
                    .hasMessageContaining("mooncake-transfer-engine")
                    .hasMessageContaining("MOONCAKE_HOME");
        }
    }

    @Test
    void libraryThatIsAnotherIsRefused() throws IOException {
        Files.writeString(folder.resolve("libmooncake_store.so"), "no library");
        assertThatThrownBy(() -> new NativeStore.Library(folder.resolve("libmooncake_store.so")))
                .isInstanceOf(TransferException.class)
                .hasMessageContaining("cannot be loaded")
                .as("why")
                .hasMessageContaining("file too short");
    }

    @Test
    void libraryWithoutItsFunctionsIsRefused() {
        Path other = Path.of(System.getProperty("java.home"), "lib", "libjimage.so");
        Assumptions.assumeTrue(Files.isRegularFile(other), "there is no " + other);
        assertThatThrownBy(() -> new NativeStore.Library(other))
                .isInstanceOf(TransferException.class)
                .hasMessageContaining("has no mooncake_store_create");
    }
}
