package dev.baton.router.policy;

/// How long an engine's work takes, learned from its own requests; where it has had too few of a kind, from the
/// whole fleet's. Not thread-safe: used under the policy's lock.
final class EngineCosts {
    private static final int ENOUGH = 6;
    private static final double THOUSAND = 1e3;
    private static final double SQUARE = 1e7;
    private static final double SOME_STREAMS = 16;
    private static final double SOME_MILLIS = 10;

    /// How much earlier measurements count. What streams and what prefills take of a step only shows over times
    /// with more and with less of either.
    private static final double SHORT = 0.99;

    private static final double LONG = 0.998;

    /// A fixed part, by computed tokens, and by computed tokens times the context that they attend to.
    private final CostFit prefill = new CostFit(SHORT, new double[] {1, 50, 0});

    /// Milliseconds a token: a fixed part, by streams, and by the milliseconds of prefills in between.
    private final CostFit step = new CostFit(LONG, new double[] {10, 1, SOME_MILLIS});

    /// A fixed part, and by tokens. Nothing is expected at first, so that it is tried.
    private final CostFit transfer = new CostFit(SHORT, new double[] {0, 0});

    private final EngineCosts fleet;

    /// Those of a fleet.
    EngineCosts() {
        fleet = this;
    }

    /// Those of one engine.
    EngineCosts(EngineCosts fleet) {
        this.fleet = fleet;
    }

    private static double[] prefillTerms(double tokens, double cachedTokens) {
        return new double[] {1, tokens / THOUSAND, tokens * (cachedTokens + tokens / 2) / SQUARE};
    }

    private static double[] stepTerms(double streams, double prefillMillisPerToken) {
        return new double[] {1, streams / SOME_STREAMS, prefillMillisPerToken / SOME_MILLIS};
    }

    private static double[] transferTerms(double tokens) {
        return new double[] {1, tokens / THOUSAND};
    }

    /// A prefill took so long.
    void learnPrefill(double millis, double tokens, double cachedTokens) {
        prefill.learn(millis, prefillTerms(tokens, cachedTokens));
        fleet.prefill.learn(millis, prefillTerms(tokens, cachedTokens));
    }

    /// A stream's tokens came so far apart.
    void learnStep(double millis, double streams, double prefillMillisPerToken) {
        step.learn(millis, stepTerms(streams, prefillMillisPerToken));
        fleet.step.learn(millis, stepTerms(streams, prefillMillisPerToken));
    }

    /// A KV cache came so late.
    void learnTransfer(double millis, double tokens) {
        transfer.learn(millis, transferTerms(tokens));
        fleet.transfer.learn(millis, transferTerms(tokens));
    }

    private static CostFit better(CostFit own, CostFit fleet) {
        return own.measurements() >= ENOUGH ? own : fleet;
    }

    /// How long a prefill takes by itself.
    double prefillMillis(double tokens, double cachedTokens) {
        return better(prefill, fleet.prefill)
                .predictPlane(tokens / THOUSAND, tokens * (cachedTokens + tokens / 2) / SQUARE);
    }

    /// How far apart a stream's tokens come among so many streams.
    double stepMillis(double streams) {
        return better(step, fleet.step).predictLine(streams / SOME_STREAMS);
    }

    /// By how much each further stream slows the tokens of every stream.
    double stepMillisPerStream() {
        return better(step, fleet.step).factor(1) / SOME_STREAMS;
    }

    /// By how much a millisecond of prefill delays each stream.
    double harmPerPrefillMilli() {
        return Math.min(1, better(step, fleet.step).factor(2) / SOME_MILLIS);
    }

    /// How many transfers were learned from.
    long transfers() {
        return transfer.measurements();
    }

    /// How late a KV cache of so many tokens comes.
    double transferMillis(double tokens) {
        return better(transfer, fleet.transfer).predictLine(tokens / THOUSAND);
    }

    /// For reading; the counts are this engine's own.
    Learned learned() {
        CostFit prefills = better(prefill, fleet.prefill);
        CostFit transfers = better(transfer, fleet.transfer);
        return new Learned(
                prefill.measurements(),
                prefills.factor(0),
                perSecond(prefills.factor(1)),
                step.measurements(),
                stepMillis(1),
                stepMillisPerStream(),
                harmPerPrefillMilli(),
                transfer.measurements(),
                transfers.factor(0),
                perSecond(transfers.factor(1)));
    }

    private static double perSecond(double millisPerThousand) {
        return millisPerThousand > 0 ? THOUSAND * THOUSAND / millisPerThousand : Double.POSITIVE_INFINITY;
    }
}
