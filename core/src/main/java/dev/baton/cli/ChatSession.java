package dev.baton.cli;

import dev.baton.http.HttpCall;
import dev.baton.http.HttpClient;
import dev.baton.http.HttpClientConfig;
import dev.baton.http.HttpClientRequest;
import dev.baton.http.HttpClientResponse;
import dev.baton.http.HttpException;
import dev.baton.http.HttpHeaders;
import dev.baton.http.HttpResponseListener;
import dev.baton.http.HttpRuntime;
import dev.baton.http.Json;
import dev.baton.openai.SseReader;
import java.io.ByteArrayOutputStream;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.Consumer;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/// A conversation with a model over `/v1/chat/completions`, streamed.
///
/// One thread asks; [#interrupt()] may be called from any.
final class ChatSession implements AutoCloseable {
    private static final Duration DEADLINE = Duration.ofMinutes(10);
    private static final int MAX_BODY_BYTES = 1 << 20;
    private static final Pattern CONTEXT_IS_FULL = Pattern.compile("context length", Pattern.CASE_INSENSITIVE);

    private final HttpRuntime runtime = HttpRuntime.start(1);
    private final HttpClient client = runtime.client(HttpClientConfig.defaults());
    private final AtomicReference<@Nullable HttpCall> current = new AtomicReference<>();
    private final ArrayNode messages = JsonNodeFactory.instance.arrayNode();
    private final String baseUrl;
    private final Settings settings;
    private final String model;

    /// What every request asks for.
    ///
    /// @param model empty: the server's first
    /// @param system said before the conversation
    /// @param apiKey what the server asks its clients for, if anything
    record Settings(
            Optional<String> model,
            Optional<String> system,
            Optional<Double> temperature,
            Optional<Integer> maxTokens,
            Optional<String> apiKey) {}

    /// How an answer ended.
    enum Ending {
        COMPLETE,
        INTERRUPTED
    }

    /// Finds the server's model.
    ///
    /// @throws CliException if the server cannot be reached
    ChatSession(String baseUrl, Settings settings) {
        this.baseUrl = baseUrl;
        this.settings = settings;
        try {
            this.model = settings.model().orElseGet(this::firstModel);
        } catch (RuntimeException e) {
            runtime.close();
            throw e;
        }
        clear();
    }

    String model() {
        return model;
    }

    /// Begins anew.
    void clear() {
        messages.removeAll();
        settings.system().ifPresent(text -> say("system", text));
    }

    /// Ends the answer that is under way.
    void interrupt() {
        HttpCall call = current.get();
        if (call != null) {
            call.cancel();
        }
    }

    /// Asks and passes the answer on as it comes. An interrupted answer stays in the conversation as far as it
    /// came; a question that failed does not.
    ///
    /// @param onText called on another thread
    /// @throws CliException if there is no (whole) answer
    Ending ask(String question, Consumer<String> onText) {
        say("user", question);
        Answer answer = new Answer(onText);
        HttpClientRequest request =
                HttpClientRequest.postJson(URI.create(baseUrl + "/v1/chat/completions"), body(), DEADLINE);
        current.set(client.send(withKey(request), answer));
        try {
            Ending ending = answer.ending.join();
            say("assistant", answer.text.toString());
            return ending;
        } catch (CompletionException e) {
            interrupt(); // what may still come is of no use
            messages.remove(messages.size() - 1);
            throw e.getCause() instanceof CliException said ? said : new CliException("The answer broke off.", e);
        } finally {
            current.set(null);
        }
    }

    @Override
    public void close() {
        runtime.close();
    }

    private void say(String role, String content) {
        messages.addObject().put("role", role).put("content", content);
    }

    private byte[] body() {
        ObjectNode body = JsonNodeFactory.instance.objectNode();
        body.put("model", model);
        body.set("messages", messages);
        body.put("stream", true);
        settings.temperature().ifPresent(value -> body.put("temperature", value));
        settings.maxTokens().ifPresent(value -> body.put("max_completion_tokens", value));
        return Json.bytes(body);
    }

    private HttpClientRequest withKey(HttpClientRequest request) {
        return settings.apiKey()
                .map(key -> request.withHeader("authorization", "Bearer " + key))
                .orElse(request);
    }

    private String firstModel() {
        try {
            HttpClientResponse answer = client.exchange(
                            withKey(HttpClientRequest.get(URI.create(baseUrl + "/v1/models"), Duration.ofSeconds(10))),
                            MAX_BODY_BYTES)
                    .join();
            if (answer.status() == 401) {
                throw new CliException("%s wants an API key: put it into OPENAI_API_KEY.".formatted(baseUrl));
            }
            String id =
                    Json.parse(answer.body()).path("data").path(0).path("id").asString("");
            if (!id.isEmpty()) {
                return id;
            }
        } catch (CompletionException e) {
            throw new CliException(
                    "Nothing answers at %s: start it with ./baton up, or pass --base-url.".formatted(baseUrl), e);
        } catch (Json.MalformedException e) {
            throw new CliException("%s/v1/models does not answer with JSON: %s".formatted(baseUrl, e.getMessage()), e);
        }
        throw new CliException("%s/v1/models names no model: pass --model.".formatted(baseUrl));
    }

    /// One answer under way; on the event loop.
    private static final class Answer implements HttpResponseListener {
        final CompletableFuture<Ending> ending = new CompletableFuture<>();
        final StringBuilder text = new StringBuilder();
        private final Consumer<String> onText;
        private final SseReader reader = new SseReader(this::onEvent);
        private final ByteArrayOutputStream refusal = new ByteArrayOutputStream();
        private int status;
        private boolean isWhole;

        Answer(Consumer<String> onText) {
            this.onText = onText;
        }

        @Override
        public void onHead(int newStatus, HttpHeaders headers) {
            status = newStatus;
        }

        @Override
        public void onBytes(byte[] bytes) {
            if (status != 200) {
                refusal.writeBytes(bytes);
                return;
            }
            try {
                reader.feed(bytes);
            } catch (RuntimeException e) {
                ending.completeExceptionally(new CliException("The answer cannot be read: " + e.getMessage(), e));
            }
        }

        private void onEvent(String data) {
            if (data.equals(SseReader.DONE)) {
                isWhole = true;
                return;
            }
            JsonNode event = Json.parse(data.getBytes(StandardCharsets.UTF_8));
            if (event.has("error")) {
                ending.completeExceptionally(new CliException("The answer broke off: "
                        + event.path("error").path("message").asString(data)));
                return;
            }
            String piece =
                    event.path("choices").path(0).path("delta").path("content").asString("");
            if (!piece.isEmpty()) {
                text.append(piece);
                onText.accept(piece);
            }
        }

        @Override
        public void onEnd() {
            if (status == 200 && isWhole) {
                ending.complete(Ending.COMPLETE);
            } else if (status == 200) {
                ending.completeExceptionally(new CliException("The answer broke off: it ended without [DONE]."));
            } else {
                ending.completeExceptionally(new CliException(explain(status, refusal.toByteArray())));
            }
        }

        /// A 400 speaks of the question, in words that stand alone; other statuses say more with their number.
        private static String explain(int status, byte[] body) {
            String said = errorMessage(body);
            String message = status == 400 && !said.isEmpty() ? said : "Refused with status " + status + ": " + said;
            return CONTEXT_IS_FULL.matcher(said).find()
                    ? message + System.lineSeparator() + "/new begins a new conversation."
                    : message;
        }

        private static String errorMessage(byte[] body) {
            String raw = new String(body, StandardCharsets.UTF_8).strip();
            try {
                return Json.parse(body).path("error").path("message").asString(raw);
            } catch (Json.MalformedException e) {
                return raw;
            }
        }

        @Override
        public void onFailure(HttpException failure) {
            if (failure.kind() == HttpException.Kind.CANCELLED) {
                ending.complete(Ending.INTERRUPTED);
            } else {
                ending.completeExceptionally(
                        new CliException("The answer broke off: " + failure.getMessage(), failure));
            }
        }
    }
}
