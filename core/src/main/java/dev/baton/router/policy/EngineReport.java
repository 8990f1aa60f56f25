package dev.baton.router.policy;

/// What a policy knows of an engine, for reading. Immutable.
///
/// @param engine its address
/// @param prefills that it was given and that have not ended
/// @param waitMillis for which a new prefill is expected to wait
/// @param streams that it writes
/// @param cacheTrust share of what was believed to lie in its cache that it found there
/// @param learned how fast it is believed to be
public record EngineReport(
        String engine, int prefills, double waitMillis, int streams, double cacheTrust, Learned learned) {}
