package dev.baton.router;

import java.util.Optional;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/// What a kind of fleet wants written into the bodies of the two legs. One record per hand-over protocol; each rule
/// is a pure function from JSON to JSON, so that it can be tested as a table. Implementations are stateless and
/// thread-safe.
///
/// Every prefill body generates exactly one token. `min_tokens` has to go with it, because an engine refuses a
/// minimum over the maximum (llm-d-router#2041), and for chat `max_completion_tokens` has to be 1 as well,
/// because it wins over `max_tokens` (llm-d-router#403).
public sealed interface Backend {
    /// The body of the prefill leg.
    ///
    /// @param request the client's body; not changed
    ObjectNode prefillBody(ObjectNode request, boolean chat);

    /// Whether a prefiller's answer has to say where the KV cache is.
    boolean handsOffInAnswers();

    /// What the prefiller's answer says about where the KV cache is.
    ///
    /// @return empty if the decoder has to do without
    Optional<JsonNode> handoff(JsonNode prefillAnswer);

    /// The members that the decode leg's body has more than the client's body.
    ObjectNode decodeMembers(Optional<JsonNode> handoff);

    /// Baton's own engines, and vLLM with NixlConnector: the prefiller is asked to keep its blocks and answers with
    /// `kv_transfer_params`, which the decoder gets as they are.
    record Nixl() implements Backend {
        @Override
        public ObjectNode prefillBody(ObjectNode request, boolean chat) {
            ObjectNode body = oneToken(request, chat);
            ObjectNode params = body.putObject(KV_TRANSFER_PARAMS);
            params.put("do_remote_decode", true);
            params.put("do_remote_prefill", false);
            params.putNull("remote_engine_id");
            params.putNull("remote_block_ids");
            params.putNull("remote_host");
            params.putNull("remote_port");
            return body;
        }

        @Override
        public boolean handsOffInAnswers() {
            return true;
        }

        @Override
        public Optional<JsonNode> handoff(JsonNode prefillAnswer) {
            JsonNode params = prefillAnswer.path(KV_TRANSFER_PARAMS);
            return params.isObject() && !params.isEmpty() ? Optional.of(params) : Optional.empty();
        }

        @Override
        public ObjectNode decodeMembers(Optional<JsonNode> handoff) {
            ObjectNode members = JsonNodeFactory.instance.objectNode();
            handoff.ifPresent(params -> members.set(KV_TRANSFER_PARAMS, params));
            return members;
        }
    }

    /// Engines that share a KV store keyed by token hashes, such as vLLM with LMCache: nothing travels through the
    /// router. LMCache's proxy leaves `stream` and `min_tokens` as the client sent them; this one does not, because
    /// the answer is thrown away and the minimum would be refused.
    record SharedStore() implements Backend {
        @Override
        public ObjectNode prefillBody(ObjectNode request, boolean chat) {
            return oneToken(request, chat);
        }

        @Override
        public boolean handsOffInAnswers() {
            return false;
        }

        @Override
        public Optional<JsonNode> handoff(JsonNode prefillAnswer) {
            return Optional.empty();
        }

        @Override
        public ObjectNode decodeMembers(Optional<JsonNode> handoff) {
            return JsonNodeFactory.instance.objectNode();
        }
    }

    /// vLLM's field for what a connector has to know.
    String KV_TRANSFER_PARAMS = "kv_transfer_params";

    /// The client's body for one token in one piece; whatever asks for more, or for a stream, is taken out.
    private static ObjectNode oneToken(ObjectNode request, boolean chat) {
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
}
