package dev.baton.deployment;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.cli.TestJvm;
import dev.baton.wire.FreePorts;
import java.io.IOException;
import java.io.UncheckedIOException;
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
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.Assumptions;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.ObjectMapper;

/// Real processes for a test: instances over the embedded model, and a router in front, each a JVM of its own
/// with a log file. [#close()] checks that no instance has lost a block, and leaves no process behind.
final class Deployment implements AutoCloseable {
    static final ObjectMapper JSON = new ObjectMapper();
    static final Path MODEL = repository().resolve("models/baton-tiny");

    private static final int CLIENTS = 8;
    private static final Duration READY_DEADLINE = Duration.ofSeconds(180);
    private static final Duration CALL_DEADLINE = Duration.ofSeconds(120);

    private final HttpClient client =
            HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
    private final Path logs;
    /// More of every engine's KV transfer configuration, as JSON.
    private final String kvSettings;
    private final List<Instance> instances = new ArrayList<>();

    /// One child process.
    record Instance(String name, int port, Process process, Path log, boolean engine) {
        String url(String path) {
            return "http://127.0.0.1:" + port + path;
        }
    }

    /// A status, the body as text and, where it is JSON, parsed.
    record Answer(int status, String body, HttpResponse<?> response) {
        JsonNode json() {
            return JSON.readTree(body);
        }

        JsonNode choice() {
            return json().path("choices").path(0);
        }

        List<Integer> tokenIds() {
            List<Integer> ids = new ArrayList<>();
            choice().path("token_ids").forEach(id -> ids.add(id.intValue()));
            return ids;
        }
    }

    /// For tests of what is handed over, not of when it is given up: a process that this machine is slow to run is
    /// waited for longer than by default.
    static Deployment patient(Path logs) {
        return new Deployment(
                logs, ",\"kv_connector_extra_config\":{\"kv_peer_timeout\":10,\"kv_connect_timeout\":10}");
    }

    Deployment(Path logs) {
        this(logs, "");
    }

    private Deployment(Path logs, String kvSettings) {
        this.kvSettings = kvSettings;
        Assumptions.assumeTrue(Files.exists(MODEL.resolve("model.safetensors")), "the embedded model is not there");
        this.logs = logs;
    }

    static Path repository() {
        Path here = Path.of("").toAbsolutePath();
        return Files.exists(here.resolve("models")) ? here : here.getParent();
    }

    Instance prefiller(String... flags) {
        return engine("prefiller", "kv_producer", flags);
    }

    Instance decoder(String... flags) {
        return engine("decoder", "kv_consumer", flags);
    }

    private Instance engine(String name, String role, String... flags) {
        String transfer = "{\"kv_connector\":\"TcpConnector\",\"kv_role\":\"" + role
                + "\",\"kv_ip\":\"127.0.0.1\",\"kv_port\":0" + kvSettings + "}";
        List<String> arguments = new ArrayList<>(List.of("--kv-transfer-config", transfer));
        arguments.addAll(List.of(flags));
        return single(name, arguments.toArray(String[]::new));
    }

    /// An instance that prefills and decodes by itself unless the flags say otherwise.
    Instance single(String name, String... flags) {
        return engineOnPort(name, FreePorts.next(), flags);
    }

    Instance engineOnPort(String name, int port, String... flags) {
        List<String> arguments = new ArrayList<>(List.of("serve", MODEL.toString(), "--port", Integer.toString(port)));
        arguments.addAll(List.of("--enable-prompt-tokens-details"));
        arguments.addAll(List.of(flags));
        return start(name, port, arguments, true);
    }

    Instance router(List<Instance> prefillers, List<Instance> decoders, String... flags) {
        int port = FreePorts.next();
        List<String> arguments = new ArrayList<>(
                List.of("router", "--port", Integer.toString(port), "--mode", "pd", "--policy", "round_robin"));
        arguments.add("--no-warm-up"); // engines would count requests that no test has sent
        for (Instance prefiller : prefillers) {
            arguments.addAll(List.of("--prefiller", "127.0.0.1:" + prefiller.port()));
        }
        for (Instance decoder : decoders) {
            arguments.addAll(List.of("--decoder", "127.0.0.1:" + decoder.port()));
        }
        arguments.addAll(List.of(flags));
        return start("router", port, arguments, false);
    }

    /// What takes another project's proxy's place.
    Instance compatRouter(int port, String... arguments) {
        List<String> all = new ArrayList<>(List.of("router", "--compat"));
        all.addAll(List.of(arguments));
        return start("router", port, all, false);
    }

    private Instance start(String name, int port, List<String> arguments, boolean engine) {
        List<String> command = TestJvm.baton(engine);
        command.addAll(arguments);
        Path log = logs.resolve(name + "-" + instances.size() + ".log");
        ProcessBuilder builder = new ProcessBuilder(command);
        builder.redirectErrorStream(true).redirectOutput(log.toFile());
        builder.environment().put("VLLM_SERVER_DEV_MODE", "1");
        try {
            Instance instance = new Instance(name, port, builder.start(), log, engine);
            instances.add(instance);
            return instance;
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /// Waits until every engine is well, and each router has found all of its own: one that answers on `/health`
    /// may still serve by its decoders alone.
    Deployment awaitReady() {
        for (Instance instance : instances) {
            Awaitility.await(instance.name())
                    .atMost(READY_DEADLINE)
                    .pollInterval(Duration.ofMillis(50))
                    .until(() -> {
                        assertThat(instance.process().isAlive())
                                .as("%s ended:%n%s", instance.name(), Files.readString(instance.log()))
                                .isTrue();
                        return answers(instance, instance.engine() ? "/health" : "/ready");
                    });
        }
        return this;
    }

    /// Waits until the instance that was started last on a port is ready.
    void awaitReadyAgain(int port) {
        Instance last = instances.stream()
                .filter(instance -> instance.port() == port)
                .toList()
                .getLast();
        Awaitility.await(last.name()).atMost(READY_DEADLINE).until(() -> answers(last, "/health"));
    }

    private boolean answers(Instance instance, String path) {
        try {
            return get(instance, path).status() == 200;
        } catch (UncheckedIOException e) {
            return false;
        }
    }

    Answer get(Instance instance, String path) {
        return send(HttpRequest.newBuilder(URI.create(instance.url(path))).build());
    }

    Answer post(Instance instance, String path, Map<String, ?> body, String... headers) {
        return post(instance, path, JSON.writeValueAsString(body), headers);
    }

    Answer post(Instance instance, String path, String body, String... headers) {
        return send(request(instance, path, body, headers));
    }

    /// A request for tokens as ids after a prompt of ids; every fourth one samples, the others are greedy.
    static Map<String, Object> body(int[] prompt, int maxTokens, int i) {
        return Map.of(
                "prompt",
                prompt,
                "max_tokens",
                maxTokens,
                "temperature",
                i % 4 == 3 ? 0.9 : 0.0,
                "seed",
                i,
                "ignore_eos",
                true,
                "return_token_ids",
                true);
    }

    /// The tokens of an answer that has to be one.
    List<Integer> tokenIds(Instance target, Map<String, ?> body) {
        Answer answer = post(target, "/v1/completions", body);
        assertThat(answer.status()).as(answer.body()).isEqualTo(200);
        return answer.tokenIds();
    }

    /// What a call gives for each of the inputs, in their order; several calls are under way at a time, which
    /// changes no token.
    static <I, O> List<O> atOnce(List<I> inputs, Function<I, O> call) {
        try (ExecutorService clients = Executors.newFixedThreadPool(CLIENTS)) {
            return inputs.stream()
                    .map(input -> CompletableFuture.supplyAsync(() -> call.apply(input), clients))
                    .toList()
                    .stream()
                    .map(CompletableFuture::join)
                    .toList();
        }
    }

    static HttpRequest request(Instance instance, String path, String body, String... headers) {
        HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(instance.url(path)))
                .header("Content-Type", "application/json")
                .timeout(CALL_DEADLINE)
                .POST(HttpRequest.BodyPublishers.ofString(body));
        return headers.length == 0 ? request.build() : request.headers(headers).build();
    }

    HttpClient client() {
        return client;
    }

    private Answer send(HttpRequest request) {
        try {
            HttpResponse<String> response = client.send(request, HttpResponse.BodyHandlers.ofString());
            return new Answer(response.statusCode(), response.body(), response);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    /// The value of a metric without regard to its labels, 0 if it is not there.
    double metric(Instance instance, String name) {
        Matcher matcher = Pattern.compile("^" + Pattern.quote(name) + "(?:\\{[^}]*})? (\\S+)$", Pattern.MULTILINE)
                .matcher(get(instance, "/metrics").body());
        double sum = 0;
        while (matcher.find()) {
            sum += Double.parseDouble(matcher.group(1));
        }
        return sum;
    }

    /// What the processes have logged, for the description of what went wrong.
    String logs() {
        return instances.stream()
                .map(instance -> {
                    try {
                        return instance.name() + ":\n" + Files.readString(instance.log());
                    } catch (IOException e) {
                        throw new UncheckedIOException(e);
                    }
                })
                .collect(Collectors.joining("\n"));
    }

    static void kill(Instance instance) {
        instance.process().destroyForcibly();
        instance.process().onExit().join();
    }

    /// Waits until no request uses a block on any living engine, and checks that none is lost.
    void checkBlocks() {
        for (Instance instance : instances) {
            if (instance.engine() && instance.process().isAlive()) {
                Awaitility.await("blocks of " + instance.name())
                        .atMost(Duration.ofSeconds(30))
                        .untilAsserted(() -> {
                            Answer answer = get(instance, "/debug/integrity");
                            assertThat(answer.status()).as(answer.body()).isEqualTo(200);
                            JsonNode usage = answer.json();
                            assertThat(usage.path("in_use").asInt(-1))
                                    .as(answer.body())
                                    .isZero();
                            assertThat(usage.path("free").intValue()
                                            + usage.path("cached").intValue())
                                    .as(answer.body())
                                    .isEqualTo(usage.path("total").intValue())
                                    .isPositive();
                        });
            }
        }
    }

    @Override
    public void close() {
        try {
            checkBlocks();
        } finally {
            instances.forEach(instance -> instance.process().destroy());
            for (Instance instance : instances) {
                try {
                    if (!instance.process().waitFor(10, TimeUnit.SECONDS)) {
                        instance.process().destroyForcibly().waitFor();
                    }
                } catch (InterruptedException e) {
                    throw new IllegalStateException(e);
                }
            }
            client.close();
        }
    }
}
