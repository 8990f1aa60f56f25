package dev.baton.router.backend;

import dev.baton.discovery.ConnectorEndpoint;
import dev.baton.discovery.EngineInfo;
import java.util.Optional;
import java.util.concurrent.ThreadLocalRandom;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/// SGLang in its disaggregation modes: both engines get the same body at once and meet at the prefiller's bootstrap
/// server, in a room that the router draws. They know their roles, so no token limit changes. A prefiller without
/// a [ConnectorEndpoint.Bootstrap] has SGLang's usual port.
public record SgLang() implements Backend {
    /// `--disaggregation-bootstrap-port` where nothing is said.
    static final int BOOTSTRAP_PORT = 8998;

    private static final int MAX_SEQUENCES = 4096;

    /// So that the rooms of a batch, one after the other, are signed 63-bit numbers all.
    private static final long MAX_ROOM = Long.MAX_VALUE - MAX_SEQUENCES;

    @Override
    public Handoff handoff(EngineInfo prefiller, EngineInfo decoder, String requestId) {
        int port = prefiller.endpoint() instanceof ConnectorEndpoint.Bootstrap(int own) ? own : BOOTSTRAP_PORT;
        return new Room(
                requestId,
                prefiller.address().host(),
                port,
                ThreadLocalRandom.current().nextLong(MAX_ROOM));
    }

    /// Rooms are drawn for each sequence of a batch.
    @Override
    public boolean handsOverBatches() {
        return true;
    }

    /// A decoder waits for the bootstrap of every request.
    @Override
    public boolean decodersServeAlone() {
        return false;
    }

    private record Room(String requestId, String host, int port, long firstRoom) implements Handoff {
        @Override
        public Order order() {
            return Order.CONCURRENT;
        }

        @Override
        public ObjectNode prefillBody(ObjectNode request, boolean chat) {
            ObjectNode body = Bodies.copy(request);
            body.setAll(members(request));
            return body;
        }

        @Override
        public ObjectNode decodeMembers(ObjectNode request, Optional<JsonNode> found) {
            return members(request);
        }

        private ObjectNode members(ObjectNode request) {
            ObjectNode members = JsonNodeFactory.instance.objectNode();
            int sequences = sequences(request);
            if (sequences == 0) {
                return members.put("bootstrap_host", host)
                        .put("bootstrap_port", port)
                        .put("bootstrap_room", firstRoom);
            }
            ArrayNode hosts = members.putArray("bootstrap_host");
            ArrayNode ports = members.putArray("bootstrap_port");
            ArrayNode rooms = members.putArray("bootstrap_room");
            for (int i = 0; i < sequences; i++) {
                hosts.add(host);
                ports.add(port);
                rooms.add(firstRoom + i);
            }
            return members;
        }

        /// How many sequences a batch has; 0 for a single one, whose members are no arrays.
        private static int sequences(ObjectNode request) {
            JsonNode prompt = request.path("prompt");
            boolean listed = prompt.isArray()
                    && !prompt.isEmpty()
                    && (prompt.get(0).isString() || prompt.get(0).isArray());
            JsonNode n = request.path("n");
            int copies = n.isInt() ? Math.clamp(n.intValue(), 1, MAX_SEQUENCES) : 1;
            return listed || copies > 1 ? Math.min((listed ? prompt.size() : 1) * copies, MAX_SEQUENCES) : 0;
        }
    }
}
