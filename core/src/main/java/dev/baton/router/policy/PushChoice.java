package dev.baton.router.policy;

import java.util.LinkedHashMap;
import java.util.Map;

/// Chooses between pull and push for each hand-off, by what both have cost so far between the two engines.
///
/// What is compared is how long after the prefiller's answer the client has its first and its second token, the
/// mean of the two. With a pull both wait for the second leg, the blocks and a step. With a push the first
/// waits for none of them, and the second for what is left. Both are learned as means of what the last prompts
/// of a class of lengths took, powers of two, so that they hold the link's rate and the decoder's first step
/// without naming them, and so is the time of the prefill. (A line over the length was tried: after many short
/// prompts it said nothing of long ones.) A push keeps blocks and a place at the decoder as long as the prefill
/// takes: it is chosen only where it saves more than [#LEAST_GAIN_MILLIS] and [#LEAST_GAIN] of that time. As
/// long as one of the two is unknown both are taken in turn. Later the other one is taken now and then, so that
/// a link that changes is noticed: a push among pulls soon, a pull among pushes seldom, since somebody waits
/// longer for it.
///
/// Thread-safe.
public final class PushChoice {
    /// What a push has to save at least.
    static final double LEAST_GAIN_MILLIS = 2;
    /// The same as a share of the prefill.
    static final double LEAST_GAIN = 0.02;

    /// Of the mean of the last ten or so.
    private static final double NEWEST = 0.1;

    private static final int ENOUGH = 6;
    private static final int TRY_PUSH = 32;
    private static final int TRY_PULL = 256;
    private static final int MOST_PAIRS = 4_096;

    private final KvTransferWay way;
    private final Map<Key, Pair> pairs = new LinkedHashMap<>(16, 0.75f, true) {
        @Override
        protected boolean removeEldestEntry(Map.Entry<Key, Pair> eldest) {
            return size() > MOST_PAIRS;
        }
    }; // guarded by this

    /// What is known of two engines and a class of lengths.
    private static final class Pair {
        final Mean prefillMillis = new Mean();
        final Mean pullMillis = new Mean();
        final Mean pushMillis = new Mean();
        long decisions;

        boolean saves() {
            return pullMillis.value - pushMillis.value > Math.max(LEAST_GAIN_MILLIS, LEAST_GAIN * prefillMillis.value);
        }
    }

    private static final class Mean {
        double value;
        int measurements;

        void learn(double measured) {
            measurements++;
            value += Math.max(1.0 / measurements, NEWEST) * (measured - value);
        }
    }

    private record Key(String engines, int lengthClass) {}

    /// @param way [KvTransferWay#AUTO], or the one that is always taken
    public PushChoice(KvTransferWay way) {
        this.way = way;
    }

    /// Whether the next hand-off is to be a push.
    ///
    /// @param engines names the two
    /// @param promptTokens as far as known
    public synchronized boolean pushes(String engines, int promptTokens) {
        return switch (way) {
            case PULL -> false;
            case PUSH -> true;
            case AUTO -> {
                Pair pair = pair(engines, promptTokens);
                long decision = pair.decisions++;
                if (pair.pullMillis.measurements < ENOUGH || pair.pushMillis.measurements < ENOUGH) {
                    yield decision % 2 == 1;
                }
                boolean better = pair.saves();
                yield (decision % (better ? TRY_PULL : TRY_PUSH) == 0) != better;
            }
        };
    }

    private Pair pair(String engines, int promptTokens) {
        int lengthClass = Integer.SIZE - Integer.numberOfLeadingZeros(promptTokens);
        return pairs.computeIfAbsent(new Key(engines, lengthClass), _ -> new Pair());
    }

    /// Learns from a hand-off whose answer is a stream of at least two tokens.
    ///
    /// @param prefillMillis from the start of the prefill leg to its answer
    /// @param firstMillis from then to the client's first token; negative if that came before
    /// @param secondMillis the same of the second one
    public synchronized void measured(
            String engines,
            boolean pushed,
            int promptTokens,
            double prefillMillis,
            double firstMillis,
            double secondMillis) {
        if (way != KvTransferWay.AUTO) {
            return;
        }
        Pair pair = pair(engines, promptTokens);
        pair.prefillMillis.learn(prefillMillis);
        double rest = (Math.max(0, firstMillis) + Math.max(0, secondMillis)) / 2;
        (pushed ? pair.pushMillis : pair.pullMillis).learn(rest);
    }
}
