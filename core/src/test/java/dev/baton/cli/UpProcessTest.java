package dev.baton.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import dev.baton.wire.FreePorts;
import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// `baton up` as a person runs it, over the embedded model.
class UpProcessTest {
    private static final Duration LONG = Duration.ofSeconds(120);

    @TempDir
    Path folder;

    private final int port = FreePorts.next();
    private final int prefillerPort = FreePorts.next();
    private final int decoderPort = FreePorts.next();

    @BeforeEach
    void theModelIsThere() {
        Assumptions.assumeTrue(
                Files.exists(Baton.repository().resolve("models/baton-tiny/model.safetensors")),
                "the embedded model is not there");
    }

    @Test
    void answersReportsADeadPrefillerAndLeavesNoProcessAfterCtrlC() throws Exception {
        try (Baton up = up()) {
            awaitReady(up);
            await().atMost(LONG)
                    .untilAsserted(() -> assertThat(folder.resolve("router.log"))
                            .content()
                            .containsPattern("[0-9]+ requests in .* which are new"));
            assertThat(complete()).isEqualTo(200);
            List<ProcessHandle> children = up.children();
            assertThat(children).hasSize(3);
            for (String log : List.of("prefiller1.log", "decoder1.log", "router.log")) {
                assertThat(folder.resolve(log)).isNotEmptyFile();
            }

            child(children, "prefiller1").destroyForcibly();
            await().atMost(LONG).untilAsserted(() -> assertThat(up.output()).contains("prefiller1 died (signal 9)."));
            assertThat(complete()).isEqualTo(200);
            assertThat(up.isAlive()).isTrue();

            up.signal("INT");
            assertThat(up.awaitExit()).as("a role died").isEqualTo(1);
            assertThat(children).noneMatch(ProcessHandle::isAlive);
            assertThat(folder.resolve("router.log")).content().contains("Stopping (SIGTERM)");
        }
    }

    @Test
    void killedLauncherLeavesNoProcess() throws Exception {
        try (Baton up = up("--no-warm-up")) {
            awaitReady(up);
            List<ProcessHandle> children = up.children();
            up.signal("KILL");
            await().atMost(LONG).untilAsserted(() -> assertThat(children).noneMatch(ProcessHandle::isAlive));
            assertThat(folder.resolve("decoder1.log")).content().contains("Stopping (the launcher is gone)");
        }
    }

    @Test
    void engineThatCannotStartIsNamedWithTheEndOfItsLogAndTheOthersAreStopped() throws Exception {
        Path model = Baton.repository().resolve("models/baton-tiny");
        Path damaged = Files.createDirectory(folder.resolve("model"));
        for (String file : List.of("config.json", "tokenizer.json", "tokenizer_config.json")) {
            Files.copy(model.resolve(file), damaged.resolve(file));
        }
        Files.write(damaged.resolve("model.safetensors"), new byte[] {1, 2, 3});
        try (Baton up = up("--model", damaged.toString())) {
            assertThat(up.awaitExit()).isEqualTo(1);
            assertThat(up.output())
                    .containsPattern("baton: (prefiller1|decoder1) ended with exit code 1 before it was ready")
                    .containsPattern("  \\| baton: .*model\\.safetensors");
        }
        for (int free : List.of(port, prefillerPort, decoderPort)) {
            new ServerSocket(free, 1, InetAddress.getByName("127.0.0.1")).close(); // throws if something listens there
        }
    }

    @Test
    void takenPortIsOneSentence() throws Exception {
        try (ServerSocket taken = new ServerSocket(decoderPort, 1, InetAddress.getByName("127.0.0.1"));
                Baton up = up()) {
            assertThat(up.awaitExit()).isEqualTo(1);
            assertThat(up.output())
                    .startsWith("baton: Port " + taken.getLocalPort() + ", which decoder1 needs")
                    .hasLineCount(1)
                    .contains("--decoder-port");
        }
    }

    @Test
    void missingModelIsOneSentence() throws Exception {
        try (Baton up = up("--model", "nowhere")) {
            assertThat(up.awaitExit()).isEqualTo(1);
            assertThat(up.output())
                    .startsWith("baton: There is no model in nowhere")
                    .hasLineCount(1)
                    .contains("--model");
        }
    }

    /// Roles of their own settings would listen elsewhere or not start: the launcher's variables are not theirs.
    @Test
    void keyIsWantedByRouterAndEnginesAndStandsInNoCommandLineAndCtrlCEndsWith130() throws Exception {
        Map<String, String> environment =
                Map.of("BATON_API_KEY", "sk-first sk-second", "BATON_READY_TIMEOUT", "100", "BATON_PREFILLERS", "1");
        try (Baton up = up(environment, "--no-warm-up")) {
            awaitReady(up);
            assertThat(up.output())
                    .contains("Authorization: Bearer $OPENAI_API_KEY")
                    .doesNotContain("sk-first");
            assertThat(complete()).isEqualTo(401);
            assertThat(complete(port, "authorization", "Bearer sk-second")).isEqualTo(200);
            assertThat(complete(prefillerPort)).isEqualTo(401);
            assertThat(complete(decoderPort)).isEqualTo(401);
            assertThat(complete(decoderPort, "authorization", "Bearer sk-first"))
                    .isEqualTo(200);
            assertThat(up.children())
                    .hasSize(3)
                    .allSatisfy(child -> assertThat(commandLine(child)).doesNotContain("sk-"));
            for (String log : List.of("prefiller1.log", "decoder1.log", "router.log")) {
                assertThat(folder.resolve(log))
                        .content()
                        .contains(", with an API key")
                        .doesNotContain("sk-");
            }
            assertThat(folder.resolve("router.log")).content().contains("/v1/completions 200");

            List<ProcessHandle> children = up.children();
            up.signal("INT");
            assertThat(up.awaitExit()).isEqualTo(130);
            assertThat(children).hasSize(3).noneMatch(ProcessHandle::isAlive);
        }
    }

    private Baton up(String... flags) {
        return up(Map.of(), flags);
    }

    private Baton up(Map<String, String> environment, String... flags) {
        List<String> arguments = new ArrayList<>(List.of(
                "up",
                "--prefillers",
                "1",
                "--port",
                Integer.toString(port),
                "--prefiller-port",
                Integer.toString(prefillerPort),
                "--decoder-port",
                Integer.toString(decoderPort),
                "--num-gpu-blocks-override",
                "64"));
        arguments.addAll(List.of(flags));
        return Baton.start(folder, environment, arguments.toArray(String[]::new));
    }

    private static void awaitReady(Baton up) {
        await().atMost(LONG).untilAsserted(() -> {
            assertThat(up.isAlive()).as(up.output()).isTrue();
            assertThat(up.output()).contains("Ctrl+C stops everything.");
        });
    }

    private ProcessHandle child(List<ProcessHandle> children, String role) {
        String marker = role.startsWith("prefiller") ? Integer.toString(prefillerPort) : Integer.toString(decoderPort);
        return children.stream()
                .filter(child -> commandLine(child).contains("\0--port\0" + marker + "\0"))
                .findFirst()
                .orElseThrow();
    }

    /// The JDK shows no more than a page of a command line; Linux shows all of it.
    private static String commandLine(ProcessHandle process) {
        Path file = Path.of("/proc/" + process.pid() + "/cmdline");
        Assumptions.assumeTrue(Files.exists(file), "command lines are read from /proc, which is not here");
        try {
            return Files.readString(file);
        } catch (IOException e) {
            throw new AssertionError(e);
        }
    }

    private int complete() throws IOException, InterruptedException {
        return complete(port);
    }

    private static int complete(int port, String... headers) throws IOException, InterruptedException {
        try (HttpClient client = HttpClient.newHttpClient()) {
            HttpRequest.Builder builder =
                    HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + port + "/v1/completions"));
            if (headers.length > 0) {
                builder.headers(headers);
            }
            HttpRequest request = builder.header("content-type", "application/json")
                    .POST(HttpRequest.BodyPublishers.ofString(
                            "{\"model\": \"baton-tiny\", \"prompt\": \"Once upon a time\", \"max_tokens\": 4}"))
                    .build();
            return client.send(request, HttpResponse.BodyHandlers.ofString()).statusCode();
        }
    }
}
