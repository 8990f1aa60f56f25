package dev.baton.router.backend;

import dev.baton.discovery.EngineInfo;
import java.util.Optional;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;

/// Baton's own engines, and vLLM with NixlConnector: the prefiller is asked to keep its blocks and answers with
/// `kv_transfer_params`, which the decoder gets as they are.
public record Nixl() implements Backend {
    @Override
    public Handoff handoff(EngineInfo prefiller, EngineInfo decoder, String requestId) {
        return new Pull(requestId);
    }

    private record Pull(String requestId) implements Handoff {
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
            return Bodies.transferParams(prefillAnswer);
        }

        @Override
        public ObjectNode decodeMembers(Optional<JsonNode> found) {
            return Bodies.withTransferParams(found);
        }
    }
}
