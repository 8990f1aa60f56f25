package dev.baton.router.backend;

import dev.baton.discovery.ConnectorEndpoint;
import dev.baton.discovery.EngineAddress;
import dev.baton.discovery.EngineInfo;
import dev.baton.discovery.EngineListener;
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

/// Adds to prefillers what their Mooncake bootstrap servers say: the engine id of each data-parallel rank. Stands
/// between the sources of engines and who is told of them.
///
/// Each prefiller is asked (`GET /query`) once an interval as long as it is there, because one that was
/// restarted has new ids and its decoders would be told old ones. One that does not answer has none, which
/// keeps hand-offs away from it. Thread-safe.
public final class MooncakeBootstraps implements EngineListener, AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(MooncakeBootstraps.class);
    private static final Duration ANSWER_TIME = Duration.ofSeconds(2);
    private static final int MAX_RANK = 65_535;

    private final EngineListener listener;
    private final Duration interval;
    private final HttpClient client;
    private final Map<EngineAddress, Asked> asked = new HashMap<>(); // guarded by this

    /// A prefiller that is asked.
    ///
    /// @param engine as its source describes it
    /// @param known what its bootstrap server said last
    private record Asked(EngineInfo engine, Optional<ConnectorEndpoint.Mooncake> known, Thread asker) {
        EngineInfo described() {
            return known.<ConnectorEndpoint>map(said -> said)
                    .map(engine::withEndpoint)
                    .orElse(engine);
        }
    }

    /// @param listener told of engines
    /// @param interval time between two questions to a prefiller
    public MooncakeBootstraps(EngineListener listener, Duration interval) {
        this.listener = listener;
        this.interval = interval;
        client = HttpClient.newBuilder()
                .version(HttpClient.Version.HTTP_1_1)
                .connectTimeout(ANSWER_TIME)
                .build();
    }

    @Override
    public synchronized void joined(EngineInfo engine) {
        Asked before = asked.get(engine.address());
        if (!engine.role().prefills()) {
            forget(engine.address());
            listener.joined(engine);
        } else if (before != null && before.engine().endpoint().equals(engine.endpoint())) {
            Asked now = new Asked(engine, before.known(), before.asker());
            asked.put(engine.address(), now);
            listener.joined(now.described());
        } else {
            forget(engine.address());
            listener.joined(engine);
            int port =
                    engine.endpoint() instanceof ConnectorEndpoint.Bootstrap(int own) ? own : Mooncake.BOOTSTRAP_PORT;
            String server =
                    new EngineAddress(engine.address().host(), port).uri("").toString();
            Thread asker = Thread.ofVirtual().name("baton-bootstrap").unstarted(() -> ask(engine.address(), server));
            asked.put(engine.address(), new Asked(engine, Optional.empty(), asker));
            asker.start();
        }
    }

    @Override
    public synchronized void left(EngineAddress address, String why) {
        forget(address);
        listener.left(address, why);
    }

    private void forget(EngineAddress address) {
        Asked before = asked.remove(address);
        if (before != null) {
            before.asker().interrupt();
        }
    }

    private void ask(EngineAddress engine, String server) {
        HttpRequest query = HttpRequest.newBuilder(URI.create(server + "/query"))
                .timeout(ANSWER_TIME)
                .build();
        boolean first = true;
        try {
            while (true) {
                Optional<ConnectorEndpoint.Mooncake> said = Optional.empty();
                try {
                    HttpResponse<byte[]> answer = client.send(query, HttpResponse.BodyHandlers.ofByteArray());
                    said = answer.statusCode() == 200 ? read(server, answer.body()) : Optional.empty();
                } catch (IOException e) {
                    LOG.debug("no answer from bootstrap server {}", server, e);
                }
                said(engine, server, said, first);
                first = false;
                Thread.sleep(interval);
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt(); // the engine has left, or the router ends
        }
    }

    private synchronized void said(
            EngineAddress engine, String server, Optional<ConnectorEndpoint.Mooncake> said, boolean first) {
        Asked before = asked.get(engine);
        if (before == null
                || !before.asker().equals(Thread.currentThread())
                || (before.known().equals(said) && !first)) {
            return;
        }
        if (said.isPresent()) {
            LOG.info("{} has {} Mooncake engines", engine, said.get().ranks().size());
        } else {
            LOG.warn("{} gets no hand-offs: its bootstrap server {} tells no engine ids", engine, server);
        }
        Asked now = new Asked(before.engine(), said, before.asker());
        asked.put(engine, now);
        listener.joined(now.described());
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

    /// Asks nobody any more.
    @Override
    public synchronized void close() {
        asked.values().forEach(each -> each.asker().interrupt());
        asked.clear();
        client.shutdownNow();
    }
}
