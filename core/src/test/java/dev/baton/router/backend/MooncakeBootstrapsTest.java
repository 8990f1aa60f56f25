package dev.baton.router.backend;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import com.sun.net.httpserver.HttpServer;
import dev.baton.discovery.ConnectorEndpoint;
import dev.baton.discovery.EngineAddress;
import dev.baton.discovery.EngineInfo;
import dev.baton.discovery.EngineListener;
import dev.baton.discovery.EngineRole;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// What a bootstrap server says becomes known, stays fresh, and is forgotten.
@Timeout(30)
class MooncakeBootstrapsTest {
    private static final EngineAddress PREFILLER = new EngineAddress("127.0.0.1", 8100);
    private static final EngineAddress DECODER = new EngineAddress("127.0.0.1", 8200);

    private final Map<EngineAddress, EngineInfo> known = new ConcurrentHashMap<>();
    private final EngineListener pool = new EngineListener() {
        @Override
        public void joined(EngineInfo engine) {
            known.put(engine.address(), engine);
        }

        @Override
        public void left(EngineAddress address, String why) {
            known.remove(address);
        }
    };

    private static HttpServer bootstrap(int port, AtomicReference<String> answer) throws IOException {
        HttpServer server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), port), 0);
        server.createContext("/query", exchange -> {
            byte[] bytes = answer.get().getBytes(StandardCharsets.UTF_8);
            exchange.sendResponseHeaders(200, bytes.length);
            exchange.getResponseBody().write(bytes);
            exchange.close();
        });
        server.start();
        return server;
    }

    private void awaitRanks(Optional<List<String>> engineIds) {
        await().atMost(Duration.ofSeconds(10))
                .untilAsserted(() -> assertThat(engineIds(known.get(PREFILLER))).isEqualTo(engineIds));
    }

    private static Optional<List<String>> engineIds(EngineInfo engine) {
        return engine.endpoint() instanceof ConnectorEndpoint.Mooncake mooncake
                ? Optional.of(mooncake.ranks().stream()
                        .map(ConnectorEndpoint.Mooncake.Rank::engineId)
                        .toList())
                : Optional.empty();
    }

    @Test
    void engineIdsAreAskedForAndStayFresh() throws IOException {
        AtomicReference<String> answer = new AtomicReference<>("{\"0\":{\"engine_id\":\"A\",\"worker_addr\":{}}}");
        HttpServer server = bootstrap(0, answer);
        int port = server.getAddress().getPort();
        EngineInfo prefiller =
                EngineInfo.of(PREFILLER, EngineRole.PREFILLER).withEndpoint(new ConnectorEndpoint.Bootstrap(port));
        try (MooncakeBootstraps engines = new MooncakeBootstraps(pool, Duration.ofMillis(20))) {
            engines.joined(EngineInfo.of(DECODER, EngineRole.DECODER));
            engines.joined(prefiller);
            assertThat(known).as("at once, for requests that need no hand-off").containsKeys(PREFILLER, DECODER);
            awaitRanks(Optional.of(List.of("A")));
            assertThat(((ConnectorEndpoint.Mooncake) known.get(PREFILLER).endpoint()).bootstrapAddress())
                    .isEqualTo("http://127.0.0.1:" + port);
            assertThat(known.get(DECODER).endpoint()).isEqualTo(new ConnectorEndpoint.Unnamed());
            answer.set("{\"1\":{\"engine_id\":\"C\"},\"0\":{\"engine_id\":\"B\"}}"); // restarted, with two ranks
            awaitRanks(Optional.of(List.of("B", "C")));
            engines.joined(prefiller.withWeight(2)); // what is known of it is not lost
            assertThat(known.get(PREFILLER).weight()).isEqualTo(2);
            assertThat(engineIds(known.get(PREFILLER))).contains(List.of("B", "C"));
            server.stop(0);
            awaitRanks(Optional.empty()); // nobody must be told the old ids
            server = bootstrap(port, answer);
            awaitRanks(Optional.of(List.of("B", "C")));
            engines.left(PREFILLER, "a test");
            assertThat(known).doesNotContainKey(PREFILLER);
        } finally {
            server.stop(0);
        }
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "",
                "[]",
                "{}",
                "null",
                "{\"0\":{}}",
                "{\"0\":{\"engine_id\":\"\"}}",
                "{\"0\":{\"engine_id\":7}}",
                "{\"x\":{\"engine_id\":\"A\"}}",
                "{\"-1\":{\"engine_id\":\"A\"}}",
                "{\"99999\":{\"engine_id\":\"A\"}}",
            })
    void answersWithoutAnEngineIdAreNone(String answer) {
        assertThat(MooncakeBootstraps.read("http://h:1", answer.getBytes(StandardCharsets.UTF_8)))
                .isEmpty();
    }
}
