package dev.baton.router.backend;

import dev.baton.discovery.EngineInfo;
import tools.jackson.databind.node.ObjectNode;

/// Engines that share a KV store keyed by token hashes, such as vLLM with LMCache or MooncakeStoreConnector:
/// nothing travels through the router, and the first token is the decoder's. LMCache's proxy leaves `stream`
/// and `min_tokens` as the client sent them; this one does not, because the answer is thrown away and the
/// minimum would be refused.
public record SharedStore() implements Backend {
    @Override
    public Handoff handoff(EngineInfo prefiller, EngineInfo decoder, String requestId) {
        return new Store(requestId);
    }

    private record Store(String requestId) implements Handoff {
        @Override
        public Order order() {
            return Order.PREFILL_FIRST;
        }

        @Override
        public ObjectNode prefillBody(ObjectNode request, boolean chat) {
            return Bodies.oneToken(request, chat);
        }

        @Override
        public boolean fitsAnyDecoder() {
            return true;
        }
    }
}
