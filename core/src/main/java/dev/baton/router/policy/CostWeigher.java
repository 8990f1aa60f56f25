package dev.baton.router.policy;

import dev.baton.router.policy.Assignment.PromptEstimate;
import dev.baton.router.policy.Stances.Stance;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/// The choice of the mode [Mode#ADAPTIVE]: what each route is expected to cost the request and those beside it, and
/// the cheapest.
///
/// A route's cost is `w_ttft` times the expected time to the first token and the delay of prefills behind it,
/// and `w_tpot` times the delay of tokens: of the request's own, by the batch that it joins, and of the
/// engine's streams, by the batch that becomes larger and by a prefill that runs among them. The idea to weigh
/// turns by both is PPD's; its offline tables are replaced by what [EngineCosts] learns. [Stances] says which
/// kinds of routes are weighed.
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

    private final double ttftWeight;
    private final double tpotWeight;
    private final EngineCosts fleet;
    private final Stances stances;
    private final Map<Kind, Long> lastTaken = new EnumMap<>(Kind.class);
    private long decisions = STALE;
    private long lastMeasuring;

    /// @param fleet costs of all engines together
    CostWeigher(double ttftWeight, double tpotWeight, EngineCosts fleet) {
        this.ttftWeight = ttftWeight;
        this.tpotWeight = tpotWeight;
        this.fleet = fleet;
        this.stances = new Stances(ttftWeight, tpotWeight);
    }

    /// Kinds of routes, in the order in which equals are preferred.
    private enum Kind {
        DISAGGREGATED,
        DIRECT,
        AGGREGATED;

        private String word() {
            return switch (this) {
                case DISAGGREGATED -> "disaggregated ";
                case DIRECT -> "direct ";
                case AGGREGATED -> "aggregated ";
            };
        }
    }

    /// What a decision is made from.
    ///
    /// @param prefillers that may prefill for others
    /// @param decoders that may decode
    /// @param alone engines that are no decoders and may do both; empty if there are none
    /// @param tokens of the prompt
    /// @param outputTokens that are expected
    /// @param home the engine that wrote the answer of the turn before
    /// @param earlierTokens of the prompt of the turn before
    record Question<E extends EngineView>(
            Candidates<E> prefillers,
            Candidates<E> decoders,
            Candidates<E> alone,
            double tokens,
            double outputTokens,
            Optional<EngineState> home,
            double earlierTokens,
            long nowNanos) {
        private EngineFigures<E> figures(Candidates<E> candidates) {
            return new EngineFigures<>(candidates, tokens, outputTokens, nowNanos);
        }
    }

    /// The route chosen, and what its parts were expected to be.
    ///
    /// @param prefillMillis of the prompt's computation by itself
    record Answer<E extends EngineView>(Decision<E> decision, PromptEstimate prompt, double prefillMillis) {}

    /// The best route of one kind.
    private static final class Best<E extends EngineView> {
        private final Kind kind;
        private final EngineFigures<E> decoding;
        private int decoder = -1;
        private double ttftMillis;
        private double harmMillis;
        private double cost = Double.POSITIVE_INFINITY;

        private Best(Kind kind, EngineFigures<E> decoding) {
            this.kind = kind;
            this.decoding = decoding;
        }

        private void offer(int candidate, double ttft, double harm, double weighed) {
            if (weighed < cost) {
                decoder = candidate;
                ttftMillis = ttft;
                harmMillis = harm;
                cost = weighed;
            }
        }

        private boolean exists() {
            return decoder >= 0;
        }

        private String decoderName() {
            return decoding.candidates.states()[decoder].name;
        }
    }

    Stances stances() {
        return stances;
    }

    <E extends EngineView> Answer<E> choose(Question<E> question) {
        EngineFigures<E> prefilling = question.figures(question.prefillers());
        EngineFigures<E> decoding = question.figures(question.decoders());
        EngineFigures<E> alone =
                question.alone().size() == question.prefillers().size()
                        ? prefilling
                        : question.figures(question.alone());
        int prefiller = soonest(prefilling);
        Best<E> disaggregated = new Best<>(Kind.DISAGGREGATED, decoding);
        if (prefiller >= 0) {
            weighDisaggregated(question, prefilling, prefiller, disaggregated);
        }
        Best<E> direct = new Best<>(Kind.DIRECT, decoding);
        weighAlone(question, direct);
        Best<E> aggregated = new Best<>(Kind.AGGREGATED, alone);
        weighAlone(question, aggregated);
        tellStances(question, prefilling, decoding, alone);

        List<Best<E>> kinds = List.of(disaggregated, direct, aggregated);
        Best<E> taken = ofStance(question, disaggregated, direct, aggregated);
        String reason = "cheapest, " + stances.present().word();
        decisions++;
        Best<E> cheapest = taken;
        for (Best<E> other : kinds) {
            if (stances.present() == Stance.FREE && other != cheapest && isToBeMeasured(other, cheapest)) {
                taken = other;
                reason = "to measure it";
                lastMeasuring = decisions;
            }
        }
        lastTaken.put(taken.kind, decisions);

        List<Decision.Weighed> considered = new ArrayList<>(kinds.size());
        for (Best<E> best : kinds) {
            if (best.exists()) {
                String via =
                        best.kind == Kind.DISAGGREGATED ? prefilling.candidates.states()[prefiller].name + " -> " : "";
                considered.add(new Decision.Weighed(
                        best.kind.word() + via + best.decoderName(), best.ttftMillis, best.harmMillis, best.cost));
            }
        }
        return answer(question, taken, prefilling, prefiller, reason, considered);
    }

    private <E extends EngineView> Best<E> ofStance(
            Question<E> question, Best<E> disaggregated, Best<E> direct, Best<E> aggregated) {
        boolean later = direct.exists() && isHeldAtHome(question, question.decoders());
        if (stances.present() != Stance.FREE && disaggregated.exists()) {
            return later && stances.present() == Stance.TURNS ? direct : disaggregated;
        }
        return cheaper(cheaper(disaggregated, direct), aggregated);
    }

    private static <E extends EngineView> Best<E> cheaper(Best<E> one, Best<E> other) {
        return other.cost < one.cost || !one.exists() ? other : one;
    }

    private boolean isToBeMeasured(Best<?> other, Best<?> cheapest) {
        return other.exists()
                && decisions - lastTaken.getOrDefault(other.kind, 0L) > STALE
                && decisions - lastMeasuring > PAUSE
                && other.cost <= BEARABLE * cheapest.cost;
    }

    /// Whether it is a later turn, and the engine that wrote the last answer is one of these and still has most
    /// of it.
    private static boolean isHeldAtHome(Question<?> question, Candidates<?> candidates) {
        for (int i = 0; question.home().isPresent() && i < candidates.size(); i++) {
            if (candidates.states()[i] == question.home().get()) {
                return candidates.cachedTokens()[i] > question.tokens() / 2;
            }
        }
        return false;
    }

    private <E extends EngineView> void tellStances(
            Question<E> question, EngineFigures<E> prefilling, EngineFigures<E> decoding, EngineFigures<E> alone) {
        boolean later = isHeldAtHome(question, question.decoders()) || isHeldAtHome(question, question.alone());
        double cached = Math.max(prefilling.mostCached(), later ? question.earlierTokens() : 0);
        double handedOver = fleet.prefillMillis(Math.max(1, question.tokens() - cached), cached);
        double latency = fleet.transferMillis(0);
        double fetch = fleet.transferMillis(Math.max(0, question.tokens() - decoding.mostCached())) - latency;
        double anywhere = Math.min(decoding.shortestPrefill(), alone.shortestPrefill());
        stances.came(
                new Stances.Request(
                        later, Math.min(anywhere, handedOver), handedOver, fetch, latency, question.outputTokens()),
                question.nowNanos());
        if (stances.isDue()) {
            stances.compare(prefilling.size(), decoding.size(), alone.size(), fleet);
        }
    }

    private static <E extends EngineView> Answer<E> answer(
            Question<E> question,
            Best<E> taken,
            EngineFigures<E> prefilling,
            int prefiller,
            String reason,
            List<Decision.Weighed> considered) {
        Candidates<E> candidates = taken.decoding.candidates;
        E decoder = candidates.engines().get(taken.decoder);
        double decoderCached = candidates.cachedTokens()[taken.decoder];
        if (taken.kind == Kind.DISAGGREGATED) {
            Route<E> route =
                    new Route.Disaggregated<>(prefilling.candidates.engines().get(prefiller), decoder);
            PromptEstimate prompt = new PromptEstimate(
                    question.tokens(),
                    prefilling.candidates.cachedTokens()[prefiller],
                    decoderCached,
                    prefilling.candidates.heldTokens()[prefiller]);
            return new Answer<>(new Decision<>(route, reason, considered), prompt, prefilling.prefill[prefiller]);
        }
        Route<E> route = taken.kind == Kind.DIRECT ? new Route.Direct<>(decoder) : new Route.Aggregated<>(decoder);
        PromptEstimate prompt = new PromptEstimate(
                question.tokens(), 0, decoderCached, candidates.heldTokens()[taken.decoder]);
        return new Answer<>(new Decision<>(route, reason, considered), prompt, taken.decoding.prefill[taken.decoder]);
    }

    /// The prefiller that costs least to prefill on; -1 if there is none.
    private int soonest(EngineFigures<?> prefilling) {
        int best = -1;
        double least = Double.POSITIVE_INFINITY;
        int size = prefilling.size();
        int from = size == 0 ? 0 : (int) (decisions % size);
        for (int i = 0; i < size; i++) {
            int index = (from + i) % size;
            double cost =
                    (ttftWeight * (prefilling.wait[index] + prefilling.prefill[index] + prefilling.crowding[index])
                                    + tpotWeight * prefilling.delay[index])
                            * prefilling.scarcity[index];
            if (cost < least) {
                least = cost;
                best = index;
            }
        }
        return best;
    }

    private <E extends EngineView> void weighDisaggregated(
            Question<E> question, EngineFigures<E> prefilling, int prefiller, Best<E> best) {
        EngineFigures<E> decoding = best.decoding;
        double computed = prefilling.wait[prefiller] + prefilling.prefill[prefiller];
        for (int i = 0; i < decoding.size(); i++) {
            EngineState decoder = decoding.candidates.states()[i];
            double moved = Math.max(0, question.tokens() - decoding.candidates.cachedTokens()[i]);
            double fetched = computed + decoder.costs.transferMillis(moved + decoder.tokensOnTheWay());
            double ttft = Math.max(fetched, decoding.wait[i]) + decoder.costs.stepMillis(decoding.streams(i) + 1);
            double harm = prefilling.delay[prefiller] + decoding.joining[i];
            offer(question, i, ttft, prefilling.crowding[prefiller], harm, best);
        }
    }

    private <E extends EngineView> void weighAlone(Question<E> question, Best<E> best) {
        EngineFigures<E> engines = best.decoding;
        for (int i = 0; i < engines.size(); i++) {
            double ttft = engines.wait[i] + engines.prefill[i];
            offer(question, i, ttft, engines.crowding[i], engines.delay[i] + engines.joining[i], best);
        }
    }

    private <E extends EngineView> void offer(
            Question<E> question, int index, double ttft, double crowding, double harm, Best<E> best) {
        boolean atHome = question.home().isPresent()
                && best.decoding.candidates.states()[index] == question.home().get();
        double cost = (ttftWeight * (ttft + crowding) + tpotWeight * harm) * best.decoding.scarcity[index];
        best.offer(index, ttft, harm, atHome ? STICKY * cost : cost);
    }
}
