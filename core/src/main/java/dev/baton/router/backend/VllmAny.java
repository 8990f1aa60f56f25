package dev.baton.router.backend;

import dev.baton.discovery.EngineInfo;
import java.util.Optional;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;

/// vLLM with P2pNcclConnector or NixlConnector, whichever it is: what vllm-project/router sends. A pair of
/// which both ZMQ addresses are known gets an id with these, as [P2pNccl] has it; the six members of [Nixl] are
/// in the body anyway, and P2pNcclConnector does not look at them.
public record VllmAny() implements Backend {
    @Override
    public Handoff handoff(EngineInfo prefiller, EngineInfo decoder, String requestId) {
        Handoff nixl = new Nixl().handoff(prefiller, decoder, requestId);
        Optional<String> id = P2pNccl.addressOf(prefiller)
                .flatMap(from -> P2pNccl.addressOf(decoder).map(to -> P2pNccl.requestId(from, to)));
        return id.<Handoff>map(addressed -> new Both(addressed, nixl)).orElse(nixl);
    }

    private record Both(String requestId, Handoff nixl) implements Handoff {
        @Override
        public Order order() {
            return Order.PREFILL_FIRST;
        }

        @Override
        public ObjectNode prefillBody(ObjectNode request, boolean chat) {
            return nixl.prefillBody(request, chat);
        }

        /// NixlConnector's answers say where the KV cache is, P2pNcclConnector's never do.
        @Override
        public boolean readsAnswers() {
            return true;
        }

        @Override
        public Optional<JsonNode> found(JsonNode prefillAnswer) {
            return nixl.found(prefillAnswer);
        }

        @Override
        public ObjectNode decodeMembers(ObjectNode request, Optional<JsonNode> found) {
            return nixl.decodeMembers(request, found);
        }
    }
}
