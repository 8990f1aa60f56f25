package dev.baton.router.policy;

import java.util.LinkedHashMap;
import java.util.Map;
import java.util.SplittableRandom;

/// Chooses one engine among several of a role. Not thread-safe: used under the policy's lock.
final class Balancer {
    private static final int MAX_SESSIONS = 100_000;

    /// An engine that holds much of the prompt is left for another only if it is about twice as busy.
    private static final double MUCH_BUSIER = 2;

    private static final int FEW_REQUESTS = 4;

    /// And if it computes prompts for more than this share of its time, for this many times that of another.
    private static final double MUCH_WORK = 0.1;

    private static final double MORE_WORK = 1.5;

    /// The part of a prompt from which on it is worth to go where it is held.
    private static final double WORTHWHILE = 0.25;

    private final Balancing kind;
    private final int role;
    private final SplittableRandom random;
    private final Map<String, EngineState> sessions = new LinkedHashMap<>(16, 0.75f, true) {
        private static final long serialVersionUID = 1;

        @Override
        protected boolean removeEldestEntry(Map.Entry<String, EngineState> eldest) {
            return size() > MAX_SESSIONS;
        }
    };
    private int turn;

    /// @param role 0 or 1, which of [EngineState#turns] is this balancer's
    Balancer(Balancing kind, int role, SplittableRandom random) {
        this.kind = kind;
        this.role = role;
        this.random = random;
    }

    /// The position of the chosen one.
    ///
    /// @param candidates at least one
    int choose(Candidates<?> candidates, PromptBlocks blocks, String session) {
        if (candidates.size() == 1) {
            return 0;
        }
        return switch (kind) {
            case RANDOM -> drawn(candidates);
            case ROUND_ROBIN -> inTurn(candidates);
            case POWER_OF_TWO -> lessBusy(candidates, drawn(candidates), drawn(candidates));
            case LEAST_LOAD -> leastBusy(candidates);
            case CACHE_AWARE -> holdingMost(candidates, blocks.chain().length);
            case CONSISTENT_HASH ->
                hashed(candidates, session.isEmpty() ? blocks.openingHash() : PromptBlocks.hashOf(session));
            case SESSION -> ofSession(candidates, blocks, session);
        };
    }

    private int drawn(Candidates<?> candidates) {
        double sum = 0;
        for (int i = 0; i < candidates.size(); i++) {
            sum += candidates.weight(i);
        }
        double at = random.nextDouble() * sum;
        for (int i = 0; i < candidates.size() - 1; i++) {
            at -= candidates.weight(i);
            if (at < 0) {
                return i;
            }
        }
        return candidates.size() - 1;
    }

    /// nginx's smooth weighted round-robin: each gains its weight, the richest is taken and pays all weights.
    private int inTurn(Candidates<?> candidates) {
        double sum = 0;
        int richest = 0;
        for (int i = 0; i < candidates.size(); i++) {
            double weight = candidates.weight(i);
            sum += weight;
            candidates.states()[i].turns[role] += weight;
            if (candidates.states()[i].turns[role] > candidates.states()[richest].turns[role]) {
                richest = i;
            }
        }
        candidates.states()[richest].turns[role] -= sum;
        return richest;
    }

    private static int lessBusy(Candidates<?> candidates, int one, int other) {
        return candidates.load(other) < candidates.load(one) ? other : one;
    }

    /// Equally busy ones in turn.
    private int leastBusy(Candidates<?> candidates) {
        int from = Math.floorMod(turn++, candidates.size());
        int best = from;
        for (int i = 1; i < candidates.size(); i++) {
            best = lessBusy(candidates, best, (from + i) % candidates.size());
        }
        return best;
    }

    /// After SGLang's router: where most of the prompt lies, as long as the load is even; else where least is
    /// to do. Even also means over the last seconds: without that an engine that was away for a while would
    /// find all prompts settled with the others, which need not be so loaded that requests queue, and stay
    /// idle.
    private int holdingMost(Candidates<?> candidates, int numBlocks) {
        int least = leastBusy(candidates);
        int most = least;
        for (int i = 0; i < candidates.size(); i++) {
            int more = candidates.heldBlocks()[i] - candidates.heldBlocks()[most];
            if (more > 0 || (more == 0 && candidates.load(i) < candidates.load(most))) {
                most = i;
            }
        }
        boolean worthwhile = candidates.heldBlocks()[most] > WORTHWHILE * numBlocks;
        double bearable = MUCH_BUSIER * candidates.load(least) + FEW_REQUESTS / candidates.weight(most);
        if (!worthwhile || candidates.load(most) > bearable) {
            return least;
        }
        return relieved(candidates, most);
    }

    /// The one that computed least of late, if this one has much to do and much more than that one; else this one.
    private static int relieved(Candidates<?> candidates, int busy) {
        double work = candidates.work(busy);
        if (work <= MUCH_WORK) {
            return busy;
        }
        int rested = busy;
        double least = work;
        for (int i = 0; i < candidates.size(); i++) {
            double its = candidates.work(i);
            if (its < least) {
                rested = i;
                least = its;
            }
        }
        return work > MORE_WORK * least && candidates.load(rested) <= candidates.load(busy) ? rested : busy;
    }

    /// Weighted rendezvous hashing: each engine draws a number from the key and its own name, the best one wins. An
    /// engine that comes or goes moves only the keys that it wins or had won.
    private static int hashed(Candidates<?> candidates, long key) {
        int best = 0;
        double lowest = Double.POSITIVE_INFINITY;
        for (int i = 0; i < candidates.size(); i++) {
            long hash = PromptBlocks.mix(key ^ PromptBlocks.mix(candidates.states()[i].nameHash, key), ~key);
            double uniform = ((hash >>> 11) + 1) * 0x1p-53;
            double drawn = -Math.log(uniform) / candidates.weight(i);
            if (drawn < lowest) {
                lowest = drawn;
                best = i;
            }
        }
        return best;
    }

    private int ofSession(Candidates<?> candidates, PromptBlocks blocks, String session) {
        if (session.isEmpty()) {
            return holdingMost(candidates, blocks.chain().length);
        }
        EngineState before = sessions.get(session);
        for (int i = 0; i < candidates.size(); i++) {
            if (candidates.states()[i] == before) {
                return i;
            }
        }
        int chosen = leastBusy(candidates);
        sessions.put(session, candidates.states()[chosen]);
        return chosen;
    }

    /// Forgets what it knows of an engine.
    void forget(EngineState engine) {
        sessions.values().removeIf(engine::equals);
    }

    void clear() {
        sessions.clear();
    }
}
