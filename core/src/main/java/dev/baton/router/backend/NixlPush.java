package dev.baton.router.backend;

import dev.baton.discovery.ConnectorEndpoint;
import dev.baton.discovery.EngineInfo;
import java.util.Optional;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/// vLLM with NixlPushConnector: the decoder registers its blocks with the prefiller, which writes into them. Both
/// legs carry one `transfer_id` and go out together; the decoder is told where the prefiller's side channel is,
/// so a prefiller without a [ConnectorEndpoint.NixlSideChannel] cannot be used.
public record NixlPush() implements Backend {
    @Override
    public Handoff handoff(EngineInfo prefiller, EngineInfo decoder, String requestId) {
        if (!(prefiller.endpoint() instanceof ConnectorEndpoint.NixlSideChannel channel)) {
            throw new HandoffException(withoutChannel(prefiller));
        }
        return new Push(requestId, "xfer-" + Bodies.randomHex(), channel);
    }

    private static String withoutChannel(EngineInfo prefiller) {
        return "prefiller " + prefiller.address()
                + " has no NIXL side channel: a decoder of NixlPushConnector has to be told its engine id, host, port, and"
                + " parallel sizes, as nixl=ENGINE_ID@HOST:PORT,tp=1,pp=1 after its address";
    }

    @Override
    public Optional<String> lacks(EngineInfo engine) {
        return !engine.role().prefills() || engine.endpoint() instanceof ConnectorEndpoint.NixlSideChannel
                ? Optional.empty()
                : Optional.of(withoutChannel(engine));
    }

    /// A request without a transfer is one of its own to vLLM's connector (`request_finished` in vLLM 0.32).
    @Override
    public boolean prefillersServeAlone() {
        return true;
    }

    private record Push(String requestId, String transferId, ConnectorEndpoint.NixlSideChannel channel)
            implements Handoff {
        @Override
        public Order order() {
            return Order.CONCURRENT;
        }

        @Override
        public ObjectNode prefillBody(ObjectNode request, boolean chat) {
            ObjectNode body = Bodies.exactlyOneToken(request, chat);
            Bodies.askForBlocks(body).put("transfer_id", transferId);
            return body;
        }

        @Override
        public ObjectNode decodeMembers(ObjectNode request, Optional<JsonNode> found) {
            ObjectNode params = JsonNodeFactory.instance.objectNode();
            params.put("do_remote_decode", false);
            params.put("do_remote_prefill", true);
            params.put("remote_engine_id", channel.engineId());
            params.put("remote_host", channel.host());
            params.put("remote_port", channel.port());
            params.put("tp_size", channel.tpSize());
            params.put("pp_size", channel.ppSize());
            params.put("remote_request_id", requestId);
            params.put("transfer_id", transferId);
            return Bodies.withTransferParams(Optional.of(params));
        }
    }
}
