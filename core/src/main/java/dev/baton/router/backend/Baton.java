package dev.baton.router.backend;

import dev.baton.discovery.ConnectorEndpoint;
import dev.baton.discovery.DiscoveryException;
import dev.baton.discovery.EngineInfo;
import java.util.Optional;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;

/// Baton's own engines: as [Nixl], and besides as a push, for which both legs go out together and the decoder
/// takes the prompt while it is computed. A push has to name the prefiller's side channel, which each of its
/// answers says.
public record Baton() implements Backend {
    /// The member by which a Baton says that it gives or takes prompts also while they are computed.
    public static final String PUSHES = "remote_pushes";

    private static final Nixl PULL = new Nixl();
    private static final NixlPush PUSH = new NixlPush();

    @Override
    public Handoff handoff(EngineInfo prefiller, EngineInfo decoder, String requestId) {
        return PULL.handoff(prefiller, decoder, requestId);
    }

    @Override
    public boolean pushes() {
        return true;
    }

    @Override
    public Optional<Handoff> push(EngineInfo prefiller, EngineInfo decoder, String requestId) {
        return PUSH.lacks(prefiller).isPresent()
                ? Optional.empty()
                : Optional.of(new WhileComputing(
                        PUSH.handoff(prefiller, decoder, requestId), handoff(prefiller, decoder, requestId)));
    }

    /// Only a prefiller whose connector can push says that it does.
    @Override
    public Optional<ConnectorEndpoint> endpoint(JsonNode found) {
        if (!found.path(PUSHES).asBoolean(false)) {
            return Optional.empty();
        }
        try {
            return Optional.of(new ConnectorEndpoint.NixlSideChannel(
                    found.path("remote_engine_id").asString(""),
                    found.path("remote_host").asString(""),
                    found.path("remote_port").asInt(0),
                    found.path("tp_size").asInt(1),
                    1));
        } catch (DiscoveryException e) {
            return Optional.empty(); // an answer that does not say it
        }
    }

    @Override
    public boolean prefillersServeAlone() {
        return PULL.prefillersServeAlone();
    }

    /// A push whose prefiller's answer is that of a pull: if its decoder fails, another one fetches.
    private record WhileComputing(Handoff push, Handoff pull) implements Handoff {
        @Override
        public Order order() {
            return push.order();
        }

        @Override
        public String requestId() {
            return push.requestId();
        }

        @Override
        public ObjectNode prefillBody(ObjectNode request, boolean chat) {
            return push.prefillBody(request, chat);
        }

        @Override
        public boolean readsAnswers() {
            return true;
        }

        @Override
        public Optional<JsonNode> found(JsonNode prefillAnswer) {
            return pull.found(prefillAnswer);
        }

        @Override
        public boolean fitsAnyDecoder() {
            return true;
        }

        @Override
        public ObjectNode decodeMembers(ObjectNode request, Optional<JsonNode> found) {
            return (found.isPresent() ? pull : push).decodeMembers(request, found);
        }
    }
}
