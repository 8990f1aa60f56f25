package dev.baton.serving;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.http.Json;
import dev.baton.transfer.KvTransferParams;
import dev.baton.transfer.KvTransferParams.RemotePrefill;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class KvParamsTest {
    private static Optional<KvTransferParams> parse(String params) {
        return KvParams.parse(Json.parse(("{\"kv_transfer_params\":" + params + "}").getBytes(StandardCharsets.UTF_8)));
    }

    @ParameterizedTest
    @ValueSource(strings = {"[[3,4]]", "[3,4]"})
    void blockIdsMayBeFlatOrInOneGroup(String ids) {
        assertThat(parse("{\"do_remote_prefill\":true,\"do_remote_decode\":false,\"remote_block_ids\":" + ids
                        + ",\"remote_engine_id\":\"e\",\"remote_request_id\":\"r\",\"remote_host\":\"h\","
                        + "\"remote_port\":5600,\"tp_size\":1,\"remote_num_tokens\":20,\"transfer_mode\":\"pull\"}"))
                .contains(new KvTransferParams.RemotePrefill("e", "r", List.of(3, 4), "h", 5600, 1, 20));
    }

    @Test
    void promptDigestIsReadAsItIsWrittenAndMayBeAbsent() {
        RemotePrefill params = new RemotePrefill("e", "r", List.of(3, 4), "h", 5600, 1, 20, "0123456789abcdef");
        String body = "{\"do_remote_prefill\":true,\"remote_block_ids\":[[3,4]],\"remote_engine_id\":\"e\","
                + "\"remote_request_id\":\"r\",\"remote_host\":\"h\",\"remote_port\":5600,\"remote_num_tokens\":20";
        assertThat(KvParams.toJson(params).remotePromptDigest()).isEqualTo("0123456789abcdef");
        assertThat(parse(body + ",\"remote_prompt_digest\":\"0123456789abcdef\"}"))
                .contains(params);
        assertThat(parse(body + ",\"remote_prompt_digest\":null}")).contains(params.withPromptDigest(""));
        assertThat(parse(body + "}")).contains(params.withPromptDigest(""));
        assertThat(parse(body + ",\"remote_prompt_digest\":7}")).isEmpty();
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "null",
                "5",
                "{}",
                "{\"do_remote_prefill\":false,\"do_remote_decode\":false}",
                "{\"do_remote_prefill\":\"yes\"}",
                "{\"do_remote_prefill\":true,\"remote_block_ids\":[[1],[2]],\"remote_engine_id\":\"e\"}",
                "{\"do_remote_prefill\":true,\"remote_block_ids\":[-1],\"remote_engine_id\":\"e\",\"remote_request_id\":\"r\",\"remote_host\":\"h\",\"remote_port\":1,\"remote_num_tokens\":5}",
                "{\"do_remote_prefill\":true,\"remote_block_ids\":[1],\"remote_engine_id\":\"e\",\"remote_request_id\":\"r\",\"remote_host\":\"h\",\"remote_port\":99999999999,\"remote_num_tokens\":5}"
            })
    void whatMakesNoSenseIsAbsent(String params) {
        assertThat(parse(params)).isEmpty();
    }

    @Test
    void sixKeysWithNullsAskForAHold() {
        assertThat(parse("{\"do_remote_decode\":true,\"do_remote_prefill\":false,\"remote_engine_id\":null,"
                        + "\"remote_block_ids\":null,\"remote_host\":null,\"remote_port\":null}"))
                .contains(new KvTransferParams.RemoteDecode());
    }
}
