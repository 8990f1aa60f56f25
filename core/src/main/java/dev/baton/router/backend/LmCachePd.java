package dev.baton.router.backend;

import dev.baton.discovery.ConnectorEndpoint;
import dev.baton.discovery.EngineInfo;
import java.util.Optional;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.ObjectNode;

/// vLLM with LMCacheConnectorV1 and LMCache's PD backend: the prefiller is told which receiver to write the
/// prompt's chunks to, and announces over ZMQ when they are there (see [ProxyNotifications]). The decoder
/// therefore needs a [ConnectorEndpoint.LmCacheReceiver].
///
/// The decoder gets the client's own request. LMCache's proxy instead sends it the prompt's token ids and the
/// prefiller's first token to `/v1/completions`, and makes chat chunks of the answer, by which tool calls,
/// reasoning, log probabilities, the first token's usage and `max_tokens` of 1 are lost (LMCache#2681, PR#978).
/// None of that is needed: a receiver finds chunks by the hashes of the prompt's tokens alone, and both engines
/// make the same tokens of the same body. What it costs is that the decoder computes the first token, one step.
///
/// `ret_first_tok` stays, though nobody uses the token: an answer without one comes from a prefiller whose LMCache
/// is off, so that no announcement is to be waited for.
public record LmCachePd() implements Backend {
    @Override
    public Handoff handoff(EngineInfo prefiller, EngineInfo decoder, String requestId) {
        if (!(decoder.endpoint() instanceof ConnectorEndpoint.LmCacheReceiver receiver)) {
            throw new HandoffException(withoutReceiver(decoder));
        }
        return new Push(requestId, "baton-" + Bodies.randomHex(), receiver);
    }

    private static String withoutReceiver(EngineInfo decoder) {
        return "decoder " + decoder.address()
                + " has no LMCache receiver: a prefiller has to be told its host, init ports and alloc ports, as"
                + " lmcache=HOST/INIT+INIT/ALLOC+ALLOC after its address";
    }

    @Override
    public Optional<String> lacks(EngineInfo engine) {
        return !engine.role().decodes() || engine.endpoint() instanceof ConnectorEndpoint.LmCacheReceiver
                ? Optional.empty()
                : Optional.of(withoutReceiver(engine));
    }

    private record Push(String requestId, String transferId, ConnectorEndpoint.LmCacheReceiver receiver)
            implements Handoff {
        @Override
        public Order order() {
            return Order.PREFILL_FIRST;
        }

        @Override
        public ObjectNode prefillBody(ObjectNode request, boolean chat) {
            ObjectNode body = Bodies.oneToken(request, chat);
            ObjectNode params = body.putObject(Backend.KV_TRANSFER_PARAMS);
            params.put("ret_first_tok", true);
            ObjectNode spec = params.putObject("disagg_spec");
            spec.put("req_id", transferId);
            spec.put("receiver_host", receiver.host());
            ArrayNode initPorts = spec.putArray("receiver_init_port");
            receiver.initPorts().forEach(initPorts::add);
            ArrayNode allocPorts = spec.putArray("receiver_alloc_port");
            receiver.allocPorts().forEach(allocPorts::add);
            return body;
        }

        @Override
        public boolean handsOffInAnswers() {
            return true;
        }

        @Override
        public Optional<JsonNode> found(JsonNode prefillAnswer) {
            return Bodies.transferParams(prefillAnswer).filter(params -> params.has("first_tok"));
        }

        @Override
        public Optional<String> announcedAs() {
            return Optional.of(transferId);
        }

        @Override
        public int numAnnouncements() {
            return receiver.initPorts().size();
        }
    }
}
