package dev.baton.router.policy;

import java.util.ArrayList;
import java.util.List;

/// The last decisions. Not thread-safe: used under the policy's lock.
final class DecisionLog {
    private static final int KEPT = 256;

    private final DecisionSummary[] ring = new DecisionSummary[KEPT];
    private long next = 1;

    /// The number of the next decision.
    long next() {
        return next;
    }

    void add(DecisionSummary decision) {
        ring[place(next++)] = decision;
    }

    /// A request has ended; nothing happens if its decision is not kept any more.
    void ended(long number, RouteOutcome outcome) {
        if (next - number <= KEPT) {
            ring[place(number)] = ring[place(number)].withOutcome(outcome);
        }
    }

    private static int place(long number) {
        return (int) (number % KEPT);
    }

    /// The last ones, the newest first.
    List<DecisionSummary> latest(int limit) {
        List<DecisionSummary> result = new ArrayList<>();
        for (long number = next - 1; number > 0 && next - number <= KEPT && result.size() < limit; number--) {
            result.add(ring[place(number)]);
        }
        return result;
    }
}
