package dev.baton.router.policy;

import java.util.Optional;

/// Which kinds of routes are taken. Can be switched while requests run; each keeps the route that it has.
public enum Mode {
    /// Every request is prefilled by a prefiller and decoded by a decoder.
    PD,
    /// As [#PD] for a conversation's first turn; later turns go straight to the decoder that holds the earlier
    /// ones.
    PPD,
    /// Every engine that decodes does both, as if there were no roles.
    AGGREGATED,
    /// For each request the route that is expected to cost least, by what was measured of the engines.
    ADAPTIVE;

    /// The mode in lower case, as it stands in flags and paths.
    public String word() {
        return Words.of(this);
    }

    /// The mode of this word, in any case.
    public static Optional<Mode> of(String word) {
        return Words.find(values(), word);
    }

    /// All words, for messages: `'pd', 'ppd', ...`.
    public static String words() {
        return Words.all(values());
    }
}
