package dev.baton.openai;

import java.util.List;
import java.util.Optional;
import tools.jackson.core.JsonGenerator;

/// The `kv_transfer_params` of a prefiller's answer, in the form of vLLM's NIXL connector.
///
/// @param remoteBlockIds the prompt's blocks, in order; written as one group
/// @param remotePromptDigest names the tokens that the blocks hold; not written if empty. Not a key of vLLM's.
public record KvTransferJson(
        List<Integer> remoteBlockIds,
        String remoteEngineId,
        String remoteRequestId,
        String remoteHost,
        int remotePort,
        int tpSize,
        int remoteNumTokens,
        String remotePromptDigest) {

    static void write(JsonGenerator json, Optional<KvTransferJson> params) {
        if (params.isEmpty()) {
            json.writeNullProperty("kv_transfer_params");
            return;
        }
        KvTransferJson p = params.get();
        json.writeObjectPropertyStart("kv_transfer_params");
        json.writeBooleanProperty("do_remote_prefill", true);
        json.writeBooleanProperty("do_remote_decode", false);
        json.writeArrayPropertyStart("remote_block_ids");
        json.writeStartArray();
        for (int id : p.remoteBlockIds()) {
            json.writeNumber(id);
        }
        json.writeEndArray();
        json.writeEndArray();
        json.writeStringProperty("remote_engine_id", p.remoteEngineId());
        json.writeStringProperty("remote_request_id", p.remoteRequestId());
        json.writeStringProperty("remote_host", p.remoteHost());
        json.writeNumberProperty("remote_port", p.remotePort());
        json.writeNumberProperty("tp_size", p.tpSize());
        json.writeNumberProperty("remote_num_tokens", p.remoteNumTokens());
        if (!p.remotePromptDigest().isEmpty()) {
            json.writeStringProperty("remote_prompt_digest", p.remotePromptDigest());
        }
        json.writeEndObject();
    }
}
