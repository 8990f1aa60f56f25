package dev.baton.router;

import dev.baton.http.HttpExchange;
import dev.baton.http.Json;
import dev.baton.router.policy.ConversationSummary;
import dev.baton.router.policy.Decision;
import dev.baton.router.policy.DecisionSummary;
import dev.baton.router.policy.EngineReport;
import dev.baton.router.policy.FleetPolicy;
import dev.baton.router.policy.Learned;
import dev.baton.router.policy.Mode;
import dev.baton.router.policy.PolicyConfig;
import dev.baton.router.policy.PolicyReport;
import dev.baton.router.policy.RouteOutcome;
import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.function.Predicate;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/// How routes are chosen, over HTTP: `GET /mode`, `POST /mode/NAME`, `GET /conversations`, `POST
/// /conversations/clear`, `GET /stats`, `GET /decisions`. The first four answer as PPD's proxy does, with more
/// members. With an admin key each asks for it. Thread-safe.
final class PolicyEndpoints {
    private static final String MODE = "/mode";
    private static final String SWITCH = "/mode/";
    private static final String CONVERSATIONS = "/conversations";
    private static final String CLEAR = "/conversations/clear";
    private static final String STATS = "/stats";
    private static final String DECISIONS = "/decisions";
    private static final Set<String> READS = Set.of(MODE, CONVERSATIONS, STATS, DECISIONS);
    private static final int SHOWN_CONVERSATIONS = 10;
    private static final int SHOWN_DECISIONS = 256;
    private static final byte[] UNAUTHORIZED = "{\"error\":\"Unauthorized\"}".getBytes(StandardCharsets.UTF_8);

    private final FleetPolicy policy;
    private final HandoffObstacles obstacles;
    private final Predicate<HttpExchange> mayRead;
    private final Predicate<HttpExchange> mayChange;

    /// @param obstacles what kept requests from being handed over
    /// @param mayRead whether a request shows the key that reading needs, or none is needed
    /// @param mayChange the same for what changes something
    PolicyEndpoints(
            FleetPolicy policy,
            HandoffObstacles obstacles,
            Predicate<HttpExchange> mayRead,
            Predicate<HttpExchange> mayChange) {
        this.policy = policy;
        this.obstacles = obstacles;
        this.mayRead = mayRead;
        this.mayChange = mayChange;
    }

    /// Whether prefillers answer requests by themselves in the present mode.
    boolean prefillersAnswer() {
        return policy.prefillersAnswer();
    }

    /// The mode at present.
    String modeWord() {
        return policy.mode().word();
    }

    /// Whether a path is one of these.
    boolean serves(String path) {
        return READS.contains(path) || path.equals(CLEAR) || path.startsWith(SWITCH);
    }

    /// Answers a request for such a path.
    void handle(HttpExchange exchange) {
        String path = exchange.path();
        if (!(READS.contains(path) ? mayRead : mayChange).test(exchange)) {
            exchange.respondJson(401, UNAUTHORIZED);
        } else if (!exchange.method().equals(READS.contains(path) ? "GET" : "POST")) {
            RequestId id = RequestId.from(exchange.header(RequestId.HEADER));
            exchange.respond(
                    RouterErrors.METHOD_NOT_ALLOWED.status(),
                    RouterErrors.headers(RouterErrors.METHOD_NOT_ALLOWED, id),
                    RouterErrors.METHOD_NOT_ALLOWED.toJson());
        } else {
            switch (path) {
                case MODE -> respond(exchange, mode());
                case CONVERSATIONS -> respond(exchange, conversations());
                case CLEAR -> respond(exchange, object().put("cleared", policy.clearConversations()));
                case STATS -> respond(exchange, stats());
                case DECISIONS -> respond(exchange, decisions());
                default -> switchMode(exchange, path.substring(SWITCH.length()));
            }
        }
    }

    private static void respond(HttpExchange exchange, ObjectNode answer) {
        exchange.respondJson(200, Json.bytes(answer));
    }

    private static ObjectNode object() {
        return JsonNodeFactory.instance.objectNode();
    }

    private void switchMode(HttpExchange exchange, String word) {
        Optional<Mode> mode = Mode.of(word);
        if (mode.isEmpty()) {
            exchange.respondJson(400, Json.bytes(object().put("error", "Invalid mode. Use one of " + Mode.words())));
            return;
        }
        Mode previous = policy.switchTo(mode.get());
        respond(exchange, object().put("mode", mode.get().word()).put("previous", previous.word()));
    }

    /// Since the epoch, written out: a double of that size would have an exponent.
    private static BigDecimal seconds(long millis) {
        return BigDecimal.valueOf(millis, 3);
    }

    private ObjectNode mode() {
        return object().put("mode", policy.mode().word()).put("conversations", policy.numConversations());
    }

    private ObjectNode conversations() {
        ObjectNode answer = object();
        answer.put("count", policy.numConversations());
        ObjectNode shown = answer.putObject("conversations");
        for (ConversationSummary conversation : policy.conversations(SHOWN_CONVERSATIONS)) {
            shown.putObject(conversation.id())
                    .put("turns", conversation.turns())
                    .put("last_access", seconds(conversation.lastAccessMillis()))
                    .put("decoder", conversation.decoder());
        }
        return answer;
    }

    private ObjectNode stats() {
        PolicyReport report = policy.report();
        ObjectNode answer = object();
        answer.put("mode", report.mode().word());
        PolicyConfig config = report.config();
        answer.put("prefill_policy", config.prefillBalancing().word());
        answer.put("decode_policy", config.decodeBalancing().word());
        answer.put("w_ttft", config.ttftWeight());
        answer.put("w_tpot", config.tpotWeight());
        answer.put("conversations", report.conversations());
        answer.put("indexed_blocks", report.indexedBlocks());
        put(answer, "expected_output_tokens", report.outputTokens());
        answer.put("stance", report.stance());
        ObjectNode stances = answer.putObject("stance_costs");
        report.stanceCosts().forEach((stance, cost) -> put(stances, stance, cost));
        ObjectNode routes = answer.putObject("routes");
        for (Map.Entry<String, Long> route : report.routes().entrySet()) {
            routes.put(route.getKey(), route.getValue());
        }
        ArrayNode engines = answer.putArray("engines");
        report.engines().forEach(engine -> describe(engines.addObject(), engine));
        return answer;
    }

    private static void describe(ObjectNode node, EngineReport engine) {
        node.put("engine", engine.engine());
        node.put("prefills", engine.prefills());
        put(node, "wait_ms", engine.waitMillis());
        node.put("streams", engine.streams());
        put(node, "cache_trust", engine.cacheTrust());
        Learned learned = engine.learned();
        node.put("measured_prefills", learned.prefills());
        put(node, "prefill_fixed_ms", learned.prefillFixedMillis());
        put(node, "prefill_tokens_per_s", learned.prefillTokensPerSecond());
        node.put("measured_decodes", learned.decodes());
        put(node, "step_ms", learned.stepMillis());
        put(node, "step_ms_per_stream", learned.stepMillisPerStream());
        put(node, "harm_per_prefill_ms", learned.harmPerPrefillMilli());
        node.put("measured_transfers", learned.transfers());
        put(node, "transfer_fixed_ms", learned.transferFixedMillis());
        put(node, "transfer_tokens_per_s", learned.transferTokensPerSecond());
    }

    private ObjectNode decisions() {
        ObjectNode answer = object();
        ArrayNode shown = answer.putArray("decisions");
        for (DecisionSummary decision : policy.decisions(SHOWN_DECISIONS)) {
            describe(shown.addObject(), decision);
        }
        ArrayNode kept = answer.putArray("not_handed_over");
        for (HandoffObstacles.Entry entry : obstacles.latest()) {
            kept.addObject()
                    .put("at", seconds(entry.atMillis()))
                    .put("id", entry.requestId())
                    .put("obstacle", entry.obstacle());
        }
        return answer;
    }

    private static void describe(ObjectNode node, DecisionSummary decision) {
        node.put("number", decision.number());
        node.put("at", seconds(decision.atMillis()));
        node.put("mode", decision.mode().word());
        node.put("route", decision.route());
        node.put("reason", decision.reason());
        node.put("turn", decision.turn());
        node.put("prompt_tokens", decision.promptTokens());
        node.put("cached_tokens", decision.cachedTokens());
        ArrayNode considered = node.putArray("considered");
        for (Decision.Weighed weighed : decision.considered()) {
            ObjectNode route = considered.addObject().put("route", weighed.route());
            put(route, "ttft_ms", weighed.ttftMillis());
            put(route, "harm_ms", weighed.harmMillis());
            put(route, "cost", weighed.cost());
        }
        decision.outcome().ifPresent(outcome -> describe(node.putObject("outcome"), outcome));
    }

    private static void describe(ObjectNode node, RouteOutcome outcome) {
        node.put("served", outcome.served());
        put(node, "prefill_ms", outcome.prefillMillis());
        put(node, "ttft_ms", outcome.firstTokenMillis());
        put(node, "total_ms", outcome.lastTokenMillis());
        put(node, "prompt_tokens", outcome.promptTokens());
        put(node, "cached_tokens", outcome.cachedTokens());
        put(node, "output_tokens", outcome.outputTokens());
    }

    /// JSON has no NaN and no infinity; unknown counts are -1.
    private static void put(ObjectNode node, String name, double value) {
        if (Double.isFinite(value)) {
            node.put(name, Math.round(value * 1e3) / 1e3);
        } else {
            node.putNull(name);
        }
    }

    private static void put(ObjectNode node, String name, int count) {
        if (count < 0) {
            node.putNull(name);
        } else {
            node.put(name, count);
        }
    }
}
