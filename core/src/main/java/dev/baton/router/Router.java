package dev.baton.router;

import dev.baton.discovery.EngineListener;
import dev.baton.http.HttpClient;
import dev.baton.http.HttpClientConfig;
import dev.baton.http.HttpClientRequest;
import dev.baton.http.HttpException;
import dev.baton.http.HttpExchange;
import dev.baton.http.HttpHandler;
import dev.baton.http.HttpHeaders;
import dev.baton.http.HttpRefusal;
import dev.baton.http.HttpRuntime;
import dev.baton.http.HttpServer;
import dev.baton.http.Json;
import dev.baton.http.WholeResponse;
import dev.baton.metrics.Metrics;
import dev.baton.router.backend.Mooncake;
import dev.baton.router.backend.MooncakeBootstraps;
import dev.baton.router.policy.AlwaysHandedOver;
import dev.baton.router.policy.EngineLoad;
import dev.baton.router.policy.FleetPolicy;
import dev.baton.router.policy.PushChoice;
import dev.baton.router.policy.RoutingPolicy;
import java.net.URI;
import java.time.Duration;
import java.util.Iterator;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.Set;
import java.util.function.Consumer;
import java.util.function.ToIntFunction;
import java.util.stream.Stream;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/// The OpenAI front of a fleet of prefillers and decoders: takes a request, runs it over both, answers with the
/// decoder's bytes.
///
/// Each request is done by the event loop of its connection, legs and all. Thread-safe. Closing it ends the
/// requests in flight.
public final class Router implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(Router.class);

    private static final int MAX_CONNECTIONS_PER_ENGINE = 16_384;

    /// Shorter than the 5 s after which vLLM's server closes an unused connection.
    private static final Duration KEEP_ALIVE = Duration.ofSeconds(4);

    /// Requests that may wait for a first token whatever the fleet's pace.
    private static final int LEAST_WAITING = 16;

    private static final int MAX_PASSED_BYTES = 64 << 20;
    private static final Set<String> GET_PATHS =
            Set.of("/v1/models", "/health", "/ready", "/ping", "/version", "/status", "/healthcheck", "/metrics");
    private static final Set<String> POST_PATHS = Set.of("/tokenize", "/detokenize", "/ping");

    private final HttpRuntime runtime;
    private final RouterContext context;
    private final EngineHealth health;
    private final Optional<PolicyEndpoints> policyEndpoints;
    private final Optional<MooncakeBootstraps> bootstraps;
    private final FleetEndpoints fleet;
    private final LoadShedder shedder;
    private final Refusals refusals;
    private final Generations generations;
    private final Optional<PairWarmUp> warmUp;
    private final HttpServer server;

    private Router(HttpRuntime runtime, RouterConfig config, RoutingPolicy policy, Consumer<String> ttftReport) {
        this.runtime = runtime;
        config.tracesEndpoint().ifPresent(to -> runtime.traceTo(to, "baton-router", this::nameOfLeg));
        HttpClient client = runtime.client(new HttpClientConfig(
                config.deadlines().connect(), KEEP_ALIVE, MAX_CONNECTIONS_PER_ENGINE, config.engineTls()));
        TtftStats ttft = new TtftStats();
        RouterMetrics metrics = new RouterMetrics(EngineHealth.fleetMetrics(config.health()));
        health = new EngineHealth(client, config, policy, metrics, ttft);
        EnginePool pool = new EnginePool(config.health(), health);
        metrics.watch(pool);
        bootstraps = config.backend() instanceof Mooncake
                ? Optional.of(new MooncakeBootstraps(pool, config.probeInterval()))
                : Optional.empty();
        fleet = new FleetEndpoints(
                config.fleet(),
                config.server().apiKeys(),
                config.engines(),
                pool,
                bootstraps.<EngineListener>map(b -> b).orElseGet(() -> new DescriptionCheck(config.backend(), pool)));
        HandoffObstacles obstacles = new HandoffObstacles();
        policyEndpoints = policy instanceof FleetPolicy switched
                ? Optional.of(new PolicyEndpoints(switched, obstacles, fleet::admits, fleet::admitsChange))
                : Optional.empty();
        RoutingPolicy routes = config.backend().decodersServeAlone() ? policy : new AlwaysHandedOver(policy);
        context = new RouterContext(
                config,
                pool,
                routes,
                new PushChoice(config.kvTransfer()),
                this::prefillersAnswer,
                config.announcements(),
                client,
                metrics,
                ttft,
                new AccessLog(config.accessLog()),
                obstacles);
        metrics.addKeys(config.server().apiKeys());
        shedder = new LoadShedder(config.maxQueueWait(), LEAST_WAITING, System.nanoTime());
        metrics.addShedder(shedder);
        refusals = new Refusals(context.accessLog());
        generations = new Generations(context, shedder);
        warmUp = config.warmUp() ? Optional.of(new PairWarmUp(runtime, context)) : Optional.empty();
        try {
            // Engines are probed as soon as they are known: not before it is sure that this router lives.
            server = runtime.serve(config.server(), new Requests());
            fleet.start();
        } catch (RuntimeException e) {
            closeSources();
            throw e;
        }
        runtime.every(LoadShedder.MEASURED_EACH, () -> shedder.measure(System.nanoTime()));
        health.start(runtime, pool, warmUp);
        if (!config.statsInterval().isZero()) {
            runtime.every(config.statsInterval(), () -> ttft.reportIfTraffic().ifPresent(ttftReport));
        }
    }

    /// What a leg's span is called.
    private String nameOfLeg(URI target) {
        boolean prefills = context.pool().prefillers().stream()
                .anyMatch(engine -> engine.uri(target.getPath()).equals(target));
        boolean decodes = context.pool().decoders().stream()
                .anyMatch(engine -> engine.uri(target.getPath()).equals(target));
        return prefills && decodes ? "leg" : prefills ? "prefill" : "decode";
    }

    /// Starts a router; TTFT statistics go to the log. Returns once it listens.
    ///
    /// @throws HttpException in one sentence, if it cannot listen
    public static Router start(RouterConfig config) {
        return start(config, LOG::info);
    }

    /// Starts a router. Returns once it listens; whether engines are up is seen from then on.
    ///
    /// @param ttftReport takes the report of TTFT statistics, a block of lines that begins with a line break and
    ///     ends without one; called on the event loop, each `statsInterval` in which there was traffic
    /// @throws HttpException in one sentence, if it cannot listen
    public static Router start(RouterConfig config, Consumer<String> ttftReport) {
        return start(config, new FleetPolicy(config.policy(), config.backend().prefillersServeAlone()), ttftReport);
    }

    static Router start(RouterConfig config, RoutingPolicy policy, Consumer<String> ttftReport) {
        HttpRuntime runtime = HttpRuntime.start(config.eventLoops());
        try {
            return new Router(runtime, config, policy, ttftReport);
        } catch (RuntimeException e) {
            runtime.close();
            throw e;
        }
    }

    /// The port it listens on.
    public int port() {
        return server.port();
    }

    /// Generation requests in flight.
    public int numInFlight() {
        return context.metrics().inFlight();
    }

    /// Connections of clients that are open.
    public int numConnections() {
        return server.numConnections();
    }

    /// Legs in flight on all engines.
    public int numLegs() {
        return sum(Upstream::inFlight);
    }

    /// Places on all engines that requests hold beside their legs.
    int numReserved() {
        return sum(Upstream::numReserved);
    }

    private int sum(ToIntFunction<Upstream> ofEngine) {
        EnginePool pool = context.pool();
        return Stream.concat(pool.all().stream(), pool.leaving().stream())
                .mapToInt(ofEngine)
                .sum();
    }

    /// Stops taking requests, lets those in flight end until `grace` is over, then ends what is left.
    public void stop(Duration grace) {
        try {
            server.stop(grace);
        } finally {
            warmUp.ifPresent(PairWarmUp::close);
            closeSources();
            health.close();
            runtime.close();
        }
    }

    private void closeSources() {
        fleet.close();
        bootstraps.ifPresent(MooncakeBootstraps::close);
        context.config().announcements().close();
    }

    /// Stops without grace.
    @Override
    public void close() {
        stop(Duration.ZERO);
    }

    private final class Requests implements HttpHandler {
        @Override
        public void handle(HttpExchange exchange) {
            refusals.guarded(exchange, () -> dispatch(exchange));
        }

        @Override
        public void refused(HttpRefusal refusal) {
            context.accessLog().refused(refusal);
        }
    }

    private void dispatch(HttpExchange exchange) {
        long startNanos = System.nanoTime();
        String path = exchange.path();
        Optional<Endpoint> endpoint = Endpoint.of(path);
        boolean get = exchange.method().equals("GET");
        boolean post = exchange.method().equals("POST");
        if (endpoint.isPresent() && post) {
            generations.generate(exchange, endpoint.get(), startNanos);
        } else if (get && GET_PATHS.contains(path)) {
            get(exchange, path);
        } else if (post && POST_PATHS.contains(path)) {
            if (path.equals("/ping")) {
                health(exchange);
            } else {
                passOn(exchange);
            }
        } else if (policyEndpoints.isPresent() && policyEndpoints.get().serves(path)) {
            logIfRefused(exchange);
            policyEndpoints.get().handle(exchange);
        } else if (fleet.serves(path)) {
            logIfRefused(exchange);
            fleet.handle(exchange);
        } else if (endpoint.isPresent() || GET_PATHS.contains(path) || POST_PATHS.contains(path)) {
            refusals.refuse(exchange, RouterErrors.METHOD_NOT_ALLOWED);
        } else {
            refusals.refuse(exchange, RouterErrors.NOT_FOUND);
        }
    }

    private void get(HttpExchange exchange, String path) {
        switch (path) {
            case "/v1/models" -> passOn(exchange);
            case "/ready" -> ready(exchange);
            case "/version" -> exchange.respondJson(200, version());
            case "/healthcheck" -> exchange.respondJson(200, Json.bytes(healthcheck()));
            case "/status" -> exchange.respondJson(200, Json.bytes(status()));
            case "/metrics" -> metrics(exchange);
            default -> health(exchange);
        }
    }

    /// With the engines' own, summed, unless `?engines=0` asks for the router's alone.
    private void metrics(HttpExchange exchange) {
        boolean withEngines = context.config().health().fleetMetrics()
                && !exchange.query("engines").equals(Optional.of("0"));
        HttpHeaders type = HttpHeaders.of("content-type", Metrics.CONTENT_TYPE);
        Runnable answer = () -> exchange.respond(200, type, context.metrics().text(withEngines));
        if (withEngines) {
            Thread.ofVirtual().name("baton-metrics").start(() -> refusals.guarded(exchange, answer));
        } else {
            answer.run();
        }
    }

    /// Others answer it.
    private void logIfRefused(HttpExchange exchange) {
        RequestId id = RequestId.from(exchange.header(RequestId.HEADER));
        exchange.onAnswer(status -> {
            if (status >= 400) {
                context.accessLog()
                        .refused(exchange, id, status, status == 401 ? "no such key was shown" : "its answer says why");
            }
        });
    }

    /// 200 while requests can be served: while a decoder is up, or a prefiller that may answer by itself.
    private void health(HttpExchange exchange) {
        exchange.respondEmpty(canServe() ? 200 : 503);
    }

    private boolean canServe() {
        return !context.pool().availableDecoders(Set.of()).isEmpty()
                || (prefillersAnswer()
                        && !context.pool().availablePrefillers(Set.of()).isEmpty());
    }

    private boolean prefillersAnswer() {
        return policyEndpoints.filter(PolicyEndpoints::prefillersAnswer).isPresent();
    }

    /// 200 once every engine is up, has all that hand-overs need of it, none is being warmed up, and one can
    /// answer; else 503 with those that are not or have not.
    private void ready(HttpExchange exchange) {
        ObjectNode answer = JsonNodeFactory.instance.objectNode();
        ArrayNode missing = answer.putArray("not_up");
        boolean complete = true;
        for (Upstream engine : context.pool().all()) {
            if (engine.state() != Upstream.State.UP) {
                missing.add(named(engine));
            }
            Optional<String> lack = context.config().backend().lacks(engine.info());
            if (lack.isPresent()) {
                complete = false;
                answer.withArray("cannot_hand_over").add(named(engine).put("reason", lack.get()));
            }
        }
        boolean warms = warmUp.filter(PairWarmUp::isUnderWay).isPresent();
        if (warms) {
            answer.put("warming_up", true);
        }
        exchange.respondJson(missing.isEmpty() && complete && !warms && canServe() ? 200 : 503, Json.bytes(answer));
    }

    private static ObjectNode named(Upstream engine) {
        return JsonNodeFactory.instance
                .objectNode()
                .put("role", engine.role().word())
                .put("address", engine.address().toString());
    }

    /// Sends a request as it is to the first engine that can be reached: any of them gives the same answer.
    private void passOn(HttpExchange exchange) {
        Iterator<Upstream> engines = context.pool().all().stream()
                .filter(engine -> engine.state() != Upstream.State.DOWN)
                .iterator();
        passOn(exchange, RequestId.from(exchange.header(RequestId.HEADER)), engines);
    }

    private void passOn(HttpExchange exchange, RequestId id, Iterator<Upstream> engines) {
        if (!engines.hasNext()) {
            refusals.refuse(exchange, id, RouterErrors.NO_ENGINE);
            return;
        }
        Upstream engine = engines.next();
        Duration deadline = context.config().deadlines().passThrough();
        HttpClientRequest call = new HttpClientRequest(
                exchange.method(),
                engine.uri(exchange.path()),
                ForwardedHeaders.toEngine(exchange, id.upstream(), context.config()),
                exchange.body(),
                deadline,
                deadline);
        Leg leg = Leg.start(
                context.client(),
                engine,
                call,
                new WholeResponse(
                        MAX_PASSED_BYTES,
                        answer -> exchange.respond(
                                answer.status(), ForwardedHeaders.toClient(answer.headers(), id), answer.body()),
                        failure -> notPassedOn(exchange, id, engines, engine, failure)),
                bug -> refusals.crashed(exchange, id, bug));
        exchange.onGone(gone -> leg.cancel());
    }

    private void notPassedOn(
            HttpExchange exchange, RequestId id, Iterator<Upstream> engines, Upstream engine, HttpException failure) {
        switch (failure.kind()) {
            case CONNECT -> {
                engine.refused(failure);
                passOn(exchange, id, engines);
            }
            case CLOSED -> passOn(exchange, id, engines);
            case TIMEOUT -> refusals.refuse(exchange, id, RouterErrors.ANSWER_LATE);
            case CANCELLED -> LOG.debug("{}: the client is gone", exchange.path());
            case TOO_LARGE, PROTOCOL, BIND -> refusals.refuse(exchange, id, RouterErrors.ANSWER_UNUSABLE);
        }
    }

    private static byte[] version() {
        ObjectNode version = JsonNodeFactory.instance.objectNode();
        String own = Router.class.getPackage().getImplementationVersion();
        version.put("version", own == null ? "development" : own);
        return Json.bytes(version);
    }

    /// In the form of vLLM's `toy_proxy_server.py`.
    private ObjectNode healthcheck() {
        return JsonNodeFactory.instance
                .objectNode()
                .put("status", "ok")
                .put("prefill_instances", context.pool().prefillers().size())
                .put("decode_instances", context.pool().decoders().size());
    }

    private ObjectNode status() {
        ObjectNode status = JsonNodeFactory.instance.objectNode();
        status.put("requests_in_flight", context.metrics().inFlight());
        status.put("client_connections", server.numConnections());
        policyEndpoints.ifPresent(policies -> status.put("mode", policies.modeWord()));
        ArrayNode prefillers = status.putArray("prefillers");
        for (Upstream engine : context.pool().prefillers()) {
            ttft(describe(prefillers.addObject(), engine), context.ttft().ofPrefiller(engine.prefillerIndex()));
        }
        ArrayNode decoders = status.putArray("decoders");
        for (Upstream engine : context.pool().decoders()) {
            ttft(describe(decoders.addObject(), engine), context.ttft().ofDecoder(engine.decoderIndex()));
        }
        addNodes(status, "prefill", context.pool().prefillers());
        addNodes(status, "decode", context.pool().decoders());
        return status;
    }

    /// In the form of vLLM's `disagg_proxy_demo.py`.
    private static void addNodes(ObjectNode status, String role, List<Upstream> engines) {
        status.put(role + "_node_count", engines.size());
        ArrayNode nodes = status.putArray(role + "_nodes");
        engines.forEach(engine -> nodes.add(engine.address().toString()));
    }

    private static void ttft(ObjectNode engine, Optional<TtftStats.Summary> times) {
        times.ifPresent(summary -> {
            ObjectNode ttft = engine.putObject("ttft_ms");
            ttft.put("average", summary.averageMillis());
            ttft.put("median", summary.medianMillis());
            ttft.put("p99", summary.p99Millis());
        });
    }

    private static ObjectNode describe(ObjectNode node, Upstream engine) {
        node.put("address", engine.address().toString());
        node.put("state", engine.state().name().toLowerCase(Locale.ROOT));
        node.put("reason", engine.why());
        node.put("circuit", engine.circuit().name().toLowerCase(Locale.ROOT));
        node.put("draining", engine.draining());
        node.put("drained", engine.drained());
        node.put("weight", engine.weight());
        node.put("requests_in_flight", engine.inFlight());
        node.put("requests", engine.requests());
        node.put("failures", engine.failures());
        EngineLoad load = engine.load();
        if (load.known()) {
            ObjectNode said = node.putObject("load");
            said.put("running", load.running());
            said.put("waiting", load.waiting());
            said.put("kv_cache_usage", load.kvCacheUsage());
        }
        return node;
    }
}
