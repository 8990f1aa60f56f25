package dev.baton.http;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.awaitility.Awaitility.await;

import ch.qos.logback.classic.Logger;
import ch.qos.logback.classic.spi.ILoggingEvent;
import ch.qos.logback.core.read.ListAppender;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.slf4j.LoggerFactory;

/// Keys of a source that changes while a server has them.
@Timeout(60)
class ChangingApiKeysTest {
    /// What the source says next: keys, nothing new, or why it cannot say.
    private final AtomicReference<Object> next = new AtomicReference<>();

    private ApiKeys keys(List<ApiKey> first) {
        next.set(first);
        return ApiKeys.of(List.of("sk-fixed")).and(() -> switch (next.getAndSet("")) {
            case List<?> some ->
                Optional.of(some.stream().map(ApiKey.class::cast).toList());
            case IllegalArgumentException e -> throw e;
            default -> Optional.empty();
        });
    }

    private static Optional<String> who(ApiKeys keys, String shown) {
        return keys.identify(Optional.of("Bearer " + shown)).map(ApiKey::name);
    }

    @Test
    void newKeysHoldOldOnesDoNotAndFixedOnesStay() {
        ApiKeys keys = keys(List.of(ApiKey.of("a", "sk-a")));
        next.set(List.of(ApiKey.of("a", "sk-a2"), ApiKey.of("b", "sk-b")));
        keys.readAgain();
        assertThat(who(keys, "sk-a")).isEmpty();
        assertThat(who(keys, "sk-a2")).hasValue("a");
        assertThat(who(keys, "sk-b")).hasValue("b");
        assertThat(who(keys, "sk-fixed")).hasValue("key-1");
        keys.readAgain();
        assertThat(keys.all()).as("nothing new changes nothing").hasSize(3);
    }

    @Test
    void whatAKeyHasUsedIsNotForgottenWhenItChanges() {
        ApiKeys keys = keys(List.of(ApiKey.of("a", "sk-a").withLimits(2, 3, Set.of())));
        long now = System.nanoTime();
        ApiKey before = keys.all().getLast();
        assertThat(before.admit(now).isAdmitted()).isTrue();
        assertThat(before.admit(now).isAdmitted()).isTrue();
        next.set(List.of(ApiKey.of("a", "sk-a2").withLimits(4, 3, Set.of())));
        keys.readAgain();
        ApiKey after = keys.all().getLast();
        assertThat(after.requests()).isEqualTo(2);
        assertThat(after.inFlight()).isEqualTo(2);
        assertThat(after.admit(now).isAdmitted()).as("its minute is used up").isFalse();
        before.release();
        assertThat(after.inFlight()).isOne();
        assertThat(after.admit(now + Duration.ofSeconds(16).toNanos()).isAdmitted())
                .as("its new limit is a request each 15 s")
                .isTrue();
    }

    @Test
    void sourceThatCannotSayKeepsTheOldKeysWithOneWarning() {
        Logger log = (Logger) LoggerFactory.getLogger(ApiKeys.class);
        ListAppender<ILoggingEvent> lines = new ListAppender<>();
        lines.start();
        log.addAppender(lines);
        try {
            ApiKeys keys = keys(List.of(ApiKey.of("a", "sk-a")));
            for (int i = 0; i < 3; i++) {
                next.set(new IllegalArgumentException("the file is wrong"));
                keys.readAgain();
            }
            next.set(List.of(ApiKey.of("key-1", "sk-b")));
            keys.readAgain();
            assertThat(who(keys, "sk-a")).hasValue("a");
            assertThat(who(keys, "sk-b")).isEmpty();
            assertThat(lines.list)
                    .extracting(ILoggingEvent::getFormattedMessage)
                    .containsExactly(
                            "the file is wrong; the keys stay as they were",
                            "two API keys have the name key-1; the keys stay as they were");
        } finally {
            log.detachAppender(lines);
        }
        next.set(new IllegalArgumentException("unreadable"));
        assertThatThrownBy(() -> ApiKeys.none().and(() -> {
                    throw new IllegalArgumentException("unreadable");
                }))
                .as("at the start that ends it")
                .hasMessage("unreadable");
    }

    @Test
    void serverAsksItsSourceAgain() throws Exception {
        ApiKeys keys = keys(List.of(ApiKey.of("a", "sk-a")));
        try (HttpRuntime runtime = HttpRuntime.start(1);
                HttpClient client = HttpClient.newHttpClient()) {
            HttpServer server = runtime.serve(
                    HttpServerConfig.builder("127.0.0.1", 0).apiKeys(keys).build(),
                    exchange -> exchange.respondText(200, "done"));
            HttpRequest ask = HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + server.port() + "/v1/models"))
                    .header("authorization", "Bearer sk-b")
                    .build();
            assertThat(client.send(ask, HttpResponse.BodyHandlers.discarding()).statusCode())
                    .isEqualTo(401);
            next.set(List.of(ApiKey.of("b", "sk-b")));
            await().atMost(Duration.ofSeconds(20))
                    .until(() -> client.send(ask, HttpResponse.BodyHandlers.discarding())
                                    .statusCode()
                            == 200);
        }
    }
}
