package dev.baton.router.policy;

import java.util.Locale;

/// How one engine is chosen among several of a role. Names are those of vLLM's and SGLang's routers.
public enum Balancing {
    /// Any, by weight.
    RANDOM,
    /// In turn, by weight.
    ROUND_ROBIN,
    /// The less busy one of two that are drawn.
    POWER_OF_TWO,
    /// The one with the least work for its weight.
    LEAST_LOAD,
    /// The one that holds most of the prompt, unless it is so much busier that computing elsewhere is sooner.
    CACHE_AWARE,
    /// By session, or by the prompt's beginning, on a ring of hashes: the same one while the fleet stays the same,
    /// and for most keys also when it changes.
    CONSISTENT_HASH,
    /// The one that the session (`X-Session-ID`) had before; new sessions go where least is to do.
    SESSION;

    /// The name in lower case, as it stands in flags.
    public String word() {
        return name().toLowerCase(Locale.ROOT);
    }

    @Override
    public String toString() {
        return word();
    }
}
