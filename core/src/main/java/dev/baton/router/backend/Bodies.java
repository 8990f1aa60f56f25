package dev.baton.router.backend;

import java.util.Optional;
import java.util.UUID;
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
        ObjectNode body = copy(request);
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

    /// The client's body for exactly one token: [#oneToken], without what could end it at none.
    ///
    /// Where a decoder waits for a prefiller that it does not hear of, the prefill must not end as `stop`:
    /// MooncakeConnector of vLLM 0.32, and older connectors, keep blocks only of a request that its length ended.
    /// The token itself is thrown away.
    static ObjectNode exactlyOneToken(ObjectNode request, boolean chat) {
        ObjectNode body = oneToken(request, chat);
        body.put("ignore_eos", true);
        body.remove("stop");
        body.remove("stop_token_ids");
        return body;
    }

    /// The six members that ask a NIXL prefiller to keep its blocks for a decoder.
    ///
    /// @return the object that holds them
    static ObjectNode askForBlocks(ObjectNode body) {
        ObjectNode params = body.putObject(Backend.KV_TRANSFER_PARAMS);
        params.put("do_remote_decode", true);
        params.put("do_remote_prefill", false);
        params.putNull("remote_engine_id");
        params.putNull("remote_block_ids");
        params.putNull("remote_host");
        params.putNull("remote_port");
        return params;
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

    /// 32 hexadecimal digits that were not there before.
    static String randomHex() {
        return UUID.randomUUID().toString().replace("-", "");
    }

    /// The same members, in an object of their own.
    static ObjectNode copy(ObjectNode object) {
        ObjectNode copy = JsonNodeFactory.instance.objectNode();
        copy.setAll(object);
        return copy;
    }
}
