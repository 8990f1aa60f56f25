package dev.baton.router.backend;

import dev.baton.discovery.ConnectorEndpoint;
import dev.baton.discovery.EngineInfo;
import java.util.Optional;
import tools.jackson.databind.node.ObjectNode;

/// vLLM with P2pNcclConnector: each engine finds the other's address in `X-Request-Id`, which is the same on both
/// legs. An id without addresses ends an unmodified engine, so both engines need a [ConnectorEndpoint.P2pNccl].
///
/// The engines have to run with `VLLM_DISABLE_REQUEST_ID_RANDOMIZATION=1`: the KV cache is found by the id.
///
/// @param decodersServeAlone whether the engines take an id without addresses for a request of their own, as those
///     patched for PPD do
public record P2pNccl(boolean decodersServeAlone) implements Backend {
    /// What begins the id of a request that a patched decoder serves alone.
    static final String DIRECT_PREFIX = "d_direct_";

    @Override
    public Handoff handoff(EngineInfo prefiller, EngineInfo decoder, String requestId) {
        return new Push(requestId(zmqAddress(prefiller), zmqAddress(decoder)));
    }

    /// An id with the addresses of both engines that was not used before.
    static String requestId(String prefillerZmq, String decoderZmq) {
        return "___prefill_addr_" + prefillerZmq + "___decode_addr_" + decoderZmq + "_" + Bodies.randomHex();
    }

    private static String zmqAddress(EngineInfo engine) {
        return addressOf(engine).orElseThrow(() -> new HandoffException(withoutAddress(engine)));
    }

    private static String withoutAddress(EngineInfo engine) {
        return engine.role().word() + " " + engine.address()
                + " has no ZMQ address: P2pNcclConnector needs one of each engine, by registration or as zmq=IP:PORT"
                + " after its own";
    }

    @Override
    public Optional<String> lacks(EngineInfo engine) {
        return addressOf(engine).isPresent() ? Optional.empty() : Optional.of(withoutAddress(engine));
    }

    static Optional<String> addressOf(EngineInfo engine) {
        return engine.endpoint() instanceof ConnectorEndpoint.P2pNccl(String address)
                ? Optional.of(address)
                : Optional.empty();
    }

    /// The engines split a request alike on both legs, so what fits one sequence fits several.
    @Override
    public boolean handsOverBatches() {
        return true;
    }

    @Override
    public String directRequestId(String requestId) {
        return DIRECT_PREFIX + Bodies.randomHex();
    }

    private record Push(String requestId) implements Handoff {
        @Override
        public Order order() {
            return Order.PREFILL_FIRST;
        }

        @Override
        public ObjectNode prefillBody(ObjectNode request, boolean chat) {
            return Bodies.oneToken(request, chat);
        }
    }
}
