package dev.baton.bench;

import dev.baton.http.HttpException;
import dev.baton.http.HttpHeaders;
import dev.baton.http.HttpResponseListener;
import dev.baton.openai.SseReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.function.ToIntFunction;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/// Reads one streamed answer and notes when its chunks came. The clock is read once for each piece that arrives.
///
/// A chunk counts if it has a choice: the first gives TTFT, each further one an inter-token latency, the last
/// the end-to-end latency. Unlike `vllm bench serve`, a stream that ends with an error event has failed, also
/// if it brought text before.
///
/// Used on one event loop; the result may be awaited from anywhere.
final class StreamRecorder implements HttpResponseListener {
    private static final JsonMapper JSON = new JsonMapper();
    private static final double NANOS = 1e9;
    private static final int OK = 200;
    private static final int MAX_ERROR_BYTES = 4096;

    private final ToIntFunction<String> countTokens;
    private final long startNanos;
    private final double queueSeconds;
    private final CompletableFuture<RequestResult> result = new CompletableFuture<>();
    private final SseReader reader = new SseReader(this::onEvent);
    private final List<Double> itlSeconds = new ArrayList<>();
    private final StringBuilder text = new StringBuilder();
    private final StringBuilder error = new StringBuilder();
    private int status;
    private int promptTokens;
    private int outputTokens;
    private boolean hasChunk;
    private long pieceNanos;
    private long firstNanos;
    private long lastNanos;

    /// @param countTokens tokens of a text, for servers that do not report usage
    StreamRecorder(BenchRequest request, ToIntFunction<String> countTokens, long startNanos, double queueSeconds) {
        this.countTokens = countTokens;
        this.startNanos = startNanos;
        this.queueSeconds = queueSeconds;
        this.promptTokens = request.promptTokens();
    }

    /// Completes once the answer has ended, never exceptionally.
    CompletableFuture<RequestResult> result() {
        return result;
    }

    @Override
    public void onHead(int newStatus, HttpHeaders headers) {
        status = newStatus;
    }

    @Override
    public void onBytes(byte[] bytes) {
        pieceNanos = System.nanoTime();
        if (status == OK) {
            reader.feed(bytes);
        } else if (error.length() < MAX_ERROR_BYTES) {
            error.append(new String(bytes, StandardCharsets.UTF_8));
        }
    }

    private void onEvent(String data) {
        if (data.equals(SseReader.DONE)) {
            return;
        }
        JsonNode event;
        try {
            event = JSON.readTree(data);
        } catch (JacksonException e) {
            error.append("an event is not JSON: ").append(e.getOriginalMessage());
            return;
        }
        JsonNode choices = event.path("choices");
        if (!choices.isEmpty()) {
            onChunk(choices.get(0));
        } else if (event.path("usage").isObject()) {
            JsonNode usage = event.get("usage");
            promptTokens = usage.path("prompt_tokens").asInt(promptTokens);
            outputTokens = usage.path("completion_tokens").asInt(0);
        } else if (event.has("error")) {
            error.append(event.path("error").path("message").asString(data));
        }
    }

    private void onChunk(JsonNode choice) {
        if (hasChunk) {
            itlSeconds.add((pieceNanos - lastNanos) / NANOS);
        } else {
            hasChunk = true;
            firstNanos = pieceNanos;
        }
        lastNanos = pieceNanos;
        text.append(choice.path("text")
                .asString(choice.path("delta").path("content").asString("")));
    }

    @Override
    public void onEnd() {
        if (status != OK) {
            error.insert(0, "HTTP " + status + ": ");
        } else if (!hasChunk && error.isEmpty()) {
            error.append("the answer had no chunk with a choice");
        }
        finish();
    }

    @Override
    public void onFailure(HttpException failure) {
        error.append(failure.getMessage());
        finish();
    }

    private void finish() {
        boolean success = error.isEmpty();
        int output = 0;
        if (success) {
            output = outputTokens > 0 ? outputTokens : countTokens.applyAsInt(text.toString());
        }
        result.complete(new RequestResult(
                success,
                promptTokens,
                output,
                hasChunk ? (firstNanos - startNanos) / NANOS : 0,
                List.copyOf(itlSeconds),
                hasChunk ? (lastNanos - startNanos) / NANOS : 0,
                startNanos / NANOS,
                queueSeconds,
                text.toString(),
                error.toString()));
    }
}
