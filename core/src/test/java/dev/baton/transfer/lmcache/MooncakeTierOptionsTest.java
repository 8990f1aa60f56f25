package dev.baton.transfer.lmcache;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.baton.transfer.KvLoadFailurePolicy;
import dev.baton.transfer.KvRole;
import dev.baton.transfer.KvTransferConfig;
import dev.baton.transfer.TransferException;
import dev.baton.transfer.mooncakestore.Cluster;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class MooncakeTierOptionsTest {
    private static final String URL = "remote_url: \"mooncakestore://10.0.0.1:50051/\"\n";

    @TempDir
    Path folder;

    private static MooncakeTierOptions options(Map<String, Object> extra, Map<String, String> environment) {
        KvTransferConfig config = new KvTransferConfig(
                LmCacheConnector.NAME, KvRole.KV_BOTH, "e", "10.0.0.7", 0, KvLoadFailurePolicy.FAIL, extra);
        return MooncakeTierOptions.of(
                        LmCacheSettings.read(extra, environment), config, Duration.ofSeconds(3), environment)
                .orElseThrow();
    }

    private Map<String, String> file(String yaml) throws IOException {
        Path file = Files.writeString(folder.resolve("lmcache.yaml"), yaml);
        return new HashMap<>(Map.of("LMCACHE_CONFIG_FILE", file.toString()));
    }

    private MooncakeTierOptions options(String yaml) throws IOException {
        return options(Map.of(), file(yaml));
    }

    @Test
    void addressAloneIsEnough() throws IOException {
        MooncakeTierOptions options = options(URL);
        assertThat(options.access().cluster())
                .isEqualTo(new Cluster("10.0.0.1:50051", "P2PHANDSHAKE", "tcp", "", 3_355_443_200L, 64 << 20));
        assertThat(options.access().host()).isEqualTo("10.0.0.7");
        assertThat(options.access().home()).isEmpty();
        assertThat(options.access().metricsPort()).isEqualTo(9003);
        assertThat(options.access().operationTimeout()).isEqualTo(Duration.ofSeconds(3));
        assertThat(options.access().trustedNetwork()).isFalse();
        assertThat(options.hasHeads()).isTrue();
        assertThat(options.warnings()).isEmpty();
    }

    /// The example of LMCache's documentation, whose names Mooncake's `setup` had before it took a map.
    @Test
    void fileOfLmCacheIsReadAndWhatMeansNothingHereIsNamed() throws IOException {
        MooncakeTierOptions options = options(URL + """
                extra_config:
                  local_hostname: "10.0.0.8"
                  metadata_server: "http://10.0.0.2:8080/metadata"
                  protocol: "rdma"
                  device_name: "mlx5_0"
                  global_segment_size: 21474836480
                  local_buffer_size: 0
                  master_server_address: "10.0.0.1:50051"
                  transfer_timeout: 1
                  storage_root_dir: ""
                  save_chunk_meta: False
                  use_exists_sync: True
                  mooncake_prefer_local_alloc: True
                  mooncake_ipc_socket_path: NULL
                """);
        assertThat(options.access().cluster())
                .isEqualTo(
                        new Cluster("10.0.0.1:50051", "http://10.0.0.2:8080/metadata", "rdma", "mlx5_0", 20L << 30, 0));
        assertThat(options.access().host()).isEqualTo("10.0.0.8");
        assertThat(options.hasHeads()).isFalse();
        assertThat(options.warnings())
                .containsExactly("extra_config: nothing reads mooncake_prefer_local_alloc, storage_root_dir,"
                        + " transfer_timeout, use_exists_sync here");
    }

    @Test
    void prefixedKeysWinAndMooncakesOwnNamesWinOverThem() throws IOException {
        MooncakeTierOptions options = options(URL + """
                extra_config:
                  device_name: "a"
                  mooncake_device_name: "b"
                  mooncake_rdma_devices: "c"
                  protocol: "tcp"
                  mooncake_protocol: "rdma"
                  master_server_address: "a:1"
                  mooncake_master_server_address: "b:2"
                  mooncake_master_server_addr: "c:3"
                  mooncake_tenant_id: "default"
                """);
        assertThat(options.access().cluster().deviceName()).isEqualTo("c");
        assertThat(options.access().cluster().protocol()).isEqualTo("rdma");
        assertThat(options.access().cluster().masterAddress()).isEqualTo("c:3");
        assertThat(options.warnings())
                .singleElement()
                .asString()
                .contains("the master is c:3, and not 10.0.0.1:50051 of remote_url");
    }

    @Test
    void fileOfMooncakeStandsForTheClustersKeys() throws IOException {
        Map<String, String> environment =
                file(URL + "extra_config: {save_chunk_meta: false, master_server_address: 'a:1', protocol: tcp}\n");
        Path file = Files.writeString(
                folder.resolve("mooncake.json"),
                "{\"mooncake_master_server_addr\": \"10.0.0.1:50051\", \"global_segment_size\": \"4GB\", \"mode\": \"x\"}");
        environment.put("MOONCAKE_CONFIG_PATH", file.toString());
        environment.put("MOONCAKE_HOME", "/opt/m");
        MooncakeTierOptions options =
                options(Map.of("master_metrics_port", 7, "kv_trusted_network", true), environment);
        assertThat(options.access().cluster().masterAddress()).isEqualTo("10.0.0.1:50051");
        assertThat(options.access().cluster().segmentBytes()).isEqualTo(4L << 30);
        assertThat(options.access().home()).contains(Path.of("/opt/m"));
        assertThat(options.access().metricsPort()).isEqualTo(7);
        assertThat(options.access().trustedNetwork()).isTrue();
        assertThat(options.hasHeads()).isFalse();
        assertThat(options.warnings())
                .containsExactly(
                        "MOONCAKE_CONFIG_PATH is set, so nothing reads master_server_address, protocol of extra_config here",
                        "MOONCAKE_CONFIG_PATH: nothing reads mode here");
    }

    @Test
    void mapMayBeAVariableOrAKeyOfVllms() {
        Map<String, String> environment = Map.of(
                "LMCACHE_REMOTE_URL",
                "mooncakestore://h:1",
                "LMCACHE_EXTRA_CONFIG",
                "{\"save_chunk_meta\": false, \"protocol\": \"rdma\"}");
        assertThat(options(Map.of(), environment).hasHeads()).isFalse();
        assertThat(options(Map.of(), environment).access().cluster().protocol()).isEqualTo("rdma");
        MooncakeTierOptions options = options(Map.of("lmcache.extra_config", Map.of("protocol", "tcp")), environment);
        assertThat(options.hasHeads()).as("it stands for the whole map").isTrue();
        assertThat(options.access().cluster().protocol()).isEqualTo("tcp");
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
            save_chunk_meta: 'no'                 | save_chunk_meta is no
            master_server_address: 10.0.0.1       | master_server_address is "10.0.0.1"; needed: host:port
            mooncake_master_server_addr: 'h:1:2'  | master_server_address is "h:1:2"; needed: host:port
            master_server_address: 5              | master_server_address is 5
            protocol: "t\\tcp"                     | protocol is
            local_hostname: 3                     | local_hostname is 3
            metadata_server: [a]                  | metadata_server is [a]
            global_segment_size: many             | global_segment_size is many
            local_buffer_size: -1                 | local_buffer_size is -1
            mooncake_tenant_id: me                | tenant_id is "me"
            """)
    void valueThatMakesNoSenseIsRefusedInOneSentence(String line, String sentence) throws IOException {
        Map<String, String> environment = file(URL + "extra_config:\n  " + line + "\n");
        assertThatThrownBy(() -> options(Map.of(), environment))
                .isInstanceOf(TransferException.class)
                .hasMessageContaining(sentence)
                .hasMessageContaining("extra_config");
    }

    @ParameterizedTest
    @ValueSource(strings = {"mooncakestore://", "mooncakestore://h", "mooncakestore://h:0/", "mooncakestore://h h:1"})
    void addressThatIsNoneIsRefusedUnlessTheMasterIsNamedElsewhere(String url) {
        Map<String, Object> extra = new HashMap<>(Map.of("lmcache.remote_url", url));
        assertThatThrownBy(() -> options(extra, Map.of()))
                .isInstanceOf(TransferException.class)
                .hasMessageContaining("mooncakestore://host:50051");
        extra.put("lmcache.extra_config", Map.of("master_server_address", "h:1"));
        assertThat(options(extra, Map.of()).access().cluster().masterAddress()).isEqualTo("h:1");
    }

    @ParameterizedTest
    @ValueSource(strings = {"3", "[1]", "'no map'", "text"})
    void extraConfigThatIsNoMapIsRefused(String value) throws IOException {
        Map<String, String> environment = file(URL + "extra_config: " + value + "\n");
        assertThatThrownBy(() -> options(Map.of(), environment))
                .isInstanceOf(TransferException.class)
                .hasMessageContaining("extra_config is")
                .hasMessageContaining("a map");
    }

    @Test
    void otherStoresReadNothingOfTheMap() throws IOException {
        Map<String, String> environment = file("remote_url: lm://h:1\nextra_config: {save_chunk_meta: false}\n");
        LmCacheSettings settings = LmCacheSettings.read(Map.of(), environment);
        assertThat(settings.warnings()).singleElement().asString().contains("nothing reads extra_config here");
    }
}
