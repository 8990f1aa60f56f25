package dev.baton.serving;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import dev.baton.engine.Engine;
import dev.baton.engine.EngineConfig;
import dev.baton.engine.EngineRequest;
import dev.baton.engine.SamplingParams;
import dev.baton.http.HttpServerConfig;
import dev.baton.model.ForwardBatch;
import dev.baton.tensor.PagedKv;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Path;
import java.time.Duration;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

@Timeout(value = 60, unit = TimeUnit.SECONDS)
class HungEngineTest {
    @TempDir
    Path directory;

    @Test
    void healthIsNotOkForAsLongAsAStepOverrunsItsDeadline() throws Exception {
        CountDownLatch go = new CountDownLatch(1);
        EchoLm hanging = new EchoLm() {
            @Override
            public void forward(ForwardBatch batch, PagedKv kv, float[] logits) {
                super.forward(batch, kv, logits);
                try {
                    go.await();
                } catch (InterruptedException e) {
                    throw new IllegalStateException(e);
                }
            }
        };
        EngineConfig config = EngineConfig.builder("echo", 64)
                .stepDeadline(Duration.ofMillis(100))
                .build();
        EngineServerConfig serverConfig = EngineServerConfig.builder(
                        HttpServerConfig.of("127.0.0.1", 0), "tiny", ByteTokenizer.VOCAB)
                .build();
        Engine engine = Engine.start(config, hanging);
        try (HttpClient client = HttpClient.newHttpClient();
                EngineServer server = EngineServer.start(serverConfig, engine, ByteTokenizer.load(directory))) {
            HttpRequest health = HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + server.port() + "/health"))
                    .timeout(Duration.ofSeconds(20))
                    .build();
            assertThat(status(client, health)).isEqualTo(200);
            engine.submit(new EngineRequest("r", new int[] {1, 2}, SamplingParams.greedy(1)), output -> {});
            await().atMost(Duration.ofSeconds(20)).until(() -> status(client, health) == 503);
            go.countDown();
            await().atMost(Duration.ofSeconds(20)).until(() -> status(client, health) == 200);
        } finally {
            go.countDown();
            engine.close();
        }
    }

    private static int status(HttpClient client, HttpRequest request) throws Exception {
        return client.send(request, HttpResponse.BodyHandlers.discarding()).statusCode();
    }
}
