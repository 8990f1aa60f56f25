package dev.baton.serving;

import dev.baton.engine.BlockUsage;
import dev.baton.engine.Engine;
import dev.baton.engine.EngineException;
import dev.baton.http.HttpException;
import dev.baton.http.HttpExchange;
import dev.baton.http.HttpHeaders;
import dev.baton.http.HttpRuntime;
import dev.baton.http.HttpServer;
import dev.baton.http.Json;
import dev.baton.metrics.Metrics;
import dev.baton.openai.AbortRequests;
import dev.baton.openai.ApiError;
import dev.baton.openai.ApiException;
import dev.baton.openai.ChatCompletionRequest;
import dev.baton.openai.ChatInput;
import dev.baton.openai.CompletionRequest;
import dev.baton.openai.Continuation;
import dev.baton.openai.DetokenizeRequest;
import dev.baton.openai.GenerationOptions;
import dev.baton.openai.KvPeerNotice;
import dev.baton.openai.ModelList;
import dev.baton.openai.OutputOptions;
import dev.baton.openai.RequestIds;
import dev.baton.openai.ResponseHead;
import dev.baton.openai.TokenIds;
import dev.baton.openai.TokenizeRequest;
import dev.baton.tokenizer.Tokenizer;
import dev.baton.transfer.KvPeer;
import dev.baton.transfer.KvTransferParams;
import dev.baton.transfer.RemotePrefill;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.Consumer;
import java.util.function.Function;
import java.util.function.Supplier;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import tools.jackson.databind.JsonNode;

/// The OpenAI server of one instance: endpoints, request flow, and what is measured on the way.
///
/// Bodies are parsed and tokenised on virtual threads, answers are written on event loops; the engine's thread only
/// hands its outputs over. Thread-safe. Does not own the engine and the tokenizer: they are closed after it.
public final class EngineServer implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(EngineServer.class);
    private static final int EVENT_LOOPS = 1;
    private static final String REQUEST_ID = "x-request-id";
    private static final String PEER_HEADER = "x-kv-peer";
    private static final Duration REGISTRY_SWEEP = Duration.ofSeconds(1);

    /// An engine that hangs must not keep a question of a developer, and with it the server's stop, for ever.
    private static final Duration ENGINE_ANSWER_DEADLINE = Duration.ofSeconds(10);

    private final EngineServerConfig config;
    private final Engine engine;
    private final Tokenizer tokenizer;
    private final Prompts prompts;
    private final AdmissionControl admission;
    private final RequestRegistry registry;
    private final ServingMetrics metrics;
    private final ServingContext context;
    private final String fingerprint;
    private final long createdSeconds = System.currentTimeMillis() / 1000;
    private final ExecutorService workers = Executors.newVirtualThreadPerTaskExecutor();
    private final Map<String, Map<String, Consumer<HttpExchange>>> routes = new HashMap<>();
    private final HttpRuntime runtime;
    private final HttpServer server;
    private final AutoCloseable statsTimer;
    private final AutoCloseable registryTimer;
    private final AutoCloseable keepAliveTimer;
    private final Set<RequestStream> keptAlive = ConcurrentHashMap.newKeySet();

    private EngineServer(EngineServerConfig config, Engine engine, Tokenizer tokenizer) {
        this.config = config;
        this.engine = engine;
        this.tokenizer = tokenizer;
        int maxModelLen = engine.config().maxModelLen();
        this.prompts = new Prompts(tokenizer, maxModelLen, config.vocabSize());
        Constraints constraints = new Constraints(tokenizer, config.vocabSize(), engine.eosTokenIds());
        Sampling sampling =
                new Sampling(tokenizer, maxModelLen, config.vocabSize(), config.defaultSampling(), constraints);
        this.admission = new AdmissionControl(config.maxInFlight());
        this.registry = new RequestRegistry(engine::isKnown);
        this.metrics = new ServingMetrics(config.modelName(), engine);
        this.context = new ServingContext(
                engine,
                tokenizer,
                prompts,
                sampling,
                registry,
                metrics,
                UsageCounter.of(config.enablePromptTokensDetails(), engine.config()),
                new Streaming(config.enableForceIncludeUsage(), config.sseKeepAliveInterval()));
        this.fingerprint = "baton-" + config.version() + "-"
                + String.format(Locale.ROOT, "%08x", engine.describe().hashCode());
        addRoutes();
        this.runtime = HttpRuntime.start(EVENT_LOOPS);
        config.tracesEndpoint().ifPresent(to -> runtime.traceTo(to, "baton-engine", target -> "call"));
        try {
            this.server = runtime.serve(config.http(), this::handle);
        } catch (HttpException e) {
            runtime.close();
            throw e;
        }
        StatsLog stats = new StatsLog(
                engine.stats(), System.nanoTime(), engine.config().kvTransfer().isPresent());
        this.statsTimer = config.logStats()
                ? runtime.every(
                        config.logStatsInterval(),
                        () -> stats.line(engine.stats(), System.nanoTime()).ifPresent(LOG::info))
                : () -> {};
        this.registryTimer = runtime.every(REGISTRY_SWEEP, registry::forgetReleased);
        this.keepAliveTimer = config.sseKeepAliveInterval()
                .map(interval -> runtime.every(
                        Duration.ofMillis(Math.max(1, interval.toMillis() / 2)),
                        () -> keptAlive.forEach(RequestStream::keepAlive)))
                .orElse(() -> {});
    }

    /// Starts to serve; returns once the port is bound.
    ///
    /// @throws HttpException of kind `BIND`, in one sentence, if it cannot be
    public static EngineServer start(EngineServerConfig config, Engine engine, Tokenizer tokenizer) {
        return new EngineServer(config, engine, tokenizer);
    }

    /// The port that is bound, also if any free one was asked for.
    public int port() {
        return server.port();
    }

    /// Stops taking requests, lets those in flight end until `grace` is over, then closes.
    public void stop(Duration grace) {
        try {
            statsTimer.close();
            registryTimer.close();
            keepAliveTimer.close();
            server.stop(grace);
        } catch (HttpException e) {
            LOG.warn("{}", e.getMessage());
        } catch (Exception e) {
            throw new IllegalStateException("the timer could not be stopped", e);
        } finally {
            workers.close();
            runtime.close();
        }
    }

    /// Stops without grace.
    @Override
    public void close() {
        stop(Duration.ZERO);
    }

    private void addRoutes() {
        route("GET", "/health", this::health);
        route("GET", "/ping", this::health);
        route("POST", "/ping", this::health);
        route(
                "GET",
                "/version",
                exchange -> exchange.respondJson(200, Json.bytes(Map.of("version", config.version()))));
        route(
                "GET",
                "/load",
                exchange -> exchange.respondJson(200, Json.bytes(Map.of("server_load", admission.inFlight()))));
        route(
                "GET",
                "/metrics",
                exchange ->
                        exchange.respond(200, HttpHeaders.of("content-type", Metrics.CONTENT_TYPE), metrics.text()));
        route("GET", "/v1/models", this::models);
        route("POST", "/v1/completions", exchange -> work(exchange, this::completion));
        route("POST", "/v1/chat/completions", exchange -> work(exchange, this::chatCompletion));
        route("POST", "/tokenize", exchange -> work(exchange, this::tokenize));
        route("POST", "/detokenize", exchange -> work(exchange, this::detokenize));
        route("POST", "/abort_requests", exchange -> work(exchange, this::abortRequests));
        route("POST", "/kv_peers", exchange -> work(exchange, this::kvPeers));
        if (config.devMode()) {
            route("POST", "/reset_prefix_cache", this::resetPrefixCache);
            route("GET", "/debug/integrity", this::integrity);
        }
    }

    private void route(String method, String path, Consumer<HttpExchange> handler) {
        routes.computeIfAbsent(path, p -> new HashMap<>()).put(method, handler);
    }

    private void handle(HttpExchange exchange) {
        if (config.enableRequestIdHeaders()) {
            exchange.setResponseHeader(REQUEST_ID, clientsRequestId(exchange).orElseGet(EngineServer::newRequestId));
        }
        Map<String, Consumer<HttpExchange>> methods = routes.get(exchange.path());
        metrics.http().follow(exchange, methods != null);
        if (methods == null) {
            exchange.respondJson(404, Json.bytes(Map.of("detail", "Not Found")));
            return;
        }
        Consumer<HttpExchange> handler = methods.get(exchange.method());
        if (handler == null) {
            exchange.respondJson(405, Json.bytes(Map.of("detail", "Method Not Allowed")));
            return;
        }
        handler.accept(exchange);
    }

    /// What is done with a body of JSON, off the event loop.
    @FunctionalInterface
    private interface Work {
        void run(HttpExchange exchange, JsonNode body);
    }

    private void work(HttpExchange exchange, Work work) {
        String type =
                exchange.header("content-type").orElse("").split(";", 2)[0].strip();
        if (!type.equalsIgnoreCase("application/json")) {
            ErrorAnswers.send(exchange, ApiError.unsupportedMediaType());
            return;
        }
        if (exchange.body().length == 0) {
            ErrorAnswers.send(exchange, ApiError.missingBody());
            return;
        }
        inBackground(exchange, () -> work.run(exchange, TokenIds.parse(exchange.body(), Json::parse)));
    }

    private void inBackground(HttpExchange exchange, Runnable task) {
        try {
            workers.execute(() -> guarded(exchange, task));
        } catch (RejectedExecutionException e) {
            ErrorAnswers.send(exchange, ApiError.unavailable("The server is shutting down."));
        }
    }

    /// Answers what goes wrong in a task with the status that belongs to it.
    private static void guarded(HttpExchange exchange, Runnable task) {
        try {
            task.run();
        } catch (ApiException e) {
            ErrorAnswers.send(exchange, e.error());
        } catch (Json.MalformedException e) {
            ErrorAnswers.send(exchange, ApiError.invalidJson(e.offsetBytes(), String.valueOf(e.getMessage())));
        } catch (RuntimeException | Error e) {
            LOG.error("{} {} failed", exchange.method(), exchange.path(), e);
            ErrorAnswers.send(exchange, ApiError.internal("Internal server error"));
        }
    }

    private void health(HttpExchange exchange) {
        HttpHeaders peer = engine.kvPeer().map(EngineServer::peerHeader).orElseGet(HttpHeaders::none);
        exchange.respond(engine.isHealthy() ? 200 : 503, peer, new byte[0]);
    }

    /// What a router passes on to other engines.
    private static HttpHeaders peerHeader(KvPeer peer) {
        byte[] json = Json.bytes(Map.of(
                "remote_engine_id",
                peer.engineId(),
                "remote_host",
                peer.host(),
                "remote_port",
                peer.port(),
                RemotePrefill.PUSHES,
                peer.pushes()));
        return HttpHeaders.of(PEER_HEADER, new String(json, StandardCharsets.UTF_8));
    }

    /// Another instance is there, whose blocks will be fetched: the connector connects before a request has to
    /// wait.
    private void kvPeers(HttpExchange exchange, JsonNode body) {
        KvPeerNotice notice = KvPeerNotice.parse(body);
        engine.connect(new KvPeer(notice.engineId(), notice.host(), notice.port(), false));
        exchange.respondEmpty(200);
    }

    private void models(HttpExchange exchange) {
        exchange.respondJson(
                200,
                ModelList.of(config.servedModelNames(), config.modelRoot(), prompts.maxModelLen(), createdSeconds));
    }

    private void requireModel(Optional<String> model) {
        if (model.isPresent()
                && !model.get().isEmpty()
                && !config.servedModelNames().contains(model.get())) {
            throw new ApiException(ApiError.unknownModel(model.get(), String.join(", ", config.servedModelNames())));
        }
    }

    private void completion(HttpExchange exchange, JsonNode body) {
        KvTransferParams kv = handOff(body);
        RequestStream stream = prepare(kv, () -> {
            CompletionRequest request = CompletionRequest.parse(body);
            requireModel(request.model());
            requireWholeAnswer(kv, request.options());
            int sequences = request.prompts().size() * request.options().n();
            return admitted(sequences, leave -> {
                List<EncodedPrompt> encoded = new ArrayList<>(request.prompts().size());
                request.prompts().forEach(prompt -> encoded.add(prompts.encode(prompt, request.options())));
                return stream(exchange, body, request.options(), new ResponseFormat.Completion(), encoded, leave);
            });
        });
        stream.submit(kv);
    }

    private void chatCompletion(HttpExchange exchange, JsonNode body) {
        KvTransferParams kv = handOff(body);
        RequestStream stream = prepare(kv, () -> {
            ChatCompletionRequest request = ChatCompletionRequest.parse(body);
            requireModel(request.model());
            requireWholeAnswer(kv, request.options());
            Optional<ToolUse> tools = ToolUse.of(request.tools(), config.toolFormat());
            GenerationOptions options =
                    tools.map(use -> use.adjust(request.options())).orElse(request.options());
            return admitted(options.n(), leave -> {
                ChatInput chat = request.chat();
                OutputOptions output = options.output();
                String role = chat.addGenerationPrompt() ? config.responseRole() : chat.lastRole();
                String echo = output.echo() && role.equals(chat.lastRole()) ? chat.lastContent() : "";
                EncodedPrompt encoded = prompts.encode(chat, echo, options);
                Optional<String> shown = output.returnPromptText() ? Optional.of(prompts.text(chat)) : Optional.empty();
                ResponseFormat format = new ResponseFormat.Chat(role, shown, tools);
                return stream(exchange, body, options, format, List.of(encoded), leave);
            });
        });
        stream.submit(kv);
    }

    private KvTransferParams handOff(JsonNode body) {
        return engine.config().kvTransfer().isPresent() ? KvParams.parse(body) : KvTransferParams.NONE;
    }

    /// Makes a request ready for the engine. One that is refused for what it is lets go of the blocks that a
    /// prefiller holds for it; one that is refused for the moment does not, so that another try may use them.
    private RequestStream prepare(KvTransferParams kv, Supplier<RequestStream> preparation) {
        try {
            return preparation.get();
        } catch (ApiException e) {
            if (e.error().status() < 500) {
                engine.releaseRemote(kv);
            }
            throw e;
        } catch (IllegalArgumentException e) {
            engine.releaseRemote(kv);
            throw new ApiException(ApiError.badRequest(String.valueOf(e.getMessage())));
        }
    }

    /// What a decoder needs stands in a whole answer only: in a stream nobody would hear of the blocks that are
    /// kept.
    private static void requireWholeAnswer(KvTransferParams kv, GenerationOptions options) {
        if (options.output().stream() && kv.doRemoteDecode()) {
            throw new ApiException(ApiError.badRequest(
                    "stream must be false with kv_transfer_params.do_remote_decode: a streamed answer cannot carry"
                            + " the kv_transfer_params for the decoder.",
                    "stream"));
        }
    }

    /// A step that begins with room for its sequences, and on success passes on the duty to give it back.
    private RequestStream admitted(int sequences, Function<Runnable, RequestStream> preparation) {
        try {
            admission.enter(sequences);
        } catch (ApiException e) {
            if (e.error().status() >= 500) { // not one that could never fit
                metrics.rejected(EngineException.QueueFull.Limit.REQUESTS);
            }
            throw e;
        }
        Runnable leave = () -> admission.leave(sequences);
        try {
            return preparation.apply(leave);
        } catch (RuntimeException | Error e) {
            leave.run();
            throw e;
        }
    }

    private RequestStream stream(
            HttpExchange exchange,
            JsonNode body,
            GenerationOptions asked,
            ResponseFormat format,
            List<EncodedPrompt> encoded,
            Runnable whenOver) {
        Continuity continuity = Continuity.of(exchange, body, asked, encoded.size() * asked.n());
        GenerationOptions options = continuity.withSeed(asked);
        String requestId = requestId(exchange, options);
        if (config.enableRequestIdHeaders()) {
            exchange.setResponseHeader(REQUEST_ID, requestId);
        }
        ResponseHead head = new ResponseHead(
                continuity
                        .from()
                        .map(Continuation::id)
                        .filter(id -> !id.isEmpty())
                        .orElse(format.idPrefix() + requestId),
                continuity.from().map(Continuation::created).orElse(System.currentTimeMillis() / 1000),
                config.modelName(),
                fingerprint);
        Generation generation =
                new Generation(requestId, options, format, priority(exchange, options), head, encoded, continuity);
        RequestStream stream = new RequestStream(context, exchange, generation, whenOver);
        metrics.accepted(options);
        if (options.output().stream() && config.sseKeepAliveInterval().isPresent()) {
            keptAlive.add(stream);
            stream.whenOver(() -> keptAlive.remove(stream));
        }
        return stream;
    }

    /// The header counts before the body's field; one that is no number counts as none, as in vLLM.
    private static int priority(HttpExchange exchange, GenerationOptions options) {
        Optional<String> header = exchange.header("x-vllm-priority");
        try {
            return header.isPresent() ? Integer.parseInt(header.get().strip()) : options.priority();
        } catch (NumberFormatException e) {
            return options.priority();
        }
    }

    /// The client's id if it is fit to be repeated, the header before the body's field; else a new one.
    private static String requestId(HttpExchange exchange, GenerationOptions options) {
        return clientsRequestId(exchange).or(options::requestId).orElseGet(EngineServer::newRequestId);
    }

    private static Optional<String> clientsRequestId(HttpExchange exchange) {
        return exchange.header(REQUEST_ID).filter(RequestIds::isUsable);
    }

    private static String newRequestId() {
        return UUID.randomUUID().toString().replace("-", "");
    }

    private void tokenize(HttpExchange exchange, JsonNode body) {
        TokenizeRequest request = TokenizeRequest.parse(body);
        requireModel(request.model());
        int[] tokens = switch (request.input()) {
            case TokenizeRequest.Input.Text(String given) -> tokenizer.encode(given, request.addSpecialTokens());
            case TokenizeRequest.Input.Conversation(var chat) -> prompts.encode(chat, request.addSpecialTokens());
        };
        Optional<String[]> texts = Optional.empty();
        if (request.returnTokenStrs()) {
            String[] strings = new String[tokens.length];
            for (int i = 0; i < tokens.length; i++) {
                strings[i] = tokenizer.tokenPiece(tokens[i]);
            }
            texts = Optional.of(strings);
        }
        exchange.respondJson(200, TokenizeRequest.answer(tokens, prompts.maxModelLen(), texts));
    }

    private void detokenize(HttpExchange exchange, JsonNode body) {
        DetokenizeRequest request = DetokenizeRequest.parse(body);
        requireModel(request.model());
        int[] ids = prompts.requireInVocabulary(request.tokens());
        exchange.respondJson(200, DetokenizeRequest.answer(tokenizer.decode(ids, false)));
    }

    /// Ends the requests with these ids, also those whose blocks are held for a decoder.
    private void abortRequests(HttpExchange exchange, JsonNode body) {
        for (String id : AbortRequests.parse(body).requestIds()) {
            String bare = id.startsWith("chatcmpl-") ? id.substring(9) : id.startsWith("cmpl-") ? id.substring(5) : id;
            List<String> engineIds = new ArrayList<>(registry.engineIds(id));
            if (!bare.equals(id)) {
                engineIds.addAll(registry.engineIds(bare));
            }
            engineIds.forEach(engine::abort);
        }
        exchange.respondEmpty(200);
    }

    /// Answers 200 whatever came of it, as vLLM does; the log tells.
    private void resetPrefixCache(HttpExchange exchange) {
        inBackground(exchange, () -> {
            try {
                if (!inTime(engine.resetPrefixCache())) {
                    LOG.warn("the prefix cache was not reset: requests are running");
                }
            } catch (CompletionException e) {
                LOG.warn("the prefix cache was not reset: {}", reason(e));
            }
            exchange.respondEmpty(200);
        });
    }

    private void integrity(HttpExchange exchange) {
        inBackground(exchange, () -> {
            try {
                BlockUsage usage = inTime(engine.checkIntegrity());
                exchange.respondJson(
                        200,
                        Json.bytes(Map.of(
                                "free", usage.free(),
                                "cached", usage.cached(),
                                "in_use", usage.inUse(),
                                "total", usage.total())));
            } catch (CompletionException e) {
                ErrorAnswers.send(exchange, ApiError.internal(reason(e)));
            }
        });
    }

    /// @throws CompletionException also if the engine does not answer in time
    private static <T> T inTime(CompletableFuture<T> answer) {
        return answer.orTimeout(ENGINE_ANSWER_DEADLINE.toSeconds(), TimeUnit.SECONDS)
                .join();
    }

    private static String reason(CompletionException failure) {
        if (failure.getCause() instanceof TimeoutException) {
            return "the engine has not answered within " + ENGINE_ANSWER_DEADLINE.toSeconds() + " s";
        }
        return String.valueOf(failure.getCause() == null ? failure : failure.getCause());
    }
}
