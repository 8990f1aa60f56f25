package dev.baton.router.policy;

/// What one request would take on each engine of a list and cost the others there, in milliseconds, by position in
/// the list. Short-lived; used under the policy's lock.
final class EngineFigures<E extends EngineView> {
    /// How much those prefills count that are still to come.
    private static final double CROWDING = 1.5;

    /// From this usage on new requests wait for others to end.
    private static final double FULL = 0.97;

    private static final long FRESH_NANOS = 10_000_000_000L;

    final Candidates<E> candidates;

    /// Of its prefill by itself.
    final double[] prefill;

    /// Before its prefill can begin.
    final double[] wait;

    /// By which its prefill delays prefills that will come while it is there.
    final double[] crowding;

    /// By which its prefill delays the streams.
    final double[] delay;

    /// Of its own tokens in the batch that it joins, and by which it slows the tokens of the others in it.
    final double[] joining;

    /// The largest weight against the engine's.
    final double[] scarcity;

    /// @param tokens of the prompt
    /// @param outputTokens that are expected
    EngineFigures(Candidates<E> candidates, double tokens, double outputTokens, long nowNanos) {
        this.candidates = candidates;
        int size = candidates.size();
        prefill = new double[size];
        wait = new double[size];
        crowding = new double[size];
        delay = new double[size];
        joining = new double[size];
        scarcity = new double[size];
        double mostWeight = 0;
        for (int i = 0; i < size; i++) {
            mostWeight = Math.max(mostWeight, candidates.weight(i));
        }
        for (int i = 0; i < size; i++) {
            EngineState engine = candidates.states()[i];
            EngineCosts costs = engine.costs;
            double cached = candidates.cachedTokens()[i];
            double share = engine.prefillShare(nowNanos);
            double harm = costs.harmPerPrefillMilli();
            double streams = streams(i);
            prefill[i] = costs.prefillMillis(Math.max(1, tokens - cached), cached);
            wait[i] = waitMillis(i, tokens, outputTokens, nowNanos);
            crowding[i] = CROWDING * prefill[i] * share / (1 - share);
            delay[i] = prefill[i] * harm * streams;
            joining[i] = outputTokens
                    * (costs.stepMillis(streams + 1) / (1 - harm * share) + streams * costs.stepMillisPerStream());
            scarcity[i] = mostWeight / candidates.weight(i);
        }
    }

    int size() {
        return prefill.length;
    }

    /// Answers that an engine writes or will write.
    double streams(int index) {
        EngineState engine = candidates.states()[index];
        return engine.assigned() + engine.foreignRunning();
    }

    /// For prefills that are known to come before it, for those that the engine says, and for memory.
    private double waitMillis(int index, double tokens, double outputTokens, long nowNanos) {
        EngineState engine = candidates.states()[index];
        double millis = engine.waitMillis(nowNanos);
        EngineLoad load = candidates.engines().get(index).load();
        if (load.known() && nowNanos - load.atNanos() < FRESH_NANOS) {
            if (engine.foreignWaiting() > 0) {
                millis += engine.foreignWaiting() * engine.costs.prefillMillis(tokens, 0);
            }
            if (load.kvCacheUsage() > FULL && load.running() > 0) {
                double streams = load.running();
                millis += outputTokens * engine.costs.stepMillis(streams) / streams;
            }
        }
        return millis;
    }

    /// The shortest prefill; infinite if there is no engine.
    double shortestPrefill() {
        double shortest = Double.POSITIVE_INFINITY;
        for (double millis : prefill) {
            shortest = Math.min(shortest, millis);
        }
        return shortest;
    }

    /// Most tokens of the prompt that an engine is believed to have.
    double mostCached() {
        double most = 0;
        for (double cached : candidates.cachedTokens()) {
            most = Math.max(most, cached);
        }
        return most;
    }
}
