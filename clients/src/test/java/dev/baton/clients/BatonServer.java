package dev.baton.clients;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.extension.ExtensionContext;
import org.junit.jupiter.api.extension.ParameterContext;
import org.junit.jupiter.api.extension.ParameterResolver;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/// `baton serve` with the embedded model as a process of its own; one for all tests of a run, ended after the last.
final class BatonServer implements AutoCloseable {
    static final String MODEL = "tiny";

    private static final int START_SECONDS = 120;
    private static final Pattern LISTENING = Pattern.compile("Serving .* on http://[^:]+:(\\d+)");

    private final Process process;
    private final int port;

    private BatonServer(Process process, int port) {
        this.process = process;
        this.port = port;
    }

    /// Gives the server to constructors and test methods that name it.
    static final class Extension implements ParameterResolver {
        @Override
        public boolean supportsParameter(ParameterContext parameter, ExtensionContext context) {
            return parameter.getParameter().getType() == BatonServer.class;
        }

        @Override
        public Object resolveParameter(ParameterContext parameter, ExtensionContext context) {
            return context.getRoot()
                    .getStore(ExtensionContext.Namespace.create(BatonServer.class))
                    .computeIfAbsent(BatonServer.class, key -> start(), BatonServer.class);
        }
    }

    private static BatonServer start() {
        Path here = Path.of("").toAbsolutePath();
        Path repository = Files.exists(here.resolve("models")) ? here : here.getParent();
        Path model = repository.resolve("models/baton-tiny");
        Assumptions.assumeTrue(Files.exists(model.resolve("model.safetensors")), "the embedded model is not there");
        List<String> command = List.of(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "--enable-native-access=ALL-UNNAMED",
                "--add-modules=jdk.incubator.vector",
                "-Xmx256m",
                "-cp",
                System.getProperty("java.class.path"),
                "dev.baton.cli.Main",
                "serve",
                model.toString(),
                "--host=127.0.0.1",
                "--port=0",
                "--served-model-name=" + MODEL);
        try {
            Process process =
                    new ProcessBuilder(command).redirectErrorStream(true).start();
            try {
                return new BatonServer(process, port(process));
            } catch (RuntimeException | Error e) {
                process.destroyForcibly();
                throw e;
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /// Reads the output to its end, so that the process never waits for a reader.
    private static int port(Process process) {
        CompletableFuture<Integer> port = new CompletableFuture<>();
        Thread.ofVirtual().start(() -> {
            List<String> lines = new ArrayList<>();
            try (BufferedReader output = process.inputReader()) {
                for (String line = output.readLine(); line != null; line = output.readLine()) {
                    lines.add(line);
                    Matcher listening = LISTENING.matcher(line);
                    if (listening.find()) {
                        port.complete(Integer.valueOf(listening.group(1)));
                    }
                }
            } catch (IOException e) {
                lines.add(e.toString());
            }
            port.completeExceptionally(new AssertionError("the server ended:\n" + String.join("\n", lines)));
        });
        try {
            return port.get(START_SECONDS, TimeUnit.SECONDS);
        } catch (InterruptedException | ExecutionException | TimeoutException e) {
            throw new AssertionError("the server did not start", e);
        }
    }

    int port() {
        return port;
    }

    String baseUrl() {
        return "http://127.0.0.1:" + port + "/v1";
    }

    /// The server's own words, asked for as simply as can be: what a client must make of them is compared with
    /// this.
    JsonNode ask(String path, String body) {
        try (HttpClient client =
                HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build()) {
            HttpResponse<String> answer = client.send(
                    HttpRequest.newBuilder(URI.create(baseUrl() + path))
                            .header("content-type", "application/json")
                            .POST(HttpRequest.BodyPublishers.ofString(body))
                            .build(),
                    HttpResponse.BodyHandlers.ofString());
            if (answer.statusCode() != 200) {
                throw new AssertionError(answer.statusCode() + " " + answer.body());
            }
            return JsonMapper.shared().readTree(answer.body());
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new AssertionError(e);
        }
    }

    @Override
    public void close() {
        process.destroy();
        try {
            if (!process.waitFor(20, TimeUnit.SECONDS)) {
                process.destroyForcibly();
            }
        } catch (InterruptedException e) {
            process.destroyForcibly();
            Thread.currentThread().interrupt();
        }
    }
}
