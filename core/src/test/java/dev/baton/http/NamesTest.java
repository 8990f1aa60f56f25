package dev.baton.http;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import io.vertx.core.dns.AddressResolverOptions;
import java.io.IOException;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/// Hosts that come back under another address.
@Timeout(90)
class NamesTest {
    @TempDir
    Path folder;

    private Path hosts(String address) throws IOException {
        return Files.writeString(folder.resolve("hosts"), address + " engine.test\n");
    }

    private static String get(HttpClient client, int port) throws Exception {
        URI uri = URI.create("http://engine.test:" + port + "/");
        HttpClientResponse answer = client.exchange(HttpClientRequest.get(uri, Duration.ofSeconds(10)), 1000)
                .get(20, TimeUnit.SECONDS);
        return new String(answer.body(), java.nio.charset.StandardCharsets.UTF_8);
    }

    @Test
    void changedAddressOfANameIsFoundWithinSeconds() throws Exception {
        Path hosts = hosts("127.0.0.1");
        AddressResolverOptions names = new AddressResolverOptions().setHostsPath(hosts.toString());
        try (HttpRuntime servers = HttpRuntime.start(1);
                HttpRuntime clients = HttpRuntime.start(2, names);
                HttpClient client = clients.client(HttpClientConfig.defaults())) {
            HttpServer before = servers.serve(HttpServerConfig.of("127.0.0.1", 0), e -> e.respondText(200, "before"));
            int port = before.port();
            assertThat(get(client, port)).isEqualTo("before");
            before.stop(Duration.ZERO);
            HttpServer after = servers.serve(HttpServerConfig.of("127.0.0.2", port), e -> e.respondText(200, "after"));
            hosts("127.0.0.2");
            await().atMost(Duration.ofSeconds(20))
                    .ignoreExceptionsInstanceOf(ExecutionException.class)
                    .untilAsserted(() -> assertThat(get(client, port)).isEqualTo("after"));
            after.stop(Duration.ZERO);
        }
    }
}
