package dev.baton.router.policy;

import java.util.Optional;

/// How a prompt's KV cache comes to its decoder, where a fleet can do it in two ways.
public enum KvTransferWay {
    /// Whichever is expected to be better for the request, by what was measured.
    AUTO,
    /// The decoder fetches it once the prefill has ended.
    PULL,
    /// Both legs go out at once, and the decoder takes it while it is computed.
    PUSH;

    /// The way in lower case, as it stands in flags.
    public String word() {
        return Words.of(this);
    }

    /// The way of this word, in any case.
    public static Optional<KvTransferWay> of(String word) {
        return Words.find(values(), word);
    }

    /// All words, for messages: `'auto', 'pull', ...`.
    public static String words() {
        return Words.all(values());
    }
}
