package dev.baton.router.backend;

import dev.baton.discovery.ConnectorEndpoint;
import dev.baton.discovery.EngineInfo;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/// vLLM with MooncakeConnector: both legs carry one `transfer_id` and go out together; the decoder asks the
/// prefiller's worker for the blocks, which it finds by the bootstrap server's address and an engine id.
///
/// A decoder that is not told one of the three waits for ever, and ends when its client leaves (KeyError in
/// vLLM 0.32), so a prefiller whose engine ids are not known by now is refused; [MooncakeBootstraps] asks for
/// them.
public record Mooncake() implements Backend {
    /// `VLLM_MOONCAKE_BOOTSTRAP_PORT` where nothing is said.
    public static final int BOOTSTRAP_PORT = 8998;

    @Override
    public Handoff handoff(EngineInfo prefiller, EngineInfo decoder, String requestId) {
        if (!(prefiller.endpoint() instanceof ConnectorEndpoint.Mooncake known)) {
            throw new HandoffException(withoutIds(prefiller));
        }
        List<ConnectorEndpoint.Mooncake.Rank> ranks = known.ranks();
        ConnectorEndpoint.Mooncake.Rank rank = ranks.get(Math.floorMod(requestId.hashCode(), ranks.size()));
        return new Ask(requestId, "xfer-" + Bodies.randomHex(), known.bootstrapAddress(), rank);
    }

    private static String withoutIds(EngineInfo prefiller) {
        return "prefiller " + prefiller.address()
                + " has not said its engine ids at its bootstrap server: a decoder would wait for it for ever";
    }

    @Override
    public Optional<String> lacks(EngineInfo engine) {
        return !engine.role().prefills() || engine.endpoint() instanceof ConnectorEndpoint.Mooncake
                ? Optional.empty()
                : Optional.of(withoutIds(engine));
    }

    /// [MooncakeBootstraps] asks, and says in the log what it is not told.
    @Override
    public boolean findsOutWhatLacks() {
        return true;
    }

    /// A request without a transfer is one of its own to vLLM's connector (`request_finished` in vLLM 0.32).
    @Override
    public boolean prefillersServeAlone() {
        return true;
    }

    private record Ask(
            String requestId, String transferId, String bootstrapAddress, ConnectorEndpoint.Mooncake.Rank rank)
            implements Handoff {
        @Override
        public Order order() {
            return Order.CONCURRENT;
        }

        @Override
        public ObjectNode prefillBody(ObjectNode request, boolean chat) {
            ObjectNode body = Bodies.exactlyOneToken(request, chat);
            ObjectNode params = body.putObject(Backend.KV_TRANSFER_PARAMS);
            params.put("do_remote_decode", true);
            params.put("do_remote_prefill", false);
            params.put("transfer_id", transferId);
            return body;
        }

        @Override
        public Map<String, String> prefillHeaders() {
            return Map.of("x-data-parallel-rank", Integer.toString(rank.dataParallelRank()));
        }

        @Override
        public ObjectNode decodeMembers(ObjectNode request, Optional<JsonNode> found) {
            ObjectNode params = JsonNodeFactory.instance.objectNode();
            params.put("do_remote_decode", false);
            params.put("do_remote_prefill", true);
            params.put("remote_bootstrap_addr", bootstrapAddress);
            params.put("remote_engine_id", rank.engineId());
            params.put("transfer_id", transferId);
            return Bodies.withTransferParams(Optional.of(params));
        }
    }
}
