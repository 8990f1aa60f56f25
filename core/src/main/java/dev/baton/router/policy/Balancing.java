package dev.baton.router.policy;

import java.util.Optional;

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
    /// By session, or by the prompt's first 256 bytes: the same one while the fleet stays the same, in every
    /// router, and for most keys also when the fleet changes.
    CONSISTENT_HASH,
    /// The one that the session (`X-Session-ID`) had before; new sessions go where least is to do, requests without
    /// a session as [#CACHE_AWARE].
    SESSION;

    /// The name in lower case, as it stands in flags.
    public String word() {
        return Words.of(this);
    }

    /// The one of this name, in any case.
    public static Optional<Balancing> of(String word) {
        return Words.find(values(), word);
    }

    /// All names, for messages: `'random', 'round_robin', ...`.
    public static String words() {
        return Words.all(values());
    }
}
