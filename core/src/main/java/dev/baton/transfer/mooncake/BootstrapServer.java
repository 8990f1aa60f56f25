package dev.baton.transfer.mooncake;

import dev.baton.transfer.tcp.BlockServer;
import dev.baton.wire.Fields;
import dev.baton.wire.Wire;
import dev.baton.wire.WireServer;
import java.io.Closeable;
import java.io.IOException;
import java.net.ProtocolException;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.TreeMap;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// Says where a prefiller's workers are: vLLM's `MooncakeBootstrapServer`. `GET /query` lists them, `POST
/// /register` adds one, and is answered with 400 where another engine or address has that rank already.
///
/// Beside vLLM's members, an engine that registered with a `kv_cache_layout` is listed with it. Thread-safe.
final class BootstrapServer implements Closeable {
    private static final Logger LOG = LoggerFactory.getLogger(BootstrapServer.class);

    private static final Duration EXCHANGE_TIMEOUT = Duration.ofSeconds(5);
    private static final int MAX_CONNECTIONS = 64;
    private static final int MAX_WORKERS = 4_096;
    private static final int MAX_RANK = 65_535;

    private final WireServer server;
    private final Map<Integer, Engine> engines = new TreeMap<>(); // by data-parallel rank; guarded by this

    /// A worker that registers.
    ///
    /// @param layout `kv_cache_layout`; empty if it does not say
    record Registration(String engineId, int dpRank, int tpRank, int ppRank, String address, String layout) {
        static Registration read(byte[] json) throws ProtocolException {
            Fields fields = SmallJson.map("a registration", json);
            Registration read = new Registration(
                    fields.text("engine_id"),
                    (int) fields.number("dp_rank", 0, MAX_RANK),
                    (int) fields.number("tp_rank", 0, MAX_RANK),
                    (int) fields.number("pp_rank", 0, MAX_RANK),
                    fields.text("addr"),
                    fields.textOr("kv_cache_layout", ""));
            if (!XferMetadata.isId(read.engineId()) || !XferMetadata.isId(read.address())) {
                throw new ProtocolException("engine_id or addr is empty, too long or has control characters");
            }
            return read;
        }
    }

    /// @param workers by tensor-parallel, then by pipeline-parallel rank
    private record Engine(String id, String layout, Map<Integer, Map<Integer, String>> workers) {
        Map<String, Object> json() {
            Map<String, Object> json = new LinkedHashMap<>();
            json.put("engine_id", id);
            json.put("worker_addr", workers);
            if (!layout.isEmpty()) {
                json.put("kv_cache_layout", layout);
            }
            return json;
        }
    }

    /// Binds and begins to answer.
    ///
    /// @throws dev.baton.transfer.TransferException if it cannot be bound
    BootstrapServer(String ip, int port) {
        server = BlockServer.start(
                "bootstrap", ip, port, "kv_ip or VLLM_MOONCAKE_BOOTSTRAP_PORT", MAX_CONNECTIONS, Exchange::new);
    }

    int port() {
        return server.port();
    }

    /// Adds a worker; the same one again changes nothing.
    ///
    /// @throws ProtocolException if its rank has another engine or address
    synchronized void register(Registration worker) throws ProtocolException {
        Engine engine = engines.get(worker.dpRank());
        if (engine == null) {
            engine = new Engine(worker.engineId(), worker.layout(), new TreeMap<>());
        } else if (!engine.id().equals(worker.engineId())) {
            throw new ProtocolException("Engine ID mismatch for dp_rank=%d: expected %s, got %s"
                    .formatted(worker.dpRank(), engine.id(), worker.engineId()));
        }
        Map<Integer, String> stages = engine.workers().getOrDefault(worker.tpRank(), new TreeMap<>());
        String known = stages.getOrDefault(worker.ppRank(), worker.address());
        if (!known.equals(worker.address())) {
            throw new ProtocolException("dp_rank=%d, tp_rank=%d, pp_rank=%d is registered at %s already"
                    .formatted(worker.dpRank(), worker.tpRank(), worker.ppRank(), known));
        }
        if (!stages.containsKey(worker.ppRank()) && numWorkers() >= MAX_WORKERS) {
            throw new ProtocolException("%d workers are registered already".formatted(MAX_WORKERS));
        }
        stages.put(worker.ppRank(), worker.address());
        engine.workers().put(worker.tpRank(), stages);
        engines.put(worker.dpRank(), engine);
    }

    private int numWorkers() {
        return engines.values().stream()
                .flatMap(engine -> engine.workers().values().stream())
                .mapToInt(Map::size)
                .sum();
    }

    private synchronized byte[] query() {
        Map<Integer, Object> json = new TreeMap<>();
        engines.forEach((rank, engine) -> json.put(rank, engine.json()));
        return SmallJson.bytes(json);
    }

    @Override
    public void close() {
        server.close();
    }

    private final class Exchange implements WireServer.Connection {
        private final Wire wire;

        Exchange(Wire wire) {
            this.wire = wire;
        }

        @Override
        public void run() {
            try (wire) {
                answer(HttpMessage.receive(wire, EXCHANGE_TIMEOUT)).send(wire, "Server: baton\r\n", EXCHANGE_TIMEOUT);
            } catch (IOException e) {
                LOG.debug("a bootstrap exchange failed: {}", e.toString());
            }
        }

        private HttpMessage answer(HttpMessage request) {
            String line = request.startLine();
            if (line.matches("GET /query(\\?\\S*)? HTTP/1\\.[01]")) {
                return new HttpMessage("HTTP/1.1 200 OK", query());
            }
            if (line.matches("POST /register HTTP/1\\.[01]")) {
                try {
                    register(Registration.read(request.body()));
                    return new HttpMessage("HTTP/1.1 200 OK", SmallJson.bytes(Map.of("status", "ok")));
                } catch (ProtocolException e) {
                    return detail("HTTP/1.1 400 Bad Request", String.valueOf(e.getMessage()));
                }
            }
            return detail("HTTP/1.1 404 Not Found", "Not Found");
        }

        private static HttpMessage detail(String startLine, String detail) {
            return new HttpMessage(startLine, SmallJson.bytes(Map.of("detail", detail)));
        }

        @Override
        public void abort() {
            wire.abort();
        }
    }
}
