package dev.baton.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.baton.transfer.KvLoadFailurePolicy;
import dev.baton.transfer.KvRole;
import dev.baton.transfer.KvTransferConfig;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import picocli.CommandLine.TypeConversionException;

class KvTransferConfigConverterTest {
    private final KvTransferConfigConverter converter = new KvTransferConfigConverter();

    @Test
    void everyKeyOfVllmIsRead() {
        KvTransferConfig config = converter.convert("""
                {"kv_connector": "TcpConnector", "kv_role": "kv_producer", "engine_id": "p1", "kv_ip": "10.0.0.1",
                 "kv_port": "14579", "kv_load_failure_policy": "fail", "kv_buffer_size": "1e9", "kv_rank": 0,
                 "kv_buffer_device": "cuda", "kv_parallel_size": 2, "kv_connector_extra_config": {"lease_s": 5}}
                """);
        assertThat(config)
                .isEqualTo(new KvTransferConfig(
                        "TcpConnector",
                        KvRole.KV_PRODUCER,
                        "p1",
                        "10.0.0.1",
                        14579,
                        KvLoadFailurePolicy.FAIL,
                        Map.of("lease_s", 5)));
    }

    /// Of vLLM's connectors P2pNcclConnector alone reads it.
    @Test
    void bufferSizeGoesToTheConnectorThatHasOne() {
        for (String size : new String[] {"\"8e9\"", "8e9", "8000000000"}) {
            String config = "{\"kv_connector\":\"%s\",\"kv_role\":\"kv_both\",\"kv_buffer_size\":%s}";
            Object read = converter
                    .convert(config.formatted("P2pNcclConnector", size))
                    .extra()
                    .get("kv_buffer_size");
            assertThat(Double.parseDouble(String.valueOf(read))).isEqualTo(8e9);
            assertThat(converter.convert(config.formatted("TcpConnector", size)).extra())
                    .isEmpty();
        }
    }

    @Test
    void whatIsNotSaidIsLeftToTheInstance() {
        KvTransferConfig config = converter.convert("{\"kv_connector\":\"TcpConnector\",\"kv_role\":\"kv_both\"}");
        assertThat(config.port()).isZero();
        assertThat(config.ip()).isEqualTo("127.0.0.1");
        assertThat(config.loadFailurePolicy()).isEqualTo(KvLoadFailurePolicy.RECOMPUTE);
        assertThat(config.engineId())
                .isNotEqualTo(converter
                        .convert("{\"kv_connector\":\"TcpConnector\",\"kv_role\":\"kv_both\"}")
                        .engineId());
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', quoteCharacter = '`', textBlock = """
            {"kv_connector":                                                       | not JSON
            []                                                                     | not a JSON object
            {"kv_role": "kv_both"}                                                 | kv_connector is missing
            {"kv_connector": "TcpConnector"}                                       | kv_role is missing
            {"kv_connector": "TcpConnector", "kv_role": "kv_prod"}                 | kv_producer
            {"kv_connector": "TcpConnector", "kv_rolle": "kv_both"}                | did you mean kv_role?
            {"kv_connector": "TcpConnector", "kv_role": "kv_both", "zzz": 1}       | known are
            {"kv_connector": "TcpConnector", "kv_role": "kv_both", "kv_port": -1}  | kv_port
            {"kv_connector": "TcpConnector", "kv_role": "kv_both", "kv_port": 1e9} | kv_port
            {"kv_connector": 7, "kv_role": "kv_both"}                              | kv_connector must be a string
            """)
    void whatIsWrongIsNamed(String json, String message) {
        assertThatThrownBy(() -> converter.convert(json))
                .isInstanceOf(TypeConversionException.class)
                .hasMessageContaining(message);
    }
}
