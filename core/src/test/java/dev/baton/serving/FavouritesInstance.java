package dev.baton.serving;

import dev.baton.engine.Engine;
import dev.baton.engine.EngineConfig;
import dev.baton.http.HttpServerConfig;
import dev.baton.serving.Instance.Answer;
import dev.baton.tokenizer.Tokenizer;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Path;
import java.time.Duration;
import java.util.function.UnaryOperator;

/// A whole instance inside the test over [FavouritesLm], served as `tiny` with a context of 1,024 tokens.
final class FavouritesInstance implements AutoCloseable {
    final FavouritesLm model = new FavouritesLm();
    private final Tokenizer tokenizer;
    private final Engine engine;
    private final EngineServer server;
    private final HttpClient client =
            HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();

    FavouritesInstance(Path directory, UnaryOperator<EngineServerConfig.Builder> change) {
        tokenizer = ByteTokenizer.load(directory);
        engine = Engine.start(
                EngineConfig.builder("favourites", 1024).numBlocks(512).build(), model);
        EngineServerConfig.Builder config = EngineServerConfig.builder(
                        HttpServerConfig.of("127.0.0.1", 0), "tiny", FavouritesLm.VOCAB)
                .enablePromptTokensDetails(true);
        server = EngineServer.start(change.apply(config).build(), engine, tokenizer);
    }

    URI uri(String path) {
        return URI.create("http://127.0.0.1:" + server.port() + path);
    }

    Answer get(String path) {
        return send(HttpRequest.newBuilder(uri(path)));
    }

    Answer post(String path, String body) {
        return send(HttpRequest.newBuilder(uri(path))
                .header("content-type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString(body)));
    }

    Answer send(HttpRequest.Builder request) {
        try {
            HttpResponse<String> response =
                    client.send(request.timeout(Duration.ofSeconds(60)).build(), HttpResponse.BodyHandlers.ofString());
            return new Answer(response.statusCode(), response.body(), response);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    @Override
    public void close() {
        client.close();
        server.close();
        engine.close();
        tokenizer.close();
    }
}
