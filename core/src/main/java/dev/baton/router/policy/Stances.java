package dev.baton.router.policy;

import java.util.EnumMap;
import java.util.Locale;
import java.util.Map;

/// Which kinds of routes the mode [Mode#ADAPTIVE] weighs at a time.
///
/// The cheapest route for each request is not the best for all: prefillers that also decode make it cheap to
/// decode there, decoders that also prefill make it cheap to prefill there, and a fleet that is mixed stays
/// mixed even if it would be faster with its roles kept apart. So whole stances are compared as well, by what
/// requests would take under each in the long run: engines are queues with one server (Pollaczek and
/// Khinchine's formula for the wait), fed at the rate at which requests come, with the times that [EngineCosts]
/// has learned; streams share an engine with each other and with its prefills. Not thread-safe: used under the
/// policy's lock.
final class Stances {
    /// Kinds of routes that are weighed.
    enum Stance {
        /// All.
        FREE,
        /// First turns are handed over, later ones go to their decoder, as in [Mode#PPD].
        TURNS,
        /// Every request is handed over, as in [Mode#PD].
        HANDED_OVER;

        String word() {
            return name().toLowerCase(Locale.ROOT);
        }
    }

    /// Requests between two comparisons.
    private static final int PAUSE = 32;

    /// What another stance must save to be taken.
    private static final double BETTER = 0.92;

    private static final long ENOUGH_TRANSFERS = 6;
    private static final long FIRST_PAUSE = 256;
    private static final long LONGEST_PAUSE = 1 << 14;
    private static final double FRESH = 0.02;
    private static final double OVERLOADED = 0.8;
    private static final double MOST_STREAMS = 1024;
    private static final int ROUNDS = 40;

    /// Running averages of a kind of work over all requests: its milliseconds, their square, and how many requests
    /// have any.
    private static final class Work {
        private double mean;
        private double square;
        private double share;

        private void add(double millis, double fresh) {
            mean += fresh * (millis - mean);
            square += fresh * (millis * millis - square);
            share += fresh * ((millis > 0 ? 1 : 0) - share);
        }

        /// How long a request waits for others' work in one of so many queues, on average over all requests.
        private double waitMillis(double ratePerMilli, double queues) {
            double rate = ratePerMilli / queues;
            return share * rate * square / (2 * (1 - busy(ratePerMilli, queues)));
        }

        /// The share of time that it takes of each queue.
        private double busy(double ratePerMilli, double queues) {
            return ratePerMilli * mean / queues;
        }
    }

    /// One request as it would be on idle engines, all times in milliseconds.
    ///
    /// @param later whether it continues a conversation whose decoder is known
    /// @param anywhereMillis of its prefill where it is shortest
    /// @param handedOverMillis of its prefill on a prefiller that had all turns before
    /// @param fetchMillis for which its transfer occupies a link
    /// @param latencyMillis that a transfer takes besides
    record Request(
            boolean later,
            double anywhereMillis,
            double handedOverMillis,
            double fetchMillis,
            double latencyMillis,
            double outputTokens) {}

    private final double ttftWeight;
    private final double tpotWeight;
    private final Work anywhere = new Work();
    private final Work handedOver = new Work();
    private final Work firstTurns = new Work();
    private final Work laterTurns = new Work();
    private final Work fetches = new Work();
    private final Work allFetches = new Work();
    private final Map<Stance, Double> costs = new EnumMap<>(Stance.class);
    /// A stance that disappointed is left alone for ever more requests, so that the fleet does not swing.
    private final Map<Stance, Long> pauses = new EnumMap<>(Stance.class);

    private final Map<Stance, Long> notBefore = new EnumMap<>(Stance.class);
    private double latencyMillis;
    private double outputTokens;
    private double gapMillis;
    private long lastNanos;
    private long requests;
    private Stance present = Stance.FREE;

    Stances(double ttftWeight, double tpotWeight) {
        this.ttftWeight = ttftWeight;
        this.tpotWeight = tpotWeight;
    }

    /// The stance in force.
    Stance present() {
        return present;
    }

    /// What a request is expected to cost in each, as of the last comparison.
    Map<Stance, Double> costs() {
        return costs;
    }

    /// A request came.
    void came(Request request, long nowNanos) {
        double fresh = Math.max(FRESH, 1.0 / (requests + 1));
        if (requests > 0) {
            gapMillis += Math.max(FRESH, 1.0 / requests) * ((nowNanos - lastNanos) / 1e6 - gapMillis);
        }
        lastNanos = nowNanos;
        requests++;
        anywhere.add(request.anywhereMillis, fresh);
        handedOver.add(request.handedOverMillis, fresh);
        firstTurns.add(request.later ? 0 : request.handedOverMillis, fresh);
        laterTurns.add(request.later ? request.anywhereMillis : 0, fresh);
        fetches.add(request.later ? 0 : request.fetchMillis, fresh);
        allFetches.add(request.fetchMillis, fresh);
        latencyMillis += fresh * (request.latencyMillis - latencyMillis);
        outputTokens += fresh * (request.outputTokens - outputTokens);
    }

    /// Whether it is time to compare.
    boolean isDue() {
        return requests % PAUSE == 0;
    }

    /// Compares the stances for a fleet, and takes the best if it is clearly better.
    ///
    /// @param together engines that can do both; 0 for none but the decoders
    void compare(int prefillers, int decoders, int together, EngineCosts fleet) {
        double rate = gapMillis > 0 ? 1 / gapMillis : 0;
        costs.put(Stance.FREE, aloneCost(rate, decoders + together, fleet));
        if (prefillers > 0 && decoders > 0 && fleet.transfers() >= ENOUGH_TRANSFERS) {
            costs.put(Stance.TURNS, handedOverCost(rate, prefillers, decoders, firstTurns, laterTurns, fetches, fleet));
            costs.put(
                    Stance.HANDED_OVER,
                    handedOverCost(rate, prefillers, decoders, handedOver, new Work(), allFetches, fleet));
        }
        Stance best = present;
        for (Map.Entry<Stance, Double> other : costs.entrySet()) {
            boolean due = requests >= notBefore.getOrDefault(other.getKey(), 0L);
            if (due && other.getValue() < costs.getOrDefault(best, Double.POSITIVE_INFINITY)) {
                best = other.getKey();
            }
        }
        if (costs.getOrDefault(best, 0.0) < BETTER * costs.getOrDefault(present, Double.POSITIVE_INFINITY)) {
            long pause = Math.min(LONGEST_PAUSE, 2 * pauses.getOrDefault(present, FIRST_PAUSE / 2));
            pauses.put(present, pause);
            notBefore.put(present, requests + pause);
            present = best;
        }
    }

    /// Every engine prefills and decodes what comes to it.
    private double aloneCost(double rate, int engines, EngineCosts fleet) {
        double busy = anywhere.busy(rate, engines);
        if (busy > OVERLOADED) {
            return overloaded(busy);
        }
        double ttft = anywhere.waitMillis(rate, engines) + anywhere.mean;
        return cost(ttft, busy, rate, engines, fleet);
    }

    private double handedOverCost(
            double rate,
            int prefillers,
            int decoders,
            Work onPrefillers,
            Work onDecoders,
            Work onLinks,
            EngineCosts fleet) {
        double busy = Math.max(
                onPrefillers.busy(rate, prefillers),
                Math.max(onDecoders.busy(rate, decoders), onLinks.busy(rate, decoders)));
        if (busy > OVERLOADED) {
            return overloaded(busy);
        }
        double ttft = onPrefillers.waitMillis(rate, prefillers)
                + onPrefillers.mean
                + onDecoders.waitMillis(rate, decoders)
                + onDecoders.mean
                + onLinks.waitMillis(rate, decoders)
                + onLinks.mean
                + onLinks.share * latencyMillis;
        return cost(ttft, onDecoders.busy(rate, decoders), rate, decoders, fleet);
    }

    /// More than any that is not overloaded, and comparable.
    private static double overloaded(double busy) {
        return 1e9 * busy;
    }

    /// @param prefillShare of the decoding engines' time that prefills take
    private double cost(double ttftMillis, double prefillShare, double rate, int decoding, EngineCosts fleet) {
        double rest = 1 - fleet.harmPerPrefillMilli() * prefillShare;
        double streams = 1;
        for (int i = 0; i < ROUNDS; i++) {
            double among = rate / decoding * outputTokens * fleet.stepMillis(streams) / rest;
            streams = Math.min(MOST_STREAMS, (streams + among) / 2);
        }
        double decode = outputTokens * fleet.stepMillis(Math.max(1, streams)) / rest;
        return ttftWeight * ttftMillis + tpotWeight * decode;
    }
}
