package dev.baton.router.backend;

import java.util.Optional;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/// Rules that several kinds of fleets share.
final class Bodies {
    private Bodies() {}

    /// The client's body for one token in one piece; whatever asks for more, or for a stream, is taken out.
    ///
    /// `min_tokens` has to go, because an engine refuses a minimum over the maximum (llm-d-router#2041), and for
    /// chat `max_completion_tokens` has to be 1 as well, because it wins over `max_tokens` (llm-d-router#403).
    static ObjectNode oneToken(ObjectNode request, boolean chat) {
        ObjectNode body = JsonNodeFactory.instance.objectNode();
        body.setAll(request);
        body.put("max_tokens", 1);
        if (chat || request.has("max_completion_tokens")) {
            body.put("max_completion_tokens", 1);
        }
        body.remove("min_tokens");
        body.remove("min_completion_tokens");
        body.put("stream", false);
        body.remove("stream_options");
        return body;
    }

    /// The six members that ask a NIXL prefiller to keep its blocks for a decoder.
    static void askForBlocks(ObjectNode body) {
        ObjectNode params = body.putObject(Backend.KV_TRANSFER_PARAMS);
        params.put("do_remote_decode", true);
        params.put("do_remote_prefill", false);
        params.putNull("remote_engine_id");
        params.putNull("remote_block_ids");
        params.putNull("remote_host");
        params.putNull("remote_port");
    }

    /// `kv_transfer_params` of an answer, unless there is nothing in it.
    static Optional<JsonNode> transferParams(JsonNode answer) {
        JsonNode params = answer.path(Backend.KV_TRANSFER_PARAMS);
        return params.isObject() && !params.isEmpty() ? Optional.of(params) : Optional.empty();
    }

    /// `{"kv_transfer_params": params}`, or nothing.
    static ObjectNode withTransferParams(Optional<JsonNode> params) {
        ObjectNode members = JsonNodeFactory.instance.objectNode();
        params.ifPresent(value -> members.set(Backend.KV_TRANSFER_PARAMS, value));
        return members;
    }
}
