package dev.baton.router;

import dev.baton.discovery.CompositeSource;
import dev.baton.discovery.DiscoveryException;
import dev.baton.discovery.EngineAddress;
import dev.baton.discovery.EngineInfo;
import dev.baton.discovery.EngineJson;
import dev.baton.discovery.EngineListener;
import dev.baton.discovery.EngineRole;
import dev.baton.discovery.EngineSource;
import dev.baton.discovery.FleetOverrides;
import dev.baton.discovery.Registrations;
import dev.baton.http.ApiKeys;
import dev.baton.http.HttpExchange;
import dev.baton.http.Json;
import dev.baton.openai.ApiError;
import dev.baton.openai.ApiException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.Set;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/// The fleet over HTTP: `GET /instances`, and `POST /instances/add`, `/remove`, `/drain`, `/role`, `/weight`.
///
/// Takes engines as [EngineJson] has them, and `{"type": "prefill", "instance": "host:port"}` as vLLM's
/// `disagg_proxy_demo.py` does. The admin key is shown as `Authorization: Bearer KEY`, or as `x-api-key` as there.
/// Stands between the sources of engines and the pool. Thread-safe.
final class FleetEndpoints implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(FleetEndpoints.class);
    private static final String LIST = "/instances";
    private static final Set<String> CHANGES =
            Set.of("/instances/add", "/instances/remove", "/instances/drain", "/instances/role", "/instances/weight");
    private static final String TTL = "ttl_seconds";
    private static final String INSTANCE = "instance";
    private static final double LONGEST_TTL_SECONDS = Duration.ofDays(365).toSeconds();
    private static final byte[] UNAUTHORIZED = "{\"error\":\"Unauthorized\"}".getBytes(StandardCharsets.UTF_8);
    private static final ApiError CLOSED = new ApiError(
            403,
            "The fleet cannot be changed over HTTP: start the router with --admin-api-key KEY or with --registration.",
            "ForbiddenError",
            Optional.empty());

    private final FleetConfig config;
    private final ApiKeys clientKeys;
    private final EnginePool pool;
    private final Registrations registrations = new Registrations();
    private final CompositeSource sources;
    private final FleetOverrides overrides;

    /// @param clientKeys the keys of those who ask for answers
    /// @param configured the other sources of engines
    /// @param told of engines, and tells the pool
    FleetEndpoints(
            FleetConfig config, ApiKeys clientKeys, EngineSource configured, EnginePool pool, EngineListener told) {
        this.config = config;
        this.clientKeys = clientKeys;
        this.pool = pool;
        sources = new CompositeSource(List.of(configured, registrations));
        overrides = new FleetOverrides(told);
    }

    /// Begins to tell the pool of engines.
    ///
    /// @throws DiscoveryException in one sentence, if a source can never work as configured
    void start() {
        sources.start(overrides);
        if (config.openRegistration() && !config.adminKeys().areRequired()) {
            LOG.warn("whoever reaches this port can add and remove engines: no --admin-api-key is set");
        }
    }

    @Override
    public void close() {
        sources.close();
    }

    /// Whether a path is one of these.
    boolean serves(String path) {
        return path.equals(LIST) || CHANGES.contains(path);
    }

    /// Answers a request for such a path.
    void handle(HttpExchange exchange) {
        boolean change = !exchange.path().equals(LIST);
        RequestId id = RequestId.from(exchange.header(RequestId.HEADER));
        if (!admits(exchange)) {
            exchange.respondJson(401, UNAUTHORIZED);
        } else if (!exchange.method().equals(change ? "POST" : "GET")) {
            respond(exchange, id, RouterErrors.METHOD_NOT_ALLOWED);
        } else if (!change) {
            exchange.respondJson(200, Json.bytes(list()));
        } else if (!config.adminKeys().areRequired() && !config.openRegistration()) {
            respond(exchange, id, CLOSED);
        } else {
            try {
                exchange.respondJson(200, Json.bytes(change(exchange.path(), body(exchange))));
            } catch (ApiException e) {
                respond(exchange, id, e.error());
            } catch (DiscoveryException e) {
                respond(exchange, id, ApiError.badRequest(String.valueOf(e.getMessage())));
            }
        }
    }

    /// Whether a client may see and change the fleet, as far as keys go.
    boolean admits(HttpExchange exchange) {
        Optional<String> demos = exchange.header("x-api-key").map(key -> "Bearer " + key);
        return !config.adminKeys().areRequired()
                || config.adminKeys().identify(exchange.header("authorization")).isPresent()
                || config.adminKeys().identify(demos).isPresent();
    }

    /// Whether a client may change how the router works. Without an admin key an API key will do; without any
    /// key only web pages of other origins are kept out, which a browser behind the firewall would let in.
    boolean admitsChange(HttpExchange exchange) {
        return config.adminKeys().areRequired()
                ? admits(exchange)
                : clientKeys.areRequired()
                        ? clientKeys.identify(exchange.header("authorization")).isPresent()
                        : exchange.header("origin").isEmpty();
    }

    private static void respond(HttpExchange exchange, RequestId id, ApiError error) {
        exchange.respond(error.status(), RouterErrors.headers(error, id), error.toJson());
    }

    /// JSON under its own type only, which a page of another origin cannot send unasked.
    private static JsonNode body(HttpExchange exchange) {
        if (!Generations.hasJsonType(exchange)) {
            throw new ApiException(ApiError.unsupportedMediaType());
        }
        try {
            JsonNode body = Json.parse(exchange.body());
            if (!body.isObject()) {
                throw new ApiException(ApiError.badRequest("The body must be a JSON object."));
            }
            return body;
        } catch (Json.MalformedException e) {
            throw new ApiException(ApiError.invalidJson(e.offsetBytes(), String.valueOf(e.getMessage())));
        }
    }

    private ObjectNode list() {
        ObjectNode answer = JsonNodeFactory.instance.objectNode();
        ArrayNode instances = answer.putArray("instances");
        pool.all().forEach(engine -> instances.add(describe(engine)));
        return answer;
    }

    private ObjectNode describe(Upstream engine) {
        ObjectNode node = EngineJson.of(engine.info());
        node.put("state", engine.state().name().toLowerCase(Locale.ROOT));
        node.put("draining", engine.draining());
        node.put("drained", engine.drained());
        node.put("requests_in_flight", engine.inFlight());
        ArrayNode saidBy = node.putArray("sources");
        sources.whoSays(engine.address()).forEach(saidBy::add);
        return node;
    }

    private ObjectNode change(String path, JsonNode body) {
        return switch (path) {
            case "/instances/add" -> add(body);
            case "/instances/remove" -> remove(address(body));
            case "/instances/drain" -> drain(address(body), body.path("draining"));
            case "/instances/role" -> role(address(body), EngineRole.of(text(body, "role")));
            default -> weight(address(body), number(body, "weight"));
        };
    }

    private ObjectNode role(EngineAddress address, EngineRole role) {
        EngineInfo engine = overrides.setRole(address, role).orElseThrow(() -> unknown(address));
        return done("The role of " + address + " is " + engine.role().word() + " now.", address);
    }

    private ObjectNode weight(EngineAddress address, double weight) {
        EngineInfo engine = overrides.setWeight(address, weight).orElseThrow(() -> unknown(address));
        return done(address + " has weight " + engine.weight() + " now.", address);
    }

    private ObjectNode add(JsonNode body) {
        EngineInfo engine = body.has(INSTANCE)
                ? EngineInfo.of(address(body), EngineRole.of(text(body, "type")))
                : EngineJson.parse(body, Set.of(TTL));
        config.allowed().check(engine);
        registrations.add(engine, timeToLive(body));
        String list = engine.role().decodes() ? "decode_instances." : "prefill_instances.";
        return done("Added " + engine.address() + " to " + list, engine.address());
    }

    private static Optional<Duration> timeToLive(JsonNode body) {
        if (!body.has(TTL)) {
            return Optional.empty();
        }
        double seconds = number(body, TTL);
        if (!(seconds >= 0.001 && seconds <= LONGEST_TTL_SECONDS)) {
            throw new ApiException(ApiError.badParameter("ttl_seconds must be 0.001 to a year", TTL, seconds));
        }
        return Optional.of(Duration.ofMillis((long) (seconds * 1000)));
    }

    private ObjectNode remove(EngineAddress address) {
        boolean removed = registrations.remove(address);
        List<String> others = sources.whoSays(address);
        if (!others.isEmpty()) {
            throw new ApiException(new ApiError(
                    409,
                    "%s stays, because it is known by %s as well: drain it instead, or remove it there."
                            .formatted(address, String.join(" and ", others)),
                    "ConflictError",
                    Optional.empty()));
        }
        if (!removed) {
            throw unknown(address);
        }
        return done("Removed " + address + ".", address);
    }

    private ObjectNode drain(EngineAddress address, JsonNode draining) {
        if (!draining.isMissingNode() && !draining.isBoolean()) {
            throw new ApiException(ApiError.badRequest("'draining' must be true or false.", "draining"));
        }
        Upstream engine = pool.find(address).orElseThrow(() -> unknown(address));
        engine.setDraining(draining.asBoolean(true));
        return done(address + (engine.draining() ? " gets no new requests." : " gets requests again."), address);
    }

    private ObjectNode done(String message, EngineAddress address) {
        ObjectNode answer = JsonNodeFactory.instance.objectNode().put("message", message);
        pool.find(address).ifPresent(engine -> answer.set(INSTANCE, describe(engine)));
        return answer;
    }

    private static ApiException unknown(EngineAddress address) {
        return new ApiException(
                new ApiError(404, "There is no engine " + address + ".", "NotFoundError", Optional.empty()));
    }

    private static EngineAddress address(JsonNode body) {
        return body.has(INSTANCE) ? EngineAddress.parse(text(body, INSTANCE)) : EngineJson.address(body);
    }

    private static String text(JsonNode body, String field) {
        return body.path(field)
                .asStringOpt()
                .orElseThrow(() -> new ApiException(ApiError.badRequest("'" + field + "' must be text.", field)));
    }

    private static double number(JsonNode body, String field) {
        JsonNode value = body.path(field);
        if (!value.isNumber()) {
            throw new ApiException(ApiError.badRequest("'" + field + "' must be a number.", field));
        }
        return value.doubleValue();
    }
}
