package dev.baton.router.policy;

import dev.baton.discovery.EngineAddress;
import dev.baton.router.policy.Assignment.PromptEstimate;
import dev.baton.router.policy.Conversations.Continuation;
import java.util.ArrayList;
import java.util.BitSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalDouble;
import java.util.SplittableRandom;
import java.util.TreeMap;
import java.util.function.LongSupplier;
import tools.jackson.databind.JsonNode;

/// The router's policy: a mode that can be switched, a way of balancing for each role, and what was learned
/// from the requests that it routed.
///
/// One lock guards all of it; a decision holds it for some microseconds. Prompts are hashed outside of it.
/// Thread-safe.
public final class FleetPolicy implements RoutingPolicy {
    private static final double NANOS_PER_MILLI = 1e6;

    /// How much the last request counts in running averages.
    private static final double FRESH = 0.05;

    /// What a prefill takes, against what it would take without anything cached, that had nothing cached.
    private static final double MISSED = 0.6;

    /// And that had found it.
    private static final double FOUND = 0.3;

    private static final int FEW = 6;
    private static final double USUAL_BYTES_PER_TOKEN = 4;
    private static final double USUAL_OUTPUT_TOKENS = 128;

    private final PolicyConfig config;
    private final boolean prefillersServeAlone;
    private final LongSupplier nanos;
    private final LongSupplier epochMillis;
    private final long key;
    private final PrefixIndex index;
    private final Conversations conversations = new Conversations();
    private final Map<EngineAddress, EngineState> engines = new LinkedHashMap<>();
    private final BitSet slots = new BitSet();
    private final EngineCosts fleetCosts = new EngineCosts();
    private final Balancer prefillBalancer;
    private final Balancer decodeBalancer;
    private final CostWeigher weigher;
    private final DecisionLog log = new DecisionLog();
    private final Map<String, Long> routes = new TreeMap<>();
    private final double[] bytesPerToken = {USUAL_BYTES_PER_TOKEN, USUAL_BYTES_PER_TOKEN};
    private double outputTokens = USUAL_OUTPUT_TOKENS;
    private Mode mode;

    /// A policy that knows nothing yet.
    ///
    /// @param prefillersServeAlone whether a prefiller answers a request that is not handed over, too
    public FleetPolicy(PolicyConfig config, boolean prefillersServeAlone) {
        this(
                config,
                prefillersServeAlone,
                System::nanoTime,
                System::currentTimeMillis,
                new SplittableRandom(System.nanoTime() ^ ProcessHandle.current().pid()));
    }

    /// @param nanos monotonic time
    /// @param epochMillis time of day
    FleetPolicy(
            PolicyConfig config,
            boolean prefillersServeAlone,
            LongSupplier nanos,
            LongSupplier epochMillis,
            SplittableRandom random) {
        this.config = config;
        this.prefillersServeAlone = prefillersServeAlone;
        this.nanos = nanos;
        this.epochMillis = epochMillis;
        this.key = random.nextLong();
        this.index = new PrefixIndex(config.maxBlocks());
        this.prefillBalancer = new Balancer(config.prefillBalancing(), 0, random.split());
        this.decodeBalancer = new Balancer(config.decodeBalancing(), 1, random.split());
        this.weigher = new CostWeigher(config.ttftWeight(), config.tpotWeight(), fleetCosts);
        this.mode = config.mode();
    }

    /// The mode at present.
    public synchronized Mode mode() {
        return mode;
    }

    /// Switches the mode for the requests that come from now on.
    ///
    /// @return the mode before
    public synchronized Mode switchTo(Mode next) {
        Mode before = mode;
        mode = next;
        return before;
    }

    /// How many conversations it knows.
    public synchronized int numConversations() {
        return conversations.size();
    }

    /// The last conversations, the newest first.
    public synchronized List<ConversationSummary> conversations(int limit) {
        return conversations.latest(limit);
    }

    /// Forgets all conversations, sessions, and what lies where. What it learned of the engines' speed stays.
    ///
    /// @return how many conversations there were
    public synchronized int clearConversations() {
        index.clear();
        prefillBalancer.clear();
        decodeBalancer.clear();
        return conversations.clear();
    }

    /// The last decisions, the newest first, at most 256.
    public synchronized List<DecisionSummary> decisions(int limit) {
        return log.latest(limit);
    }

    /// What it has done and learned.
    public synchronized PolicyReport report() {
        long now = nanos.getAsLong();
        List<EngineReport> reports = new ArrayList<>();
        for (EngineState engine : engines.values()) {
            reports.add(new EngineReport(
                    engine.name,
                    engine.prefills(),
                    engine.waitMillis(now),
                    engine.streams(),
                    engine.trust,
                    engine.costs.learned()));
        }
        Map<String, Double> stanceCosts = new TreeMap<>();
        weigher.stances().costs().forEach((stance, cost) -> stanceCosts.put(stance.word(), cost));
        return new PolicyReport(
                mode,
                config,
                new TreeMap<>(routes),
                conversations.size(),
                index.size(),
                outputTokens,
                weigher.stances().present().word(),
                stanceCosts,
                reports);
    }

    @Override
    public <E extends EngineView> Optional<Decision<E>> route(
            PolicyRequest request, List<E> prefillers, List<E> decoders) {
        PromptBlocks blocks = request.blocks(key);
        synchronized (this) {
            return decide(request, blocks, prefillers, decoders);
        }
    }

    private <E extends EngineView> Optional<Decision<E>> decide(
            PolicyRequest request, PromptBlocks blocks, List<E> prefillers, List<E> decoders) {
        long now = nanos.getAsLong();
        release(request, now);
        List<E> alone = aloneAmong(prefillers);
        if (decoders.isEmpty() && alone.isEmpty()) {
            return Optional.empty();
        }
        int[] held = new int[seen(prefillers, decoders, now)];
        index.match(blocks.chain(), held);
        if (!request.looked) {
            request.looked = true;
            request.continues = conversations.find(blocks, request.session(), most(held));
            blocks.forgetBytes();
        }
        Candidates<E> decoding = candidates(request, blocks, decoders, held, now);
        CostWeigher.Answer<E> answer = switch (mode) {
            case PD -> pd(request, blocks, candidates(request, blocks, prefillers, held, now), decoding);
            case PPD -> ppd(request, blocks, candidates(request, blocks, prefillers, held, now), decoding);
            case AGGREGATED -> aggregated(request, blocks, both(request, blocks, decoders, alone, held, now));
            case ADAPTIVE -> {
                Candidates<E> prefilling = candidates(request, blocks, prefillers, held, now);
                yield adaptive(
                        request,
                        blocks,
                        prefilling,
                        decoding,
                        alone.size() == prefillers.size() ? prefilling : candidates(request, blocks, alone, held, now));
            }
        };
        assign(request, blocks, answer, now);
        return Optional.of(answer.decision());
    }

    private boolean mayServeAlone() {
        return mode == Mode.AGGREGATED || mode == Mode.ADAPTIVE;
    }

    /// Whether prefillers answer requests by themselves in the present mode.
    public synchronized boolean prefillersAnswer() {
        return prefillersServeAlone && mayServeAlone();
    }

    /// Prefillers that can do both, but are no decoders.
    private <E extends EngineView> List<E> aloneAmong(List<E> prefillers) {
        if (!prefillersServeAlone || !mayServeAlone()) {
            return List.of();
        }
        return prefillers.stream().anyMatch(engine -> engine.role().decodes())
                ? prefillers.stream().filter(engine -> !engine.role().decodes()).toList()
                : prefillers;
    }

    /// Gives every engine its state.
    ///
    /// @return the number of slots
    private <E extends EngineView> int seen(List<E> prefillers, List<E> decoders, long now) {
        for (E engine : prefillers) {
            state(engine.address(), now);
        }
        for (E engine : decoders) {
            state(engine.address(), now);
        }
        return slots.length();
    }

    private EngineState state(EngineAddress address, long now) {
        EngineState known = engines.get(address);
        if (known == null) {
            int slot = slots.nextClearBit(0);
            slots.set(slot);
            known = new EngineState(address, slot, fleetCosts, now);
            engines.put(address, known);
        }
        return known;
    }

    private <E extends EngineView> Candidates<E> candidates(
            PolicyRequest request, PromptBlocks blocks, List<E> list, int[] held, long now) {
        EngineState[] states = new EngineState[list.size()];
        int[] heldBlocks = new int[list.size()];
        double[] heldTokens = new double[list.size()];
        double[] cachedTokens = new double[list.size()];
        for (int i = 0; i < states.length; i++) {
            states[i] = state(list.get(i).address(), 0);
            states[i].said(list.get(i).load());
            heldBlocks[i] = held[states[i].slot];
            heldTokens[i] = heldTokens(request, blocks, states[i], heldBlocks[i]);
            cachedTokens[i] = cachedTokens(request, states[i], heldTokens[i]);
        }
        return new Candidates<>(list, states, heldBlocks, heldTokens, cachedTokens, now);
    }

    private <E extends EngineView> Candidates<E> both(
            PolicyRequest request, PromptBlocks blocks, List<E> decoders, List<E> alone, int[] held, long now) {
        if (alone.isEmpty()) {
            return candidates(request, blocks, decoders, held, now);
        }
        List<E> all = new ArrayList<>(decoders);
        all.addAll(alone);
        return candidates(request, blocks, all, held, now);
    }

    private static int most(int[] values) {
        int most = 0;
        for (int value : values) {
            most = Math.max(most, value);
        }
        return most;
    }

    private <E extends EngineView> CostWeigher.Answer<E> pd(
            PolicyRequest request, PromptBlocks blocks, Candidates<E> prefillers, Candidates<E> decoders) {
        int decoder = decodeBalancer.choose(decoders, blocks, request.session());
        if (prefillers.size() == 0) {
            return direct(request, blocks, decoders, decoder, "no prefiller is left or can be used");
        }
        int prefiller = prefillBalancer.choose(prefillers, blocks, request.session());
        Route<E> route = new Route.Disaggregated<>(
                prefillers.engines().get(prefiller), decoders.engines().get(decoder));
        PromptEstimate prompt = new PromptEstimate(
                tokens(request, blocks),
                prefillers.cachedTokens()[prefiller],
                decoders.cachedTokens()[decoder],
                prefillers.heldTokens()[prefiller]);
        return unweighed(route, "balanced", prompt, prefillers.states()[prefiller], prompt.prefillerCached());
    }

    private <E extends EngineView> CostWeigher.Answer<E> ppd(
            PolicyRequest request, PromptBlocks blocks, Candidates<E> prefillers, Candidates<E> decoders) {
        int home = home(request, decoders);
        return home < 0
                ? pd(request, blocks, prefillers, decoders)
                : direct(request, blocks, decoders, home, "a later turn, and it holds the earlier ones");
    }

    /// The position of the decoder that wrote the conversation's last answer; -1 if there is none.
    private int home(PolicyRequest request, Candidates<?> decoders) {
        Optional<EngineState> home = home(request);
        for (int i = 0; home.isPresent() && i < decoders.size(); i++) {
            if (decoders.states()[i] == home.get()) {
                return i;
            }
        }
        return -1;
    }

    private Optional<EngineState> home(PolicyRequest request) {
        return request.continues.map(continuation -> continuation.conversation().decoder());
    }

    private <E extends EngineView> CostWeigher.Answer<E> aggregated(
            PolicyRequest request, PromptBlocks blocks, Candidates<E> all) {
        int engine = decodeBalancer.choose(all, blocks, request.session());
        PromptEstimate prompt = estimate(request, blocks, all, engine);
        return unweighed(
                new Route.Aggregated<>(all.engines().get(engine)),
                "balanced",
                prompt,
                all.states()[engine],
                prompt.decoderCached());
    }

    private <E extends EngineView> CostWeigher.Answer<E> direct(
            PolicyRequest request, PromptBlocks blocks, Candidates<E> decoders, int decoder, String reason) {
        PromptEstimate prompt = estimate(request, blocks, decoders, decoder);
        return unweighed(
                new Route.Direct<>(decoders.engines().get(decoder)),
                reason,
                prompt,
                decoders.states()[decoder],
                prompt.decoderCached());
    }

    private PromptEstimate estimate(
            PolicyRequest request, PromptBlocks blocks, Candidates<?> candidates, int position) {
        return new PromptEstimate(
                tokens(request, blocks),
                0,
                candidates.cachedTokens()[position],
                candidates.heldTokens()[position]);
    }

    private static <E extends EngineView> CostWeigher.Answer<E> unweighed(
            Route<E> route, String reason, PromptEstimate prompt, EngineState computes, double cached) {
        return new CostWeigher.Answer<>(
                Decision.of(route, reason),
                prompt,
                computes.costs.prefillMillis(Math.max(1, prompt.tokens() - cached), cached));
    }

    private <E extends EngineView> CostWeigher.Answer<E> adaptive(
            PolicyRequest request,
            PromptBlocks blocks,
            Candidates<E> prefillers,
            Candidates<E> decoders,
            Candidates<E> alone) {
        return weigher.choose(new CostWeigher.Question<>(
                prefillers,
                decoders,
                alone,
                tokens(request, blocks),
                Math.min(outputTokens, request.maxTokens().orElse(Integer.MAX_VALUE)),
                home(request),
                request.continues.map(Continuation::bytes).orElse(0) / bytesPerToken(request, blocks),
                nanos.getAsLong()));
    }

    private double bytesPerToken(PolicyRequest request, PromptBlocks blocks) {
        return blocks.ids() ? Integer.BYTES : bytesPerToken[request.chat() ? 1 : 0];
    }

    private double tokens(PolicyRequest request, PromptBlocks blocks) {
        return Math.max(1, blocks.length() / bytesPerToken(request, blocks));
    }

    /// Prompt tokens that went to an engine: the blocks, and where it wrote the answer of the turn before,
    /// everything up to that answer's end.
    private double heldTokens(PolicyRequest request, PromptBlocks blocks, EngineState engine, int heldBlocks) {
        double perToken = bytesPerToken(request, blocks);
        double held = heldBlocks * PromptBlocks.BLOCK_BYTES / perToken;
        if (request.continues.isPresent()) {
            Continuation before = request.continues.get();
            if (before.conversation().decoder() == engine) {
                held = Math.max(held, before.bytes() / perToken + before.outputTokens());
            }
        }
        return Math.min(held, tokens(request, blocks) - 1);
    }

    /// Those of them that it is believed to have still.
    private static double cachedTokens(PolicyRequest request, EngineState engine, double heldTokens) {
        OptionalDouble storedAt = storedAt(request, engine);
        if (storedAt.isPresent()) {
            return engine.keeps(storedAt.getAsDouble()) ? heldTokens : 0;
        }
        return engine.trust * heldTokens;
    }

    private static OptionalDouble storedAt(PolicyRequest request, EngineState engine) {
        return request.continues.isPresent()
                ? request.continues.get().conversation().storedAt(engine)
                : OptionalDouble.empty();
    }

    private <E extends EngineView> void assign(
            PolicyRequest request, PromptBlocks blocks, CostWeigher.Answer<E> answer, long now) {
        Route<E> route = answer.decision().route();
        EngineState decoder = state(route.decoder().address(), now);
        EngineState prefiller =
                route instanceof Route.Disaggregated<E>(E prefills, E decodes) ? state(prefills.address(), now) : null;
        Assignment assignment =
                new Assignment(prefiller, decoder, answer.prompt(), answer.prefillMillis(), log.next(), now);
        assignment.computes().prefillAssigned(assignment.expectedMillis, now);
        decoder.decodeAssigned();
        index.addChain(blocks.chain(), decoder.slot);
        if (prefiller != null) {
            index.addChain(blocks.chain(), prefiller.slot);
        }
        request.assignment = assignment;
        String kind = switch (route) {
            case Route.Disaggregated<E> disaggregated -> "disaggregated";
            case Route.Direct<E> direct -> "direct";
            case Route.Aggregated<E> aggregated -> "aggregated";
        };
        routes.merge(kind, 1L, Long::sum);
        log.add(new DecisionSummary(
                log.next(),
                epochMillis.getAsLong(),
                mode,
                kind + (prefiller == null ? " " : " " + prefiller.name + " -> ") + decoder.name,
                answer.decision().reason(),
                request.continues.map(Continuation::turn).orElse(blocks.turn()),
                (int) answer.prompt().tokens(),
                (int) assignment.cachedTokens(),
                answer.decision().considered(),
                Optional.empty()));
    }

    @Override
    public synchronized void prefilled(PolicyRequest request) {
        Assignment assignment = request.assignment;
        if (assignment != null && assignment.phase == Assignment.Phase.PREFILL && assignment.prefiller != null) {
            prefilled(request, assignment, nanos.getAsLong());
        }
    }

    private static void prefilled(PolicyRequest request, Assignment assignment, long now) {
        EngineState engine = assignment.computes();
        double took = engine.prefillEnded(assignment.expectedMillis, assignment.routedNanos, now);
        double cached = learnCached(request, assignment, took);
        double computed = Math.max(1, assignment.prompt.tokens() - cached);
        engine.costs.learnPrefill(took, computed, cached);
        engine.stored(computed);
        assignment.prefilledNanos = now;
        assignment.phase = Assignment.Phase.TRANSFER;
        assignment.decoder.transferStarted(assignment.movedTokens());
    }

    /// Finds out whether an engine had in its cache what it was believed to have, by the time that the prefill
    /// took: engines do not say by default. As far as what is expected with and without differs enough.
    ///
    /// @return prompt tokens that it had
    private static double learnCached(PolicyRequest request, Assignment assignment, double tookMillis) {
        EngineState engine = assignment.computes();
        double tokens = assignment.prompt.tokens();
        double held = assignment.prompt.held();
        double without = engine.costs.prefillMillis(tokens, 0);
        double with = engine.costs.prefillMillis(Math.max(1, tokens - held), held);
        boolean missed = tookMillis > MISSED * without;
        boolean found = tookMillis < FOUND * without;
        if (held <= 0 || without < 4 * with || (!missed && !found)) {
            return assignment.cachedTokens(); // prefills share steps, so that short ones may look long
        }
        OptionalDouble storedAt = storedAt(request, engine);
        if (storedAt.isPresent()) {
            engine.found(storedAt.getAsDouble(), found);
        } else {
            engine.trust += FRESH * ((found ? 1 : 0) - engine.trust);
        }
        return found ? held : 0;
    }

    @Override
    public synchronized void fetchesOnly(PolicyRequest request) {
        Assignment assignment = request.assignment;
        if (assignment != null && assignment.phase == Assignment.Phase.PREFILL) {
            long now = nanos.getAsLong();
            assignment.computes().prefillEnded(assignment.expectedMillis, assignment.routedNanos, now);
            assignment.prefilledNanos = now;
            assignment.phase = Assignment.Phase.TRANSFER;
            assignment.decoder.transferStarted(assignment.movedTokens());
        }
    }

    @Override
    public synchronized void firstToken(PolicyRequest request) {
        Assignment assignment = request.assignment;
        if (assignment != null) {
            firstToken(request, assignment, nanos.getAsLong());
        }
    }

    private static void firstToken(PolicyRequest request, Assignment assignment, long now) {
        if (assignment.phase == Assignment.Phase.STREAM) {
            return;
        }
        boolean moved = assignment.phase == Assignment.Phase.TRANSFER;
        if (!moved) {
            prefilled(request, assignment, now);
        }
        EngineState decoder = assignment.decoder;
        double onTheWay = decoder.tokensOnTheWay();
        decoder.transferEnded(assignment.movedTokens());
        decoder.stored(assignment.movedTokens());
        if (moved
                && assignment.prefiller != null
                && (decoder.prefills() == 0 || decoder.costs.transfers() < FEW)) { // else it may have waited for them
            double step = decoder.costs.stepMillis(decoder.streams() + 1);
            double took = (now - assignment.prefilledNanos) / NANOS_PER_MILLI;
            decoder.costs.learnTransfer(Math.max(0, took - step), onTheWay);
        }
        decoder.streamStarted(now);
        assignment.firstTokenNanos = now;
        assignment.streamMillisBefore = decoder.streamMillis(now);
        assignment.prefilledMillisBefore = decoder.prefilledMillis();
        assignment.phase = Assignment.Phase.STREAM;
    }

    @Override
    public void ended(PolicyRequest request, RouteOutcome outcome) {
        PromptBlocks blocks = request.blocks(key);
        synchronized (this) {
            Assignment assignment = request.assignment;
            if (assignment == null) {
                return;
            }
            long now = nanos.getAsLong();
            log.ended(assignment.number, outcome);
            if (outcome.served()) {
                learn(request, blocks, assignment, outcome, now);
            }
            release(request, now);
        }
    }

    private void learn(
            PolicyRequest request, PromptBlocks blocks, Assignment assignment, RouteOutcome outcome, long now) {
        if (assignment.phase == Assignment.Phase.STREAM) {
            learnStep(assignment, outcome, now);
        }
        if (outcome.outputTokens() > 0) {
            assignment.decoder.stored(outcome.outputTokens());
            outputTokens += FRESH * (outcome.outputTokens() - outputTokens);
        }
        if (outcome.promptTokens() > 0) {
            learnPrompt(request, blocks, outcome);
        }
        conversations.answered(
                blocks,
                request.session(),
                request.continues,
                assignment,
                outcome.outputTokens(),
                epochMillis.getAsLong());
    }

    private static void learnStep(Assignment assignment, RouteOutcome outcome, long now) {
        double millis = (now - assignment.firstTokenNanos) / NANOS_PER_MILLI;
        int steps = outcome.outputTokens() - 1;
        if (steps < 1 || !(millis > 0)) {
            return;
        }
        EngineState decoder = assignment.decoder;
        double streams = (decoder.streamMillis(now) - assignment.streamMillisBefore) / millis;
        double prefilled = decoder.prefilledMillis() - assignment.prefilledMillisBefore;
        decoder.costs.learnStep(millis / steps, streams, prefilled / steps);
    }

    private void learnPrompt(PolicyRequest request, PromptBlocks blocks, RouteOutcome outcome) {
        if (!blocks.ids() && isTextAlone(request)) {
            int form = request.chat() ? 1 : 0;
            double measured = (double) blocks.length() / outcome.promptTokens();
            bytesPerToken[form] += FRESH * (measured - bytesPerToken[form]);
        }
    }

    /// Whether the prompt's tokens are those of its text: not those of several prompts, images, tools or documents.
    private static boolean isTextAlone(PolicyRequest request) {
        JsonNode body = request.body();
        if (!request.chat()) {
            JsonNode prompt = body.path("prompt");
            return prompt.isString() || (prompt.size() == 1 && prompt.get(0).isString());
        }
        return !body.hasNonNull("tools")
                && !body.hasNonNull("documents")
                && body.path("messages")
                        .valueStream()
                        .flatMap(message -> message.path("content").valueStream())
                        .allMatch(part -> part.path("text").isString());
    }

    /// Takes back what a request was given to do and has not done.
    private static void release(PolicyRequest request, long now) {
        Assignment assignment = request.assignment;
        if (assignment == null) {
            return;
        }
        switch (assignment.phase) {
            case PREFILL -> assignment.computes().prefillEnded(assignment.expectedMillis, assignment.routedNanos, now);
            case TRANSFER -> assignment.decoder.transferEnded(assignment.movedTokens());
            case STREAM -> assignment.decoder.streamEnded(now);
        }
        assignment.decoder.decodeEnded();
        request.assignment = null;
    }

    @Override
    public synchronized void forgotten(EngineView engine) {
        EngineState gone = engines.remove(engine.address());
        if (gone != null) {
            slots.clear(gone.slot);
            index.forget(gone.slot);
            conversations.forget(gone);
            prefillBalancer.forget(gone);
            decodeBalancer.forget(gone);
        }
    }
}
