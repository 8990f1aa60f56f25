package dev.baton.router.backend;

import dev.baton.discovery.ConnectorEndpoint;
import dev.baton.discovery.EngineAddress;
import dev.baton.discovery.EngineInfo;
import dev.baton.discovery.EngineListener;
import dev.baton.discovery.EngineSource;
import dev.baton.http.Json;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import tools.jackson.databind.JsonNode;

/// Adds to a source's prefillers what their Mooncake bootstrap servers say: the engine id of each data-parallel rank.
///
/// Each prefiller is asked (`GET /query`) once an interval as long as it is there, because one that was restarted has
/// new ids and its decoders would be told old ones. One that does not answer has none, which keeps hand-offs away
/// from it. Thread-safe.
public final class MooncakeBootstraps implements EngineSource {
    private static final Logger LOG = LoggerFactory.getLogger(MooncakeBootstraps.class);
    private static final Duration ANSWER_TIME = Duration.ofSeconds(2);
    private static final int MAX_RANK = 65_535;

    private final EngineSource engines;
    private final Duration interval;
    private final HttpClient client;
    private final Map<EngineAddress, Thread> asking = new HashMap<>(); // guarded by this

    /// @param engines where engines come from
    /// @param interval time between two questions to a prefiller
    public MooncakeBootstraps(EngineSource engines, Duration interval) {
        this.engines = engines;
        this.interval = interval;
        client = HttpClient.newBuilder()
                .version(HttpClient.Version.HTTP_1_1)
                .connectTimeout(ANSWER_TIME)
                .build();
    }

    @Override
    public void start(EngineListener listener) {
        engines.start(new EngineListener() {
            @Override
            public void joined(EngineInfo engine) {
                follow(engine, listener);
            }

            @Override
            public void left(EngineAddress address, String why) {
                forget(address);
                listener.left(address, why);
            }
        });
    }

    private synchronized void follow(EngineInfo engine, EngineListener listener) {
        forget(engine.address());
        listener.joined(engine);
        if (engine.role().prefills()) {
            asking.put(
                    engine.address(), Thread.ofVirtual().name("baton-bootstrap").start(() -> ask(engine, listener)));
        }
    }

    private synchronized void forget(EngineAddress address) {
        Thread thread = asking.remove(address);
        if (thread != null) {
            thread.interrupt();
        }
    }

    private void ask(EngineInfo engine, EngineListener listener) {
        int port = engine.endpoint() instanceof ConnectorEndpoint.Bootstrap(int own) ? own : Mooncake.BOOTSTRAP_PORT;
        String address =
                new EngineAddress(engine.address().host(), port).uri("").toString();
        HttpRequest query = HttpRequest.newBuilder(URI.create(address + "/query"))
                .timeout(ANSWER_TIME)
                .build();
        Optional<ConnectorEndpoint.Mooncake> known = Optional.empty();
        boolean told = false;
        try {
            while (true) {
                Optional<ConnectorEndpoint.Mooncake> said = Optional.empty();
                try {
                    HttpResponse<byte[]> answer = client.send(query, HttpResponse.BodyHandlers.ofByteArray());
                    said = answer.statusCode() == 200 ? read(address, answer.body()) : Optional.empty();
                } catch (IOException e) {
                    LOG.debug("no answer from bootstrap server {}", address, e);
                }
                if (!said.equals(known) || (said.isEmpty() && !told)) {
                    tell(engine, address, said, listener);
                    told = true;
                    known = said;
                }
                Thread.sleep(interval);
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt(); // the engine has left, or the router ends
        }
    }

    private synchronized void tell(
            EngineInfo engine, String address, Optional<ConnectorEndpoint.Mooncake> said, EngineListener listener) {
        if (!Thread.currentThread().equals(asking.get(engine.address()))) {
            return;
        }
        if (said.isPresent()) {
            LOG.info(
                    "{} has {} Mooncake engines",
                    engine.address(),
                    said.get().ranks().size());
            listener.joined(engine.withEndpoint(said.get()));
        } else {
            LOG.warn("{} gets no hand-offs: its bootstrap server {} tells no engine ids", engine.address(), address);
            listener.joined(engine);
        }
    }

    /// Reads `{"<dp_rank>":{"engine_id":"...", ...}, ...}`.
    ///
    /// @return empty if there is no engine id in it
    static Optional<ConnectorEndpoint.Mooncake> read(String bootstrapAddress, byte[] answer) {
        JsonNode json;
        try {
            json = Json.parse(answer);
        } catch (Json.MalformedException e) {
            return Optional.empty();
        }
        List<ConnectorEndpoint.Mooncake.Rank> ranks = new ArrayList<>();
        for (String key : json.propertyNames()) {
            JsonNode engineId = json.path(key).path("engine_id");
            int rank = key.matches("[0-9]{1,5}") ? Integer.parseInt(key) : MAX_RANK;
            if (rank < MAX_RANK
                    && engineId.isString()
                    && !engineId.stringValue().isEmpty()) {
                ranks.add(new ConnectorEndpoint.Mooncake.Rank(rank, engineId.stringValue()));
            }
        }
        ranks.sort(Comparator.comparingInt(ConnectorEndpoint.Mooncake.Rank::dataParallelRank));
        return ranks.isEmpty()
                ? Optional.empty()
                : Optional.of(new ConnectorEndpoint.Mooncake(bootstrapAddress, ranks));
    }

    @Override
    public String description() {
        return engines.description();
    }

    @Override
    public void close() {
        engines.close();
        synchronized (this) {
            asking.values().forEach(Thread::interrupt);
            asking.clear();
        }
        client.shutdownNow();
    }
}
