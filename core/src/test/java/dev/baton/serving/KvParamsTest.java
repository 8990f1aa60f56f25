package dev.baton.serving;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import dev.baton.http.Json;
import dev.baton.transfer.KvTransferParams;
import dev.baton.transfer.RemotePrefill;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// The way of `kv_transfer_params` from a body to a connector.
class KvParamsTest {
    private static KvTransferParams parse(String params) {
        return KvParams.parse(Json.parse(("{\"kv_transfer_params\":" + params + "}").getBytes(StandardCharsets.UTF_8)));
    }

    @ParameterizedTest
    @ValueSource(strings = {"[[3,4]]", "[3,4]"})
    void blockIdsMayBeFlatOrInOneGroup(String ids) {
        KvTransferParams params = parse("{\"do_remote_prefill\":true,\"do_remote_decode\":false,\"remote_block_ids\":"
                + ids + ",\"remote_engine_id\":\"e\",\"remote_request_id\":\"r\",\"remote_host\":\"h\","
                + "\"remote_port\":5600,\"tp_size\":1,\"remote_num_tokens\":20,\"transfer_mode\":\"pull\"}");
        assertThat(params.doRemotePrefill()).isTrue();
        assertThat(RemotePrefill.of(params)).isEqualTo(new RemotePrefill("e", "r", List.of(3, 4), "h", 5600, 1, 20));
    }

    @Test
    void whatAPrefillerSaysComesBackAsItWas() {
        RemotePrefill source = new RemotePrefill("e", "r", List.of(3, 4), "h", 5600, 1, 20);
        assertThat(RemotePrefill.of(source.toParams())).isEqualTo(source);
    }

    @Test
    void everyKindOfValueIsKeptAndNullIsAbsent() {
        assertThat(parse(
                                "{\"a\":1,\"b\":10000000000,\"c\":0.5,\"d\":\"x\",\"e\":true,\"f\":[1,[2],{\"g\":null}],\"h\":null}")
                        .fields())
                .isEqualTo(Map.of(
                        "a",
                        1,
                        "b",
                        10_000_000_000L,
                        "c",
                        0.5,
                        "d",
                        "x",
                        "e",
                        true,
                        "f",
                        List.of(1, List.of(2), Map.of())));
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "null",
                "5",
                "[]",
                "{}",
                "{\"do_remote_prefill\":false,\"do_remote_decode\":false}",
                "{\"do_remote_prefill\":\"yes\"}"
            })
    void whatAsksForNothingAsksForNothing(String params) {
        assertThat(parse(params).doRemotePrefill()).isFalse();
        assertThat(parse(params).doRemoteDecode()).isFalse();
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "{\"do_remote_prefill\":true}",
                "{\"remote_block_ids\":[[1],[2]],\"remote_engine_id\":\"e\",\"remote_request_id\":\"r\",\"remote_host\":\"h\",\"remote_port\":1,\"remote_num_tokens\":5}",
                "{\"remote_block_ids\":[-1],\"remote_engine_id\":\"e\",\"remote_request_id\":\"r\",\"remote_host\":\"h\",\"remote_port\":1,\"remote_num_tokens\":5}",
                "{\"remote_block_ids\":[1],\"remote_engine_id\":\"e\",\"remote_request_id\":\"r\",\"remote_host\":\"h\",\"remote_port\":99999999999,\"remote_num_tokens\":5}",
                "{\"remote_block_ids\":[1],\"remote_engine_id\":7,\"remote_request_id\":\"r\",\"remote_host\":\"h\",\"remote_port\":1,\"remote_num_tokens\":5}"
            })
    void whatMakesNoSenseIsRefusedWithTheNameOfTheKey(String params) {
        assertThatIllegalArgumentException()
                .isThrownBy(() -> RemotePrefill.of(parse(params)))
                .withMessageMatching("remote_\\w+ must be .*, got .*");
    }

    @Test
    void sixKeysWithNullsAskForAHold() {
        assertThat(parse("{\"do_remote_decode\":true,\"do_remote_prefill\":false,\"remote_engine_id\":null,"
                                + "\"remote_block_ids\":null,\"remote_host\":null,\"remote_port\":null}")
                        .doRemoteDecode())
                .isTrue();
    }
}
