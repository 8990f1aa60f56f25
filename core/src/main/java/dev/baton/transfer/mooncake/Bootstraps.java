package dev.baton.transfer.mooncake;

import dev.baton.transfer.Remembered;
import dev.baton.wire.Fields;
import dev.baton.wire.Wire;
import java.io.IOException;
import java.net.ProtocolException;
import java.net.URI;
import java.net.URISyntaxException;
import java.time.Duration;
import java.util.Map;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/// What a decoder knows of prefillers: it asks their bootstrap servers, once for each engine id that it does not
/// know yet, and remembers. Thread-safe; its questions wait for the network.
final class Bootstraps {
    private static final int MAX_REMEMBERED = 1_024;

    private final Duration connectTimeout;
    private final Duration answerTimeout;
    private final Map<String, Worker> workers = Remembered.atMost(MAX_REMEMBERED); // by engine id; guarded by itself

    /// Where a bootstrap server listens.
    record Address(String host, int port) {
        /// Reads `remote_bootstrap_addr`.
        ///
        /// @throws IllegalArgumentException if it is no `http://host:port`
        static Address of(String text) {
            try {
                URI uri = new URI(text);
                String path = uri.getPath();
                if ("http".equals(uri.getScheme())
                        && uri.getHost() != null
                        && uri.getPort() > 0
                        && uri.getPort() <= 65_535
                        && uri.getUserInfo() == null
                        && (path == null || path.isEmpty() || path.equals("/"))
                        && uri.getQuery() == null) {
                    return new Address(uri.getHost(), uri.getPort());
                }
            } catch (URISyntaxException e) {
                throw (IllegalArgumentException) refusal(text).initCause(e);
            }
            throw refusal(text);
        }

        private static IllegalArgumentException refusal(String text) {
            String shown = text.length() > 100 || !XferMetadata.isId(text) ? "something else" : text;
            return new IllegalArgumentException("remote_bootstrap_addr must be http://host:port, got " + shown);
        }

        @Override
        public String toString() {
            return "http://%s:%d".formatted(host, port);
        }
    }

    /// A prefiller's worker.
    ///
    /// @param address `tcp://host:port` of its side channel
    /// @param isBaton whether it takes Baton's blocks as they are
    record Worker(String address, boolean isBaton) {
        String host() {
            return address.substring("tcp://".length(), address.lastIndexOf(':'));
        }

        int port() {
            return Integer.parseInt(address.substring(address.lastIndexOf(':') + 1));
        }
    }

    Bootstraps(Duration connectTimeout, Duration answerTimeout) {
        this.connectTimeout = connectTimeout;
        this.answerTimeout = answerTimeout;
    }

    /// The worker of an engine, which a bootstrap server lists.
    ///
    /// @throws IOException if the server does not answer, or does not list it
    Worker find(Address server, String engineId) throws IOException {
        Optional<Worker> known = known(engineId);
        if (known.isPresent()) {
            return known.get();
        }
        Fields engines = query(server);
        @Nullable Worker found = null;
        for (String rank : engines.map().keySet()) {
            Fields engine = engines.map(rank);
            if (engine.text("engine_id").equals(engineId)) {
                found = worker(engine);
            }
        }
        if (found == null) {
            throw new ProtocolException(
                    "remote_engine_id %s is not found at bootstrap server %s; the prefiller was restarted, perhaps"
                            .formatted(engineId, server));
        }
        synchronized (workers) {
            workers.put(engineId, found);
        }
        return found;
    }

    /// Whether, and where, an engine is known without asking.
    Optional<Worker> known(String engineId) {
        synchronized (workers) {
            return Optional.ofNullable(workers.get(engineId));
        }
    }

    private static Worker worker(Fields engine) throws ProtocolException {
        Fields tensorRanks = engine.map("worker_addr");
        Fields stages = tensorRanks.has("0") ? tensorRanks.map("0") : tensorRanks;
        if (tensorRanks.map().size() != 1 || stages.map().size() != 1 || !stages.has("0")) {
            throw new ProtocolException("the prefiller has %d tensor-parallel ranks of %d stages; only 1 is supported"
                    .formatted(tensorRanks.map().size(), stages.map().size()));
        }
        String address = stages.text("0");
        if (!address.matches("tcp://[^\\s/]{1,255}:[0-9]{1,5}") || new Worker(address, false).port() > 65_535) {
            throw new ProtocolException("a worker's address that is no tcp://host:port");
        }
        return new Worker(address, engine.textOr("kv_cache_layout", "").equals(MooncakeConnector.LAYOUT));
    }

    private Fields query(Address server) throws IOException {
        try (Wire wire = Wire.unconnected()) {
            wire.connect(server.host(), server.port(), connectTimeout);
            new HttpMessage("GET /query HTTP/1.1", new byte[0])
                    .send(wire, "Host: %s:%d\r\n".formatted(server.host(), server.port()), answerTimeout);
            HttpMessage answer = HttpMessage.receive(wire, answerTimeout);
            if (!answer.startLine().matches("HTTP/1\\.[01] 200( .*)?")) {
                throw new ProtocolException("bootstrap server %s answers something else than 200".formatted(server));
            }
            return SmallJson.map("the answer of bootstrap server " + server, answer.body());
        }
    }
}
