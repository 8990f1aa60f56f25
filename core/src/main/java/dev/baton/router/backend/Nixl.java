package dev.baton.router.backend;

import dev.baton.discovery.EngineInfo;
import java.util.Optional;
import java.util.regex.Pattern;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;

/// Baton's own engines, and vLLM with NixlConnector: the prefiller is asked to keep its blocks and answers with
/// `kv_transfer_params`, which the decoder gets as they are.
///
/// Only `remote_host` is put right where it means the prefiller's own machine (vLLM's default is `localhost`) and
/// the prefiller is reached by another name: a decoder elsewhere would look for it at home.
public record Nixl() implements Backend {
    private static final Pattern LOOPBACK = Pattern.compile("localhost|0\\.0\\.0\\.0|127\\..*|::1?|\\[::1?\\]");

    @Override
    public Handoff handoff(EngineInfo prefiller, EngineInfo decoder, String requestId) {
        return new Pull(requestId, prefiller.address().host());
    }

    /// What the decoder gets of an answer's `kv_transfer_params`, or of what the prefiller says of itself.
    ///
    /// @param prefillerHost where the router reaches the prefiller
    public static Optional<JsonNode> reachable(Optional<JsonNode> params, String prefillerHost) {
        return params.map(found -> {
            if (!(found instanceof ObjectNode object)
                    || LOOPBACK.matcher(prefillerHost).matches()
                    || !LOOPBACK.matcher(object.path("remote_host").asString(""))
                            .matches()) {
                return found;
            }
            return Bodies.copy(object).put("remote_host", prefillerHost);
        });
    }

    @Override
    public boolean prefillersServeAlone() {
        return true;
    }

    private record Pull(String requestId, String prefillerHost) implements Handoff {
        @Override
        public Order order() {
            return Order.PREFILL_FIRST;
        }

        @Override
        public ObjectNode prefillBody(ObjectNode request, boolean chat) {
            ObjectNode body = Bodies.oneToken(request, chat);
            Bodies.askForBlocks(body);
            return body;
        }

        @Override
        public boolean handsOffInAnswers() {
            return true;
        }

        @Override
        public boolean fitsAnyDecoder() {
            return true;
        }

        @Override
        public Optional<JsonNode> found(JsonNode prefillAnswer) {
            return reachable(Bodies.transferParams(prefillAnswer), prefillerHost);
        }

        @Override
        public ObjectNode decodeMembers(ObjectNode request, Optional<JsonNode> found) {
            return Bodies.withTransferParams(found);
        }
    }
}
