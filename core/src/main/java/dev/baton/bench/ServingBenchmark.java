package dev.baton.bench;

import dev.baton.http.HttpClient;
import dev.baton.http.HttpClientConfig;
import dev.baton.http.HttpClientRequest;
import dev.baton.http.HttpClientResponse;
import dev.baton.http.HttpHeaders;
import dev.baton.http.HttpRuntime;
import java.net.URI;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.SplittableRandom;
import java.util.concurrent.CompletionException;
import java.util.concurrent.Semaphore;
import java.util.function.ToIntFunction;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/// Sends requests to an OpenAI server at chosen times and measures the streamed answers.
///
/// Thread-safe, but two runs at a time disturb each other.
public final class ServingBenchmark implements AutoCloseable {
    private static final JsonMapper JSON = new JsonMapper();
    private static final Duration REQUEST_DEADLINE = Duration.ofHours(6);
    private static final Duration LOOKUP_DEADLINE = Duration.ofSeconds(10);
    private static final int MAX_LOOKUP_BYTES = 1 << 20;
    private static final int MAX_CONNECTIONS = 1 << 16;
    private static final double NANOS = 1e9;

    private final HttpRuntime runtime;
    private final HttpClient client;

    /// Where and how to send.
    ///
    /// @param target the whole address, for example `http://127.0.0.1:9000/v1/completions`
    /// @param model sent as `model`
    /// @param sampling further members of the body
    /// @param requestIdPrefix with the request's number the header `x-request-id`
    /// @param apiKey sent as bearer token
    /// @param maxConcurrency most requests under way at a time
    /// @param countTokens tokens of a text, for servers that do not report usage
    public record Plan(
            URI target,
            Endpoint endpoint,
            String model,
            boolean ignoreEos,
            Map<String, Double> sampling,
            String requestIdPrefix,
            Optional<String> apiKey,
            ArrivalProcess arrivals,
            OptionalInt maxConcurrency,
            ToIntFunction<String> countTokens) {}

    /// What a run brought.
    ///
    /// @param results one a request, in the order of sending
    public record Run(List<RequestResult> results, double durationSeconds) {}

    /// A model as `/v1/models` names it.
    ///
    /// @param root what the server loaded it from
    public record ServedModel(String id, String root) {}

    public ServingBenchmark() {
        runtime = HttpRuntime.start(Math.max(1, Runtime.getRuntime().availableProcessors() / 2));
        client = runtime.client(new HttpClientConfig(Duration.ofSeconds(10), Duration.ofSeconds(60), MAX_CONNECTIONS));
    }

    /// Asks a server for its first model.
    ///
    /// @param apiKey what the server asks its clients for, if anything
    /// @throws BenchException if it cannot be reached or names none
    public ServedModel firstModel(String baseUrl, Optional<String> apiKey) {
        URI uri = URI.create(baseUrl + "/v1/models");
        HttpClientResponse response;
        try {
            HttpClientRequest request = HttpClientRequest.get(uri, LOOKUP_DEADLINE);
            response = client.exchange(
                            apiKey.map(key -> request.withHeader("authorization", "Bearer " + key))
                                    .orElse(request),
                            MAX_LOOKUP_BYTES)
                    .join();
        } catch (CompletionException e) {
            throw new BenchException(
                    "%s cannot be reached: start a server or pass --base-url or --port. (%s)"
                            .formatted(
                                    baseUrl,
                                    e.getCause() == null
                                            ? e.getMessage()
                                            : e.getCause().getMessage()),
                    e);
        }
        if (response.status() == 401) {
            throw new BenchException("%s wants an API key: put it into OPENAI_API_KEY.".formatted(baseUrl));
        }
        JsonNode first = response.status() == 200
                ? JSON.readTree(response.body()).path("data").path(0)
                : JSON.nullNode();
        String id = first.path("id").asString("");
        if (id.isEmpty()) {
            throw new BenchException(
                    "%s answered %d and names no model: pass --model.".formatted(uri, response.status()));
        }
        return new ServedModel(id, first.path("root").asString(id));
    }

    /// Sends the first request `count` times and waits for the answers, so that the server is warm.
    public void warmUp(Plan plan, BenchRequest request, int count, Runnable onCompleted) throws InterruptedException {
        Plan atOnce = new Plan(
                plan.target(),
                plan.endpoint(),
                plan.model(),
                plan.ignoreEos(),
                plan.sampling(),
                plan.requestIdPrefix() + "warmup-",
                plan.apiKey(),
                new ArrivalProcess(Double.POSITIVE_INFINITY, 1),
                plan.maxConcurrency(),
                plan.countTokens());
        run(atOnce, Collections.nCopies(count, request), 0, onCompleted);
    }

    /// Sends every request at its time and waits for every answer.
    ///
    /// @param seed of the arrival times
    /// @param onCompleted called after each answer, from any thread
    public Run run(Plan plan, List<BenchRequest> requests, long seed, Runnable onCompleted)
            throws InterruptedException {
        double[] times = plan.arrivals().timesSeconds(requests.size(), new SplittableRandom(seed));
        Optional<Semaphore> permits = plan.maxConcurrency().isPresent()
                ? Optional.of(new Semaphore(plan.maxConcurrency().getAsInt(), true))
                : Optional.empty();
        List<Sending> sendings = new ArrayList<>(requests.size());
        for (int i = 0; i < requests.size(); i++) {
            sendings.add(new Sending(plan, requests.get(i), i, permits, onCompleted));
        }
        long start = System.nanoTime();
        List<Thread> threads = new ArrayList<>(requests.size());
        try {
            for (int i = 0; i < requests.size(); i++) {
                long wait = start + (long) (times[i] * NANOS) - System.nanoTime();
                if (wait > 0) {
                    Thread.sleep(Duration.ofNanos(wait));
                }
                Sending sending = sendings.get(i);
                sending.arrivalNanos = System.nanoTime();
                threads.add(Thread.ofVirtual().start(sending));
            }
            for (Thread thread : threads) {
                thread.join();
            }
        } catch (InterruptedException e) {
            threads.forEach(Thread::interrupt);
            throw e;
        }
        double duration = (System.nanoTime() - start) / NANOS;
        return new Run(
                sendings.stream().map(sending -> sending.result.orElseThrow()).toList(), duration);
    }

    @Override
    public void close() {
        runtime.close();
    }

    /// One request on its way, on a virtual thread of its own.
    private final class Sending implements Runnable {
        private final Plan plan;
        private final BenchRequest request;
        private final int number;
        private final Optional<Semaphore> permits;
        private final Runnable onCompleted;
        private final byte[] body;
        private long arrivalNanos;
        private Optional<RequestResult> result = Optional.empty();

        private Sending(
                Plan plan, BenchRequest request, int number, Optional<Semaphore> permits, Runnable onCompleted) {
            this.plan = plan;
            this.request = request;
            this.number = number;
            this.permits = permits;
            this.onCompleted = onCompleted;
            this.body = JSON.writeValueAsBytes(
                    plan.endpoint().body(plan.model(), request, plan.ignoreEos(), plan.sampling()));
        }

        @Override
        public void run() {
            try {
                if (permits.isPresent()) {
                    permits.get().acquire();
                }
                try {
                    result = Optional.of(send());
                } finally {
                    permits.ifPresent(Semaphore::release);
                }
                onCompleted.run();
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
        }

        private RequestResult send() {
            HttpHeaders headers = HttpHeaders.of("content-type", "application/json")
                    .with("x-request-id", plan.requestIdPrefix() + number);
            if (plan.apiKey().isPresent()) {
                headers =
                        headers.with("authorization", "Bearer " + plan.apiKey().get());
            }
            HttpClientRequest post =
                    new HttpClientRequest("POST", plan.target(), headers, body, REQUEST_DEADLINE, REQUEST_DEADLINE);
            long start = System.nanoTime();
            StreamRecorder recorder =
                    new StreamRecorder(request, plan.countTokens(), start, (start - arrivalNanos) / NANOS);
            client.send(post, recorder);
            return recorder.result().join();
        }
    }
}
