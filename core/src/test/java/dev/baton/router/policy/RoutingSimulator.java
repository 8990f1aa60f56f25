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
import java.util.function.Function;
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

    /// Requests as they were recorded somewhere, at other distances.
    ///
    /// @param load offered, as a part of what the whole fleet could compute about if nothing were cached
    record Replay(int prefillers, int decoders, Hardware hardware, List<TracedRequest> trace, double load) {}

    /// What came of it, over the second half of the requests: what is learned is learned in the first.
    ///
    /// @param cost milliseconds a request, first token and all others, weighted
    record Result(double cost, double ttftMillis, double p99TtftMillis, double tpotMillis, Map<String, Long> routes) {}

    private static final double THINK_MILLIS = 2000;
    private static final double LOAD_REPORT_MILLIS = 1000;
    private static final double BYTES_PER_TOKEN = 4.3;

    private final Hardware hardware;
    private final int requests;
    private final FleetPolicy policy;
    private final SplittableRandom random;
    private final PriorityQueue<Event> events = new PriorityQueue<>();
    private final List<Engine> prefillers = new ArrayList<>();
    private final List<Engine> decoders = new ArrayList<>();
    private final List<double[]> measured = new ArrayList<>();
    private double nowMillis;
    private long nextEvent;

    private record Event(double atMillis, long number, Runnable action) implements Comparable<Event> {
        @Override
        public int compareTo(Event other) {
            int byTime = Double.compare(atMillis, other.atMillis);
            return byTime != 0 ? byTime : Long.compare(number, other.number);
        }
    }

    private RoutingSimulator(
            int prefillerCount, int decoderCount, Hardware hardware, int requests, PolicyConfig config, long seed) {
        this.hardware = hardware;
        this.requests = requests;
        this.random = new SplittableRandom(seed);
        this.policy = new FleetPolicy(
                config,
                true,
                () -> Math.round(nowMillis * 1e6),
                () -> Math.round(nowMillis),
                new SplittableRandom(seed + 1));
        for (int i = 0; i < prefillerCount; i++) {
            prefillers.add(new Engine(new EngineAddress("prefiller" + i, 8100), EngineRole.PREFILLER));
        }
        for (int i = 0; i < decoderCount; i++) {
            decoders.add(new Engine(new EngineAddress("decoder" + i, 8200), EngineRole.DECODER));
        }
    }

    /// Runs a workload to its end.
    static Result run(Workload workload, PolicyConfig config, long seed) {
        RoutingSimulator simulator = new RoutingSimulator(
                workload.prefillers, workload.decoders, workload.hardware, workload.requests, config, seed);
        simulator.new Conversations(workload).arrive();
        return simulator.run(config);
    }

    /// Replays a trace to its end.
    static Result run(Replay replay, PolicyConfig config, long seed) {
        RoutingSimulator simulator = new RoutingSimulator(
                replay.prefillers, replay.decoders, replay.hardware, replay.trace.size(), config, seed);
        double work = 0;
        for (TracedRequest request : replay.trace) {
            work += simulator.millisOf(0, request.inputTokens(), request.outputTokens());
        }
        double span = Math.max(1, replay.trace.getLast().atMillis());
        double stretch = work / ((replay.prefillers + replay.decoders) * replay.load * span);
        for (TracedRequest request : replay.trace) {
            simulator.after(
                    request.atMillis() * stretch,
                    () -> simulator.new Request(new Traced(replay.trace, request), request.outputTokens()).route());
        }
        return simulator.run(config);
    }

    private Result run(PolicyConfig config) {
        reportLoads();
        while (measured.size() < requests) {
            Event event = events.poll();
            nowMillis = event.atMillis;
            event.action.run();
        }
        List<double[]> counted = measured.subList(requests / 2, requests);
        double ttft = mean(counted, 0);
        double decode = mean(counted, 1);
        double[] sorted =
                counted.stream().mapToDouble(times -> times[0]).sorted().toArray();
        return new Result(
                config.ttftWeight() * ttft + config.tpotWeight() * decode,
                ttft,
                sorted[(int) (0.99 * (sorted.length - 1))],
                decode / Math.max(1, mean(counted, 2) - 1),
                policy.report().routes());
    }

    /// What an engine computes for a request about, in a batch of 16.
    private double millisOf(double cached, double computed, double output) {
        return computed / hardware.prefillTokensPerMilli
                + computed * (cached + computed / 2) / 1e7 * hardware.attentionMillis
                + output * (hardware.stepMillis / 16 + hardware.stepMillisPerStream);
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

    /// What a request asks about, as far as engines can have it in their caches.
    private interface Prompt {
        int tokens();

        PolicyRequest facts();

        /// How much of it an engine has that holds these pieces, each with so many tokens.
        int held(Map<Object, Integer> pieces);

        /// Puts its pieces into an engine's cache, the first `tokens` of prompt and answer.
        void hold(Engine engine, int tokens);

        void answered(int output);
    }

    /// A prompt of a trace. Its blocks are in a cache, and what an engine wrote behind the turn before.
    private static final class Traced implements Prompt {
        private final List<TracedRequest> trace;
        private final TracedRequest request;

        private Traced(List<TracedRequest> trace, TracedRequest request) {
            this.trace = trace;
            this.request = request;
        }

        @Override
        public int tokens() {
            return request.inputTokens();
        }

        @Override
        public PolicyRequest facts() {
            ObjectNode body = JsonNodeFactory.instance.objectNode();
            body.put("model", "m").put("prompt", text(request));
            return new PolicyRequest(body, false, "");
        }

        /// What the turn before asked, and something new; or the blocks.
        private String text(TracedRequest of) {
            if (of.earlier() >= 0) {
                TracedRequest before = trace.get(of.earlier());
                return text(before)
                        + RoutingSimulator.text(
                                of.inputTokens() - before.inputTokens(), new SplittableRandom(-1 - of.number()));
            }
            StringBuilder blocks = new StringBuilder();
            for (int i = 0; i < of.blocks().size(); i++) {
                blocks.append(RoutingSimulator.text(
                        of.blockTokens(i), new SplittableRandom(of.blocks().get(i))));
            }
            return blocks.toString();
        }

        @Override
        public int held(Map<Object, Integer> pieces) {
            int held = 0;
            for (int i = 0;
                    i < request.blocks().size() && pieces.get(request.blocks().get(i)) != null;
                    i++) {
                held += request.blockTokens(i);
            }
            if (request.earlier() >= 0) {
                TracedRequest before = trace.get(request.earlier());
                boolean wrote = pieces.get(before.number()) != null; // an Integer; blocks are Longs
                held = Math.max(held, wrote ? before.inputTokens() + before.outputTokens() : 0);
            }
            return held;
        }

        @Override
        public void hold(Engine engine, int tokens) {
            if (tokens > request.inputTokens()) {
                engine.put(request.number(), tokens - request.inputTokens());
            }
            for (int i = request.blocks().size() - 1; i >= 0; i--) {
                engine.put(request.blocks().get(i), request.blockTokens(i)); // the first are to go last
            }
        }

        @Override
        public void answered(int output) {
            // what comes next is in the trace
        }
    }

    /// Conversations that come as a Poisson process whose rate grows at the beginning.
    private final class Conversations {
        private final Workload workload;
        private final Object shared = new Object();
        private final String sharedText;
        private final double conversationMillis;
        private int begun;

        private Conversations(Workload workload) {
            this.workload = workload;
            this.sharedText = text(workload.sharedTokens, new SplittableRandom(7));
            double millis = 0;
            double context = workload.sharedTokens;
            for (int turn = 0; turn < workload.turns; turn++) {
                double computed = turn == 0 ? workload.promptTokens : workload.turnTokens;
                millis += millisOf(context, computed, workload.outputTokens);
                context += computed + workload.outputTokens;
            }
            this.conversationMillis = millis;
        }

        private void arrive() {
            if (begun++ * workload.turns < 3 * workload.requests) {
                new Conversation(this).ask();
            }
            double rate = workload.load * (workload.prefillers + workload.decoders) / conversationMillis;
            double ramp = Math.min(1, 0.3 + 3.0 * measured.size() / workload.requests);
            after(exponential(1 / (ramp * rate)), this::arrive);
        }
    }

    private final class Conversation implements Prompt {
        private final Workload workload;
        private final Object shared;
        private final ArrayNode messages = JsonNodeFactory.instance.arrayNode();
        private final SplittableRandom words = random.split();
        private int turn;
        private int tokens;

        private Conversation(Conversations all) {
            workload = all.workload;
            shared = all.shared;
            tokens = workload.sharedTokens;
            if (tokens > 0) {
                messages.addObject().put("role", "system").put("content", all.sharedText);
            }
        }

        @Override
        public int tokens() {
            return tokens;
        }

        @Override
        public PolicyRequest facts() {
            ObjectNode body = JsonNodeFactory.instance.objectNode();
            body.put("model", "m");
            body.set("messages", messages.deepCopy());
            return new PolicyRequest(body, true, "");
        }

        @Override
        public int held(Map<Object, Integer> pieces) {
            return Math.max(pieces.getOrDefault(this, 0), pieces.getOrDefault(shared, 0));
        }

        @Override
        public void hold(Engine engine, int held) {
            if (workload.sharedTokens > 0) {
                engine.put(shared, workload.sharedTokens);
            }
            engine.put(this, held);
        }

        private void ask() {
            int added = turn++ == 0 ? workload.promptTokens : workload.turnTokens;
            int jittered = Math.max(1, (int) (added * (0.5 + random.nextDouble())));
            tokens += jittered;
            messages.addObject().put("role", "user").put("content", text(jittered, words));
            int output = Math.max(1, (int) (workload.outputTokens * (0.5 + random.nextDouble())));
            new Request(this, output).route();
        }

        @Override
        public void answered(int output) {
            tokens += output;
            messages.addObject().put("role", "assistant").put("content", text(output, words));
            if (turn < workload.turns) {
                after(exponential(THINK_MILLIS), this::ask);
            }
        }
    }

    private final class Request {
        private final Prompt prompt;
        private final int tokens;
        private final int output;
        private final PolicyRequest facts;
        private final double arrivalMillis = nowMillis;
        private Route<Engine> route;
        private double prefillMillis = Double.NaN;
        private double firstTokenMillis;
        private int written;

        private Request(Prompt prompt, int output) {
            this.prompt = prompt;
            this.tokens = prompt.tokens();
            this.output = output;
            facts = prompt.facts();
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
            measured.add(new double[] {firstTokenMillis, total - firstTokenMillis, output});
            prompt.answered(output);
        }
    }

    private final class Engine implements EngineView {
        private final EngineAddress address;
        private final EngineRole role;
        private final ArrayDeque<Prefill> queue = new ArrayDeque<>();
        private final List<Request> streams = new ArrayList<>();
        private final ArrayDeque<Request> waiting = new ArrayDeque<>();
        private final Map<Object, Integer> cache = new LinkedHashMap<>(16, 0.75f, true);
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
                                    / hardware.kvTokens));
        }

        private void prefill(Request request, Runnable whenDone) {
            queue.add(new Prefill(request, cached(request), whenDone));
            compute();
        }

        private int cached(Request request) {
            return Math.min(request.tokens - 1, request.prompt.held(cache));
        }

        private void hold(Request request, int tokens) {
            request.prompt.hold(this, tokens);
            Iterator<Map.Entry<Object, Integer>> oldest = cache.entrySet().iterator();
            while (cachedTokens > hardware.kvTokens && cache.size() > 1) {
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
            double moved = request.tokens - cached(request);
            double start = Math.max(nowMillis, linkFreeAtMillis);
            linkFreeAtMillis = start + moved / hardware.linkTokensPerMilli;
            events.add(new Event(linkFreeAtMillis + hardware.linkMillis, nextEvent++, () -> {
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
            double millis = hardware.stepMillis + hardware.stepMillisPerStream * streams.size();
            double budget = hardware.chunkTokens;
            List<Prefill> done = new ArrayList<>();
            while (budget > 0 && !queue.isEmpty()) {
                Prefill first = queue.peek();
                double chunk = Math.min(budget, first.left);
                millis += chunk / hardware.prefillTokensPerMilli
                        + chunk * (first.context + chunk / 2) / 1e7 * hardware.attentionMillis;
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
                if (used > hardware.kvTokens && !streams.isEmpty()) {
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
    static Map<Mode, Result> runAll(Replay replay, long seed) {
        return inEveryMode(config -> run(replay, config, seed));
    }

    /// The same settings in every mode.
    static Map<Mode, Result> runAll(Workload workload, long seed) {
        return inEveryMode(config -> run(workload, config, seed));
    }

    private static Map<Mode, Result> inEveryMode(Function<PolicyConfig, Result> run) {
        Map<Mode, Result> results = new LinkedHashMap<>();
        Arrays.stream(Mode.values())
                .forEach(mode -> results.put(
                        mode, run.apply(PolicyConfig.builder().mode(mode).build())));
        return results;
    }
}
