package dev.baton.transfer.lmcache;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.baton.transfer.TransferException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class LmCacheOptionsTest {
    @TempDir
    Path folder;

    private Map<String, String> file(String yaml) throws IOException {
        Path file = folder.resolve("lmcache.yaml");
        Files.writeString(file, yaml);
        return new HashMap<>(Map.of("LMCACHE_CONFIG_FILE", file.toString()));
    }

    private static LmCacheOptions options(Map<String, Object> extra, Map<String, String> environment) {
        return LmCacheOptions.of(
                LmCacheSettings.read(extra, environment),
                "served",
                Optional.ofNullable(environment.get("PYTHONHASHSEED")));
    }

    @Test
    void nothingGivenIsLmCachesDefaults() {
        LmCacheOptions options = options(Map.of(), Map.of());
        assertThat(options.chunkTokens()).isEqualTo(256);
        assertThat(options.localCpuBytes()).isEqualTo(5L << 30);
        assertThat(options.localDisk()).isEmpty();
        assertThat(options.remoteUrl()).isEmpty();
        assertThat(options.saveDecodeCache()).isFalse();
        assertThat(options.saveUnfullChunk()).isFalse();
        assertThat(options.blockingTimeout()).isEqualTo(Duration.ofSeconds(10));
        assertThat(options.hasher()).isEqualTo(ChunkHasher.Builtin.seeded(0));
        assertThat(options.modelName()).isEqualTo("served");
    }

    @Test
    void fileOfTheSeedsIsRead() throws IOException {
        Map<String, String> environment = file("""
                chunk_size: 128
                local_cpu: False
                max_local_cpu_size: 0.5
                local_disk: "file:///tmp/x/"
                max_local_disk_size: 2
                remote_url: "lm://localhost:65432"
                remote_serde: "naive"
                save_unfull_chunk: True
                pre_caching_hash_algorithm: sha256_cbor
                enable_pd: False
                nixl_role: NULL
                internal_api_server_enabled: True
                """);
        environment.put("PYTHONHASHSEED", "0");
        LmCacheSettings settings = LmCacheSettings.read(Map.of(), environment);
        LmCacheOptions options = LmCacheOptions.of(settings, "m", Optional.of("0"));
        assertThat(options.chunkTokens()).isEqualTo(128);
        assertThat(options.localCpuBytes()).isZero();
        assertThat(options.localDisk()).contains(Path.of("/tmp/x"));
        assertThat(options.localDiskBytes()).isEqualTo(2L << 30);
        assertThat(options.remoteUrl()).contains("lm://localhost:65432");
        assertThat(options.saveUnfullChunk()).isTrue();
        assertThat(options.hasher().root()).isEqualTo(5625442194607170974L);
        assertThat(settings.warnings())
                .singleElement()
                .asString()
                .contains("nothing reads internal_api_server_enabled");
    }

    @Test
    void extraConfigGoesBeforeTheFileAndTheFileBeforeVariables() throws IOException {
        Map<String, String> environment = file("chunk_size: 128\nblocking_timeout_secs: 3\n");
        environment.put("LMCACHE_CHUNK_SIZE", "64");
        environment.put("LMCACHE_BLOCKING_TIMEOUT_SECS", "4");
        environment.put("LMCACHE_MIN_RETRIEVE_TOKENS", "512");
        LmCacheOptions options = options(Map.of("lmcache.chunk_size", 32, "model_name", "/models/m"), environment);
        assertThat(options.chunkTokens()).isEqualTo(32);
        assertThat(options.blockingTimeout()).isEqualTo(Duration.ofSeconds(3));
        assertThat(options.minRetrieveTokens()).isEqualTo(512);
        assertThat(options.modelName()).isEqualTo("/models/m");
    }

    @Test
    void keysOfVllmAreTaken() {
        Map<String, Object> extra = Map.of(
                "discard_partial_chunks",
                true,
                "lmcache_rpc_port",
                "producer1",
                "skip_last_n_tokens",
                1,
                "lmcache.save_unfull_chunk",
                true);
        LmCacheSettings settings = LmCacheSettings.read(extra, Map.of());
        LmCacheOptions options = LmCacheOptions.of(settings, "m", Optional.empty());
        assertThat(options.saveUnfullChunk()).isFalse();
        assertThat(options.skipLastTokens()).isEqualTo(1);
        assertThat(settings.warnings()).singleElement().asString().contains("lmcache_rpc_port");
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
            chunk_size: 0                        | chunk_size is "0"
            chunk_size: 2.5                      | chunk_size is "2.5"
            chunk_size: [1, 2]                   | chunk_size is "a list or a map"
            local_cpu: maybe                     | local_cpu is "maybe"
            max_local_cpu_size: .nan             | max_local_cpu_size is "NaN"
            blocking_timeout_secs: 0             | blocking_timeout_secs is "0"
            remote_serde: cachegen               | remote_serde is "cachegen"
            cache_policy: LFU                    | cache_policy is "LFU"
            enable_p2p: True                     | enable_p2p is true
            use_layerwise: true                  | use_layerwise is true
            gds_path: /mnt/x                     | gds_path is set
            local_disk: "file:///a/,file:///b/"  | needed: one folder
            local_disk: /a                       | max_local_disk_size is 0
            pre_caching_hash_algorithm: blake3   | needed: builtin or sha256_cbor
            - a                                  | needed are lines such as
            a: [                                 | is no YAML
            """)
    void whatCannotBeHadIsRefusedInOneSentence(String yaml, String sentence) throws IOException {
        Map<String, String> environment = file(yaml);
        assertThatThrownBy(() -> options(Map.of(), environment))
                .isInstanceOf(TransferException.class)
                .hasMessageContaining(sentence);
    }

    @Test
    void unknownKeyOfExtraConfigIsRefusedWithTheKnownOnes() {
        assertThatThrownBy(() -> options(Map.of("chunk_size", 3), Map.of()))
                .isInstanceOf(TransferException.class)
                .hasMessageContaining("no \"chunk_size\"")
                .hasMessageContaining("lmcache.KEY");
    }

    @Test
    void fileThatIsNotThereIsRefused() {
        assertThatThrownBy(() -> options(Map.of(), Map.of("LMCACHE_CONFIG_FILE", "/nowhere/x.yaml")))
                .isInstanceOf(TransferException.class)
                .hasMessageContaining("/nowhere/x.yaml");
    }

    @ParameterizedTest
    @ValueSource(strings = {"random", "-1", "4294967296", "99999999999999999999"})
    void hashSeedThatPythonWouldNotTakeIsRefused(String seed) {
        assertThatThrownBy(() -> options(Map.of(), Map.of("PYTHONHASHSEED", seed)))
                .isInstanceOf(TransferException.class)
                .hasMessageContaining("PYTHONHASHSEED");
    }

    @ParameterizedTest
    @ValueSource(strings = {"lm://", "lm://:1", "lm://h:0", "lm://h:70000", "lm://h h:1", "redis://h:1?x=1"})
    void addressThatIsNoneIsRefused(String url) {
        assertThatThrownBy(() -> ServerAddress.parse(url, 6379))
                .isInstanceOf(TransferException.class)
                .hasMessageContaining("remote_url");
    }

    @Test
    void addressHasUserPortAndPath() {
        assertThat(ServerAddress.parse("redis://ann:pw@[::1]/3", 6379))
                .isEqualTo(new ServerAddress("::1", 6379, Optional.of("ann:pw"), "3"));
        assertThat(ServerAddress.parse("lm://host:12/", 1))
                .isEqualTo(new ServerAddress("host", 12, Optional.empty(), ""));
    }

    @Test
    void damagedFilesAreReadOrRefusedInOneSentence() throws IOException {
        byte[] good = "chunk_size: 128\nlocal_cpu: True\nremote_url: 'lm://h:1'\nextra_config: {a: [1, {b: 2}]}\n"
                .getBytes(java.nio.charset.StandardCharsets.UTF_8);
        Map<String, String> environment = file("");
        Random random = new Random(5);
        int refused = 0;
        for (int i = 0; i < 2000; i++) {
            byte[] bytes = good.clone();
            for (int n = random.nextInt(1, 4); n > 0; n--) {
                bytes[random.nextInt(bytes.length)] = (byte) random.nextInt(256);
            }
            Files.write(folder.resolve("lmcache.yaml"), bytes);
            try {
                assertThat(options(Map.of(), environment).chunkTokens()).isPositive();
            } catch (TransferException e) {
                refused++;
            }
        }
        assertThat(refused).isBetween(100, 1999);
    }
}
