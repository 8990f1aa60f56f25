package dev.baton.router.backend;

import dev.baton.discovery.EngineInfo;
import java.util.Optional;
import tools.jackson.databind.node.ObjectNode;

/// vLLM with LMCacheMPConnector: engines share LMCache servers, and the prefiller announces over HTTP under its
/// request id when a prompt's chunks are stored (see [StoreTelemetry]); the decoder gets the client's own request.
public record LmCacheMp() implements Backend {
    @Override
    public Handoff handoff(EngineInfo prefiller, EngineInfo decoder, String requestId) {
        return new Store(Bodies.randomHex());
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

        @Override
        public Optional<String> announcedAs() {
            return Optional.of(requestId);
        }
    }
}
