package dev.baton.router.backend;

import dev.baton.discovery.EngineInfo;
import java.util.Map;
import tools.jackson.databind.node.ObjectNode;

/// Decoders behind llm-d's routing sidecar: it is told the prefiller in a header field and does both legs
/// itself. The router's address for a decoder is its sidecar's.
public record LlmD() implements Backend {
    static final String PREFILLER_HEADER = "x-prefiller-host-port";

    @Override
    public Handoff handoff(EngineInfo prefiller, EngineInfo decoder, String requestId) {
        return new Sidecar(requestId, prefiller.address().toString());
    }

    private record Sidecar(String requestId, String prefiller) implements Handoff {
        @Override
        public Order order() {
            return Order.DECODER_LEADS;
        }

        /// The sidecar writes its own.
        @Override
        public ObjectNode prefillBody(ObjectNode request, boolean chat) {
            return Bodies.copy(request);
        }

        @Override
        public Map<String, String> decodeHeaders() {
            return Map.of(PREFILLER_HEADER, prefiller);
        }
    }
}
