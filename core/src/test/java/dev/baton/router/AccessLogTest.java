package dev.baton.router;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import ch.qos.logback.classic.Logger;
import ch.qos.logback.classic.spi.ILoggingEvent;
import ch.qos.logback.core.AppenderBase;
import dev.baton.http.ApiKey;
import dev.baton.http.ApiKeys;
import dev.baton.http.HttpServerConfig;
import java.io.IOException;
import java.net.Socket;
import java.net.http.HttpRequest;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Queue;
import java.util.Set;
import java.util.concurrent.ConcurrentLinkedQueue;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.slf4j.LoggerFactory;

/// Requests that the router refuses by itself are in the access log as those that it routes, with their key's name.
@Timeout(60)
class AccessLogTest {
    private static final String BODY = "{\"prompt\":\"CANARY\",\"max_tokens\":2,\"model\":\"m\"}";

    private final Logger log = (Logger) LoggerFactory.getLogger(AccessLog.NAME);
    private final Queue<String> lines = new ConcurrentLinkedQueue<>();
    private final AppenderBase<ILoggingEvent> appender = new AppenderBase<>() {
        @Override
        protected void append(ILoggingEvent event) {
            lines.add(event.getFormattedMessage());
        }
    };

    @BeforeEach
    void listen() {
        appender.start();
        log.addAppender(appender);
    }

    @AfterEach
    void stopListening() {
        log.detachAppender(appender);
        assertThat(lines).noneMatch(line -> line.contains("CANARY") || line.contains("sk-") || line.contains("\n"));
    }

    private static Fleet fleet(long maxBodyBytes, ApiKey... keys) throws IOException {
        return new Fleet(
                1,
                1,
                config -> config.accessLog(true)
                        .server(HttpServerConfig.builder("127.0.0.1", 0)
                                .maxBodyBytes(maxBodyBytes)
                                .apiKeys(ApiKeys.none().and(List.of(keys)))
                                .build()));
    }

    private int ask(Fleet fleet, String path, String key, String type, String body) throws Exception {
        return fleet.send(fleet.request(path)
                        .header("content-type", type)
                        .header("authorization", "Bearer " + key)
                        .POST(HttpRequest.BodyPublishers.ofString(body)))
                .statusCode();
    }

    /// Waits for a line that has all of these.
    private void awaitLine(String... parts) {
        await().untilAsserted(() ->
                assertThat(lines).anySatisfy(line -> assertThat(line).contains(parts)));
    }

    @Test
    void everyRefusalIsLoggedWithItsStatusItsReasonAndItsKeysName() throws Exception {
        String json = "application/json";
        try (Fleet fleet = fleet(1000, ApiKey.of("team-a", "sk-a").withLimits(6, 0, Set.of("m")))) {
            assertThat(ask(fleet, "/v1/completions", "sk-a", json, BODY)).isEqualTo(200);
            awaitLine("/v1/completions 200 ", "key=team-a route=disaggregated");
            assertThat(ask(fleet, "/v1/completions", "sk-x", json, BODY)).isEqualTo(401);
            awaitLine("/v1/completions 401 ", "key=- route=none refused=\"No API key was shown");
            assertThat(ask(fleet, "/v1/completions", "sk-a", json, "{CANARY")).isEqualTo(400);
            awaitLine("/v1/completions 400 ", "key=team-a route=none refused=\"malformed body\"");
            assertThat(ask(fleet, "/v1/completions", "sk-a", "text/plain", BODY))
                    .isEqualTo(400);
            awaitLine("/v1/completions 400 ", "key=team-a", "Media Type");
            assertThat(ask(fleet, "/v1/completions", "sk-a", json, BODY.replace("\"m\"", "\"other\"")))
                    .isEqualTo(403);
            awaitLine("/v1/completions 403 ", "key=team-a", "is not for the model");
            assertThat(ask(fleet, "/v1/completions", "sk-a", json, "x".repeat(1001)))
                    .isEqualTo(413);
            awaitLine("/v1/completions 413 ", "key=team-a", "larger than 1000 bytes");
            assertThat(ask(fleet, "/v1/nothing?key=sk-a", "sk-a", json, BODY)).isEqualTo(404);
            awaitLine("/v1/nothing 404 ", "key=team-a", "refused=\"Not Found\"");
            assertThat(ask(fleet, "/v1/completions", "sk-a", json, BODY)).isEqualTo(429);
            awaitLine("/v1/completions 429 ", "key=team-a", "its limit is 6 a minute");
            assertThat(fleet.get("/instances/add").statusCode()).isEqualTo(405);
            awaitLine("/instances/add 405 ", "key=- route=none");
            assertThat(lines).hasSize(9);
        }
    }

    @Test
    void requestThatIsShedIsLogged() throws Exception {
        try (Fleet fleet = new Fleet(1, 1, config -> config.accessLog(true).maxInFlight(1))) {
            fleet.decoder(0).script = call -> call.awaitUnlessGone(() -> lines.size() == 1);
            try (Socket held = fleet.startRaw(BODY)) {
                await().until(() -> fleet.router.numInFlight() == 1);
                assertThat(held.isConnected()).isTrue();
                assertThat(fleet.complete(BODY).statusCode()).isEqualTo(503);
                awaitLine("/v1/completions 503 ", "refused=\"Too many requests are in flight");
            }
        }
    }

    /// What a client sends must not begin a line of its own.
    @Test
    void pathOfAMalformedRequestIsOneWordOfItsLine() throws Exception {
        try (Fleet fleet = fleet(1000);
                Socket socket = fleet.connect()) {
            socket.getOutputStream()
                    .write("GET /a\u0007b HTTP/1.1\r\nhost: x\r\n\r\n".getBytes(StandardCharsets.US_ASCII));
            awaitLine(" /a?b 400 ");
        }
    }
}
