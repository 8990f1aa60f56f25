package dev.baton.router.policy;

import dev.baton.router.policy.Assignment.PromptEstimate;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;

/// The choice of the mode [Mode#ADAPTIVE]: what each route is expected to cost the request and the streams that
/// run, and the cheapest.
///
/// A route's cost is `w_ttft` times the expected time to the first token, and `w_tpot` times the delay of
/// tokens: of the request's own, by the batch that it joins, and of the streams of the decoder, by the batch
/// that becomes larger and by a prefill that runs among them. The idea to weigh turns by both is PPD's; its
/// offline tables are replaced by what [EngineCosts] learns.
///
/// A kind of route that was not taken for long and is not expected to be much dearer is taken once in a while, so
/// that its costs are measured anew. Not thread-safe: used under the policy's lock.
final class CostWeigher {
    /// Decisions after which a kind of route is to be measured again.
    private static final int STALE = 128;

    /// Decisions between two that are taken to measure.
    private static final int PAUSE = 16;

    /// What measuring may cost.
    private static final double BEARABLE = 1.5;

    /// The decoder of the turn before is left for one that is cheaper by more than this.
    private static final double STICKY = 0.97;

    /// From this usage on new requests wait for others to end.
    private static final double FULL = 0.97;

    /// How much those count that are still to come.
    private static final double CROWDING = 3;

    private static final long FRESH_NANOS = 10_000_000_000L;

    private final double ttftWeight;
    private final double tpotWeight;
    private final Map<Kind, Long> lastTaken = new EnumMap<>(Kind.class);
    private long decisions = STALE;
    private long lastMeasuring;

    CostWeigher(double ttftWeight, double tpotWeight) {
        this.ttftWeight = ttftWeight;
        this.tpotWeight = tpotWeight;
    }

    /// Kinds of routes, in the order in which equals are preferred.
    enum Kind {
        DISAGGREGATED,
        DIRECT,
        AGGREGATED
    }

    /// What a decision is made from.
    ///
    /// @param prefillers that may prefill for others
    /// @param decoders that may decode
    /// @param alone engines that are no decoders and may do both; empty if there are none
    /// @param tokens of the prompt
    /// @param outputTokens that are expected
    /// @param home the decoder of the turn before
    record Question<E extends EngineView>(
            Candidates<E> prefillers,
            Candidates<E> decoders,
            Candidates<E> alone,
            double tokens,
            double outputTokens,
            Optional<EngineState> home,
            long nowNanos) {}

    /// The route chosen, and what its parts were expected to be.
    ///
    /// @param prefillMillis of the prompt's computation by itself
    record Answer<E extends EngineView>(Decision<E> decision, PromptEstimate prompt, double prefillMillis) {}

    /// The best route of one kind.
    private static final class Best {
        private final Kind kind;
        private int engine = -1;
        private double ttftMillis;
        private double harmMillis;
        private double cost = Double.POSITIVE_INFINITY;

        private Best(Kind kind) {
            this.kind = kind;
        }

        private void offer(int candidate, double ttft, double harm, double weighed) {
            if (weighed < cost) {
                engine = candidate;
                ttftMillis = ttft;
                harmMillis = harm;
                cost = weighed;
            }
        }

        private boolean exists() {
            return engine >= 0;
        }
    }

    <E extends EngineView> Answer<E> choose(Question<E> question) {
        OptionalInt prefiller = soonest(question);
        Best disaggregated = new Best(Kind.DISAGGREGATED);
        prefiller.ifPresent(index -> weighDisaggregated(question, index, disaggregated));
        Best direct = new Best(Kind.DIRECT);
        weighAlone(question, question.decoders(), direct);
        Best aggregated = new Best(Kind.AGGREGATED);
        weighAlone(question, question.alone(), aggregated);

        Best cheapest = disaggregated;
        for (Best other : List.of(direct, aggregated)) {
            if (other.cost < cheapest.cost) {
                cheapest = other;
            }
        }
        decisions++;
        Best taken = cheapest;
        String reason = "cheapest";
        for (Best other : List.of(disaggregated, direct, aggregated)) {
            if (other != cheapest && isToBeMeasured(other, cheapest)) {
                taken = other;
                reason = "to measure it";
            }
        }
        if (taken != cheapest) {
            lastMeasuring = decisions;
        }
        lastTaken.put(taken.kind, decisions);

        List<Decision.Weighed> considered = new ArrayList<>(3);
        for (Best best : List.of(disaggregated, direct, aggregated)) {
            if (best.exists()) {
                considered.add(new Decision.Weighed(
                        name(question, best, prefiller), best.ttftMillis, best.harmMillis, best.cost));
            }
        }
        return answer(question, taken, prefiller, reason, considered);
    }

    private boolean isToBeMeasured(Best other, Best cheapest) {
        return other.exists()
                && decisions - lastTaken.getOrDefault(other.kind, 0L) > STALE
                && decisions - lastMeasuring > PAUSE
                && other.cost <= BEARABLE * cheapest.cost;
    }

    private static <E extends EngineView> Answer<E> answer(
            Question<E> question, Best taken, OptionalInt prefiller, String reason, List<Decision.Weighed> considered) {
        int engine = taken.engine;
        return switch (taken.kind) {
            case DISAGGREGATED -> {
                int first = prefiller.getAsInt();
                PromptEstimate prompt = new PromptEstimate(
                        question.tokens(),
                        question.prefillers().cachedTokens()[first],
                        question.decoders().cachedTokens()[engine],
                        question.prefillers().heldTokens()[first]);
                Route<E> route = new Route.Disaggregated<>(
                        question.prefillers().engines().get(first),
                        question.decoders().engines().get(engine));
                yield new Answer<>(
                        new Decision<>(route, reason, considered),
                        prompt,
                        prefillMillis(question, question.prefillers(), first));
            }
            case DIRECT -> {
                Route<E> route =
                        new Route.Direct<>(question.decoders().engines().get(engine));
                yield new Answer<>(
                        new Decision<>(route, reason, considered),
                        alone(question, question.decoders(), engine),
                        prefillMillis(question, question.decoders(), engine));
            }
            case AGGREGATED -> {
                Route<E> route =
                        new Route.Aggregated<>(question.alone().engines().get(engine));
                yield new Answer<>(
                        new Decision<>(route, reason, considered),
                        alone(question, question.alone(), engine),
                        prefillMillis(question, question.alone(), engine));
            }
        };
    }

    private static <E extends EngineView> PromptEstimate alone(
            Question<E> question, Candidates<E> candidates, int engine) {
        return new PromptEstimate(
                question.tokens(),
                0,
                candidates.cachedTokens()[engine],
                candidates.heldTokens()[engine]);
    }

    private static <E extends EngineView> String name(Question<E> question, Best best, OptionalInt prefiller) {
        return switch (best.kind) {
            case DISAGGREGATED ->
                "disaggregated " + question.prefillers().states()[prefiller.getAsInt()].name + " -> "
                        + question.decoders().states()[best.engine].name;
            case DIRECT -> "direct " + question.decoders().states()[best.engine].name;
            case AGGREGATED -> "aggregated " + question.alone().states()[best.engine].name;
        };
    }

    private static <E extends EngineView> double prefillMillis(
            Question<E> question, Candidates<E> candidates, int index) {
        double cached = candidates.cachedTokens()[index];
        double computed = Math.max(1, question.tokens() - cached);
        return candidates.states()[index].costs.prefillMillis(computed, cached);
    }

    /// The prefiller that has the prompt computed first, by weight.
    private <E extends EngineView> OptionalInt soonest(Question<E> question) {
        Candidates<E> candidates = question.prefillers();
        double most = mostWeight(candidates);
        int best = -1;
        double least = Double.POSITIVE_INFINITY;
        int from = candidates.size() == 0 ? 0 : (int) (decisions % candidates.size());
        for (int i = 0; i < candidates.size(); i++) {
            int index = (from + i) % candidates.size();
            double prefill = prefillMillis(question, candidates, index);
            double cost = (ttftWeight
                                    * (waitMillis(question, candidates, index)
                                            + prefill
                                            + crowdingMillis(question, candidates, index, prefill))
                            + tpotWeight * delayMillis(candidates, index, prefill))
                    * most
                    / candidates.weight(index);
            if (cost < least) {
                least = cost;
                best = index;
            }
        }
        return best < 0 ? OptionalInt.empty() : OptionalInt.of(best);
    }

    /// By how much a prefill delays the streams of its engine.
    private static double delayMillis(Candidates<?> candidates, int index, double prefillMillis) {
        EngineState engine = candidates.states()[index];
        return prefillMillis * engine.costs.harmPerPrefillMilli() * engine.streams();
    }

    /// By how much a prefill delays those that will come to its engine while it is there.
    private static <E extends EngineView> double crowdingMillis(
            Question<E> question, Candidates<E> candidates, int index, double prefillMillis) {
        double share = candidates.states()[index].prefillShare(question.nowNanos());
        return CROWDING * prefillMillis * share / (1 - share);
    }

    private <E extends EngineView> void weighDisaggregated(Question<E> question, int prefiller, Best best) {
        Candidates<E> decoders = question.decoders();
        double prefill = prefillMillis(question, question.prefillers(), prefiller);
        double computed = waitMillis(question, question.prefillers(), prefiller) + prefill;
        double crowding = crowdingMillis(question, question.prefillers(), prefiller, prefill);
        double delay = delayMillis(question.prefillers(), prefiller, prefill);
        double most = mostWeight(decoders);
        for (int i = 0; i < decoders.size(); i++) {
            EngineState decoder = decoders.states()[i];
            double moved = Math.max(0, question.tokens() - decoders.cachedTokens()[i]);
            double fetched = computed + decoder.costs.transferMillis(moved + decoder.tokensOnTheWay());
            double ttft = Math.max(fetched, waitMillis(question, decoders, i))
                    + decoder.costs.stepMillis(streams(decoders, i) + 1);
            double harm = delay + joiningMillis(question, decoders, i);
            offer(question, decoders, i, ttft, crowding, harm, most, best);
        }
    }

    private <E extends EngineView> void weighAlone(Question<E> question, Candidates<E> candidates, Best best) {
        double most = mostWeight(candidates);
        for (int i = 0; i < candidates.size(); i++) {
            double prefill = prefillMillis(question, candidates, i);
            double ttft = waitMillis(question, candidates, i) + prefill;
            double crowding = crowdingMillis(question, candidates, i, prefill);
            double harm = delayMillis(candidates, i, prefill) + joiningMillis(question, candidates, i);
            offer(question, candidates, i, ttft, crowding, harm, most, best);
        }
    }

    private <E extends EngineView> void offer(
            Question<E> question,
            Candidates<E> candidates,
            int index,
            double ttft,
            double crowding,
            double harm,
            double mostWeight,
            Best best) {
        double sticky =
                question.home().filter(candidates.states()[index]::equals).isPresent() ? STICKY : 1;
        double cost =
                (ttftWeight * (ttft + crowding) + tpotWeight * harm) * sticky * mostWeight / candidates.weight(index);
        best.offer(index, ttft, harm, cost);
    }

    private static double mostWeight(Candidates<?> candidates) {
        double most = 0;
        for (int i = 0; i < candidates.size(); i++) {
            most = Math.max(most, candidates.weight(i));
        }
        return most;
    }

    /// What it costs that the batch of an engine has one stream more: by how much the request's own tokens are
    /// later than in an empty one, and by how much all the others' are, as long as it runs.
    private static <E extends EngineView> double joiningMillis(
            Question<E> question, Candidates<E> candidates, int index) {
        EngineState engine = candidates.states()[index];
        double streams = streams(candidates, index);
        double interrupted = engine.costs.harmPerPrefillMilli() * engine.prefillShare(question.nowNanos());
        double own = engine.costs.stepMillis(streams + 1) / (1 - interrupted);
        return question.outputTokens() * (own + streams * engine.costs.stepMillisPerStream());
    }

    private static double streams(Candidates<?> candidates, int index) {
        EngineState engine = candidates.states()[index];
        return Math.max(
                engine.assigned(), candidates.engines().get(index).load().running());
    }

    /// How long a prefill waits on an engine: for those before it that are known, for those that the engine says,
    /// and for memory.
    private static <E extends EngineView> double waitMillis(Question<E> question, Candidates<E> candidates, int index) {
        EngineState engine = candidates.states()[index];
        double wait = engine.waitMillis(question.nowNanos());
        EngineLoad load = candidates.engines().get(index).load();
        if (load.known() && question.nowNanos() - load.atNanos() < FRESH_NANOS) {
            int others = load.waiting() - engine.prefills();
            if (others > 0) {
                wait += others * engine.costs.prefillMillis(question.tokens(), 0);
            }
            if (load.kvCacheUsage() > FULL && load.running() > 0) {
                double streams = load.running();
                wait += question.outputTokens() * engine.costs.stepMillis(streams) / streams;
            }
        }
        return wait;
    }
}
