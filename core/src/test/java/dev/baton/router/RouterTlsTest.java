package dev.baton.router;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import dev.baton.discovery.EngineAddress;
import dev.baton.discovery.StaticEngines;
import dev.baton.http.Certificates;
import dev.baton.http.ClientTls;
import dev.baton.http.HttpClient;
import dev.baton.http.HttpClientConfig;
import dev.baton.http.HttpClientRequest;
import dev.baton.http.HttpClientResponse;
import dev.baton.http.HttpRuntime;
import dev.baton.http.HttpServer;
import dev.baton.http.HttpServerConfig;
import dev.baton.http.ServerTls;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/// TLS on both sides of the router, engines that want to know it included.
@Timeout(120)
class RouterTlsTest {
    @TempDir
    private static Path folder;

    @Test
    void clientsAndEnginesAreSpokenToOverTls() throws Exception {
        Certificates authority = new Certificates(folder, "authority");
        Path certificate = authority.make("host");
        Optional<Path> trusted = Optional.of(authority.authority());
        ServerTls front = ServerTls.of(certificate, authority.key("host"));
        ServerTls mutual = new ServerTls(certificate, authority.key("host"), trusted, ServerTls.Clients.REQUIRED);
        ClientTls known = new ClientTls(trusted, Optional.of(certificate), Optional.of(authority.key("host")));
        HttpServerConfig plain = HttpServerConfig.of("127.0.0.1", 0);
        try (HttpRuntime runtime = HttpRuntime.start(1);
                HttpServer engine = runtime.serve(
                        plain.toBuilder().tls(Optional.of(mutual)).build(),
                        exchange -> exchange.respondJson(200, "{\"choices\":[]}".getBytes(StandardCharsets.UTF_8)));
                HttpClient client = runtime.client(new HttpClientConfig(
                        Duration.ofSeconds(5),
                        Duration.ofSeconds(5),
                        10,
                        new ClientTls(trusted, Optional.empty(), Optional.empty())));
                Router router = Router.start(RouterConfig.builder(
                                "127.0.0.1",
                                0,
                                new StaticEngines(
                                        List.of(), List.of(EngineAddress.parse("https://127.0.0.1:" + engine.port()))))
                        .server(plain.toBuilder().tls(Optional.of(front)).build())
                        .engineTls(known)
                        .build())) {
            String base = "https://127.0.0.1:" + router.port();
            Duration deadline = Duration.ofSeconds(20);
            await().atMost(deadline)
                    .untilAsserted(() -> assertThat(
                                    client.exchange(HttpClientRequest.get(URI.create(base + "/ready"), deadline), 1000)
                                            .get(20, TimeUnit.SECONDS)
                                            .status())
                            .isEqualTo(200));
            HttpClientResponse answer = client.exchange(
                            HttpClientRequest.postJson(
                                    URI.create(base + "/v1/completions"),
                                    "{\"prompt\":\"p\"}".getBytes(StandardCharsets.UTF_8),
                                    deadline),
                            1000)
                    .get(20, TimeUnit.SECONDS);
            assertThat(answer.status()).isEqualTo(200);
            assertThat(answer.text()).isEqualTo("{\"choices\":[]}");
        }
    }
}
