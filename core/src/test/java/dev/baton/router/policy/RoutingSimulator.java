package dev.baton.router.policy;

import dev.baton.discovery.EngineAddress;
import dev.baton.discovery.EngineRole;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.PriorityQueue;
import java.util.SplittableRandom;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/// A fleet on a virtual clock, driven by a [FleetPolicy] as the router would: engines that batch, conversations
/// that go on. An engine computes in steps; a step takes a fixed time, a time for each stream, and a time for
/// the chunk of a prefill in it, which so delays the streams. A hand-over waits for the decoder's link.
///
/// The policy sees what a router sees: JSON, its own clock, requests in flight, and once a second an engine's own
/// word of its load.
final class RoutingSimulator {
    /// How fast the machines are.
    ///
    /// @param prefillTokensPerMilli that an engine computes
    /// @param attentionMillis for ten million pairs of tokens
    /// @param stepMillis of a step, whatever is in it
    /// @param stepMillisPerStream that each stream adds
    /// @param chunkTokens of prefills in a step at most
    /// @param kvTokens that an engine holds
    /// @param linkTokensPerMilli that a decoder fetches
    /// @param linkMillis that a transfer takes besides
    record Hardware(
            double prefillTokensPerMilli,
            double attentionMillis,
            double stepMillis,
            double stepMillisPerStream,
            int chunkTokens,
            int kvTokens,
            double linkTokensPerMilli,
            double linkMillis) {}

    /// What clients do.
    ///
    /// @param promptTokens of a first turn
    /// @param turnTokens that each later turn adds
    /// @param load offered, as a part of what the whole fleet could compute about
    record Workload(
            int prefillers,
            int decoders,
            Hardware hardware,
            int promptTokens,
            int turnTokens,
            int turns,
            int outputTokens,
            int sharedTokens,
            double load,
            int requests) {}

    /// What came of it, over the second half of the requests: what is learned is learned in the first.
    ///
    /// @param cost milliseconds a request, first token and all others, weighted
    record Result(double cost, double ttftMillis, double p99TtftMillis, double tpotMillis, Map<String, Long> routes) {}

    private static final double THINK_MILLIS = 2000;
    private static final double LOAD_REPORT_MILLIS = 1000;
    private static final double BYTES_PER_TOKEN = 4.3;

    private final Workload workload;
    private final FleetPolicy policy;
    private final SplittableRandom random;
    private final PriorityQueue<Event> events = new PriorityQueue<>();
    private final List<Engine> prefillers = new ArrayList<>();
    private final List<Engine> decoders = new ArrayList<>();
    private final List<double[]> measured = new ArrayList<>();
    private final String sharedText;
    private double nowMillis;
    private long nextEvent;
    private int begun;

    private record Event(double atMillis, long number, Runnable action) implements Comparable<Event> {
        @Override
        public int compareTo(Event other) {
            int byTime = Double.compare(atMillis, other.atMillis);
            return byTime != 0 ? byTime : Long.compare(number, other.number);
        }
    }

    private RoutingSimulator(Workload workload, PolicyConfig config, long seed) {
        this.workload = workload;
        this.random = new SplittableRandom(seed);
        this.policy = new FleetPolicy(
                config,
                true,
                () -> Math.round(nowMillis * 1e6),
                () -> Math.round(nowMillis),
                new SplittableRandom(seed + 1));
        for (int i = 0; i < workload.prefillers; i++) {
            prefillers.add(new Engine(new EngineAddress("prefiller" + i, 8100), EngineRole.PREFILLER));
        }
        for (int i = 0; i < workload.decoders; i++) {
            decoders.add(new Engine(new EngineAddress("decoder" + i, 8200), EngineRole.DECODER));
        }
        this.sharedText = text(workload.sharedTokens, new SplittableRandom(7));
    }

    /// Runs a workload to its end.
    static Result run(Workload workload, PolicyConfig config, long seed) {
        return new RoutingSimulator(workload, config, seed).run(config);
    }

    private Result run(PolicyConfig config) {
        arrive();
        reportLoads();
        while (measured.size() < workload.requests) {
            Event event = events.poll();
            nowMillis = event.atMillis;
            event.action.run();
        }
        List<double[]> counted = measured.subList(workload.requests / 2, workload.requests);
        double ttft = mean(counted, 0);
        double decode = mean(counted, 1);
        double[] sorted =
                counted.stream().mapToDouble(times -> times[0]).sorted().toArray();
        return new Result(
                config.ttftWeight() * ttft + config.tpotWeight() * decode,
                ttft,
                sorted[(int) (0.99 * (sorted.length - 1))],
                decode / Math.max(1, workload.outputTokens - 1),
                policy.report().routes());
    }

    private static double mean(List<double[]> rows, int column) {
        return rows.stream().mapToDouble(row -> row[column]).average().orElse(Double.NaN);
    }

    private void after(double millis, Runnable action) {
        events.add(new Event(nowMillis + millis, nextEvent++, action));
    }

    private void reportLoads() {
        prefillers.forEach(Engine::report);
        decoders.forEach(Engine::report);
        after(LOAD_REPORT_MILLIS, this::reportLoads);
    }

    /// Conversations come as a Poisson process whose rate grows at the beginning.
    private void arrive() {
        if (begun++ * workload.turns < 3 * workload.requests) {
            new Conversation().ask();
        }
        double conversationMillis = 0;
        Hardware hw = workload.hardware;
        double context = workload.sharedTokens;
        for (int turn = 0; turn < workload.turns; turn++) {
            double computed = turn == 0 ? workload.promptTokens : workload.turnTokens;
            conversationMillis += computed / hw.prefillTokensPerMilli
                    + computed * (context + computed / 2) / 1e7 * hw.attentionMillis
                    + workload.outputTokens * (hw.stepMillis / 16 + hw.stepMillisPerStream);
            context += computed + workload.outputTokens;
        }
        double rate = workload.load * (workload.prefillers + workload.decoders) / conversationMillis;
        double ramp = Math.min(1, 0.3 + 3.0 * measured.size() / workload.requests);
        after(exponential(1 / (ramp * rate)), this::arrive);
    }

    private double exponential(double mean) {
        return -Math.log(1 - random.nextDouble()) * mean;
    }

    /// Text of about so many tokens.
    private static String text(int tokens, SplittableRandom words) {
        int length = (int) (tokens * BYTES_PER_TOKEN);
        StringBuilder text = new StringBuilder(length + 16);
        while (text.length() < length) {
            text.append(Long.toString(words.nextLong() >>> 1, 36)).append(' ');
        }
        text.setLength(length);
        return text.toString();
    }

    private final class Conversation {
        private final ArrayNode messages = JsonNodeFactory.instance.arrayNode();
        private final SplittableRandom words = random.split();
        private int turn;
        private int tokens = workload.sharedTokens;

        private Conversation() {
            if (workload.sharedTokens > 0) {
                messages.addObject().put("role", "system").put("content", sharedText);
            }
        }

        private void ask() {
            int added = turn++ == 0 ? workload.promptTokens : workload.turnTokens;
            int jittered = Math.max(1, (int) (added * (0.5 + random.nextDouble())));
            tokens += jittered;
            messages.addObject().put("role", "user").put("content", text(jittered, words));
            int output = Math.max(1, (int) (workload.outputTokens * (0.5 + random.nextDouble())));
            new Request(this, output).route();
        }

        private void answered(int output) {
            tokens += output;
            messages.addObject().put("role", "assistant").put("content", text(output, words));
            if (turn < workload.turns) {
                after(exponential(THINK_MILLIS), this::ask);
            }
        }
    }

    private final class Request {
        private final Conversation conversation;
        private final int tokens;
        private final int output;
        private final PolicyRequest facts;
        private final double arrivalMillis = nowMillis;
        private Route<Engine> route;
        private double prefillMillis = Double.NaN;
        private double firstTokenMillis;
        private int written;

        private Request(Conversation conversation, int output) {
            this.conversation = conversation;
            this.tokens = conversation.tokens;
            this.output = output;
            ObjectNode body = JsonNodeFactory.instance.objectNode();
            body.put("model", "m");
            body.set("messages", conversation.messages.deepCopy());
            facts = new PolicyRequest(body, true, "");
        }

        private void route() {
            route = policy.route(facts, prefillers, decoders).orElseThrow().route();
            switch (route) {
                case Route.Disaggregated<Engine>(Engine prefiller, Engine decoder) -> {
                    prefiller.inFlight++;
                    prefiller.prefill(this, () -> handOver(prefiller, decoder));
                }
                case Route.Direct<Engine>(Engine decoder) -> alone(decoder);
                case Route.Aggregated<Engine>(Engine engine) -> alone(engine);
            }
        }

        private void alone(Engine engine) {
            engine.inFlight++;
            engine.prefill(this, () -> engine.stream(this));
        }

        private void handOver(Engine prefiller, Engine decoder) {
            prefiller.inFlight--;
            prefillMillis = nowMillis - arrivalMillis;
            policy.prefilled(facts);
            decoder.inFlight++;
            decoder.fetch(this);
        }

        private void token(Engine engine) {
            if (written++ == 0) {
                firstTokenMillis = nowMillis - arrivalMillis;
                policy.firstToken(facts);
            }
        }

        private void end(Engine engine) {
            engine.inFlight--;
            double total = nowMillis - arrivalMillis;
            policy.ended(
                    facts, new RouteOutcome(route, true, prefillMillis, firstTokenMillis, total, tokens, -1, output));
            measured.add(new double[] {firstTokenMillis, total - firstTokenMillis});
            conversation.answered(output);
        }
    }

    private final class Engine implements EngineView {
        private final EngineAddress address;
        private final EngineRole role;
        private final ArrayDeque<Prefill> queue = new ArrayDeque<>();
        private final List<Request> streams = new ArrayList<>();
        private final ArrayDeque<Request> waiting = new ArrayDeque<>();
        private final Map<Object, Integer> cache = new LinkedHashMap<>(16, 0.75f, true);
        private final Object shared = new Object();
        private EngineLoad load = EngineLoad.UNKNOWN;
        private int cachedTokens;
        private double linkFreeAtMillis;
        private boolean computes;
        private int inFlight;

        private Engine(EngineAddress address, EngineRole role) {
            this.address = address;
            this.role = role;
        }

        private static final class Prefill {
            private final Request request;
            private final Runnable whenDone;
            private double left;
            private double context;

            private Prefill(Request request, int cached, Runnable whenDone) {
                this.request = request;
                this.whenDone = whenDone;
                this.context = cached;
                this.left = Math.max(1, request.tokens - cached);
            }
        }

        private void report() {
            load = new EngineLoad(
                    Math.round(nowMillis * 1e6) + 1,
                    streams.size(),
                    queue.size() + waiting.size(),
                    Math.min(
                            1,
                            streams.stream()
                                            .mapToDouble(r -> r.tokens + r.written)
                                            .sum()
                                    / workload.hardware.kvTokens));
        }

        private void prefill(Request request, Runnable whenDone) {
            queue.add(new Prefill(request, cached(request), whenDone));
            compute();
        }

        private int cached(Request request) {
            int own = cache.getOrDefault(request.conversation, 0);
            int common = cache.containsKey(shared) ? workload.sharedTokens : 0;
            return Math.min(request.tokens - 1, Math.max(own, common));
        }

        private void hold(Request request, int tokens) {
            if (workload.sharedTokens > 0) {
                put(shared, workload.sharedTokens);
            }
            put(request.conversation, tokens);
            Iterator<Map.Entry<Object, Integer>> oldest = cache.entrySet().iterator();
            while (cachedTokens > workload.hardware.kvTokens && cache.size() > 1) {
                cachedTokens -= oldest.next().getValue();
                oldest.remove();
            }
        }

        private void put(Object key, int tokens) {
            Integer before = cache.put(key, tokens);
            cachedTokens += tokens - (before == null ? 0 : before);
        }

        /// Transfers share the link one behind the other.
        private void fetch(Request request) {
            Hardware hw = workload.hardware;
            double moved = request.tokens - cached(request);
            double start = Math.max(nowMillis, linkFreeAtMillis);
            linkFreeAtMillis = start + moved / hw.linkTokensPerMilli;
            events.add(new Event(linkFreeAtMillis + hw.linkMillis, nextEvent++, () -> {
                hold(request, request.tokens);
                waiting.add(request);
                compute();
            }));
        }

        private void stream(Request request) {
            hold(request, request.tokens);
            request.token(this);
            if (request.written == request.output) {
                request.end(this);
            } else {
                streams.add(request);
            }
        }

        private void compute() {
            if (!computes) {
                computes = true;
                step();
            }
        }

        private void step() {
            admit();
            if (streams.isEmpty() && queue.isEmpty()) {
                computes = false;
                return;
            }
            Hardware hw = workload.hardware;
            double millis = hw.stepMillis + hw.stepMillisPerStream * streams.size();
            double budget = hw.chunkTokens;
            List<Prefill> done = new ArrayList<>();
            while (budget > 0 && !queue.isEmpty()) {
                Prefill first = queue.peek();
                double chunk = Math.min(budget, first.left);
                millis += chunk / hw.prefillTokensPerMilli
                        + chunk * (first.context + chunk / 2) / 1e7 * hw.attentionMillis;
                first.left -= chunk;
                first.context += chunk;
                budget -= chunk;
                if (first.left <= 0) {
                    done.add(queue.poll());
                }
            }
            List<Request> stepped = List.copyOf(streams);
            after(millis, () -> {
                for (Request request : stepped) {
                    request.token(this);
                    if (request.written == request.output) {
                        streams.remove(request);
                        hold(request, request.tokens + request.output);
                        request.end(this);
                    }
                }
                for (Prefill prefill : done) {
                    if (role == EngineRole.PREFILLER) {
                        hold(prefill.request, prefill.request.tokens);
                    }
                    prefill.whenDone.run();
                }
                step();
            });
        }

        /// Requests whose KV cache has come join the batch while there is memory.
        private void admit() {
            double used = streams.stream().mapToDouble(r -> r.tokens + r.output).sum();
            while (!waiting.isEmpty()) {
                Request next = waiting.peek();
                used += next.tokens + next.output;
                if (used > workload.hardware.kvTokens && !streams.isEmpty()) {
                    return;
                }
                streams.add(waiting.poll());
            }
        }

        @Override
        public EngineAddress address() {
            return address;
        }

        @Override
        public EngineRole role() {
            return role;
        }

        @Override
        public double weight() {
            return 1;
        }

        @Override
        public int inFlight() {
            return inFlight;
        }

        @Override
        public EngineLoad load() {
            return load;
        }
    }

    /// Machines as in a fleet of H200s with an 8 B model, and a link of so many tokens a millisecond.
    static Hardware gpu(double linkTokensPerMilli) {
        return new Hardware(30, 10, 7, 0.12, 2048, 400_000, linkTokensPerMilli, 3);
    }

    /// The same settings in every mode.
    static Map<Mode, Result> runAll(Workload workload, long seed) {
        Map<Mode, Result> results = new LinkedHashMap<>();
        Arrays.stream(Mode.values())
                .forEach(mode -> results.put(
                        mode, run(workload, PolicyConfig.builder().mode(mode).build(), seed)));
        return results;
    }
}
