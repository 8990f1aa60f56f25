package dev.baton.transfer.tcp;

import dev.baton.transfer.TransferException;
import java.time.Duration;
import java.util.Locale;
import java.util.OptionalLong;

/// Whether a decoder copies layers of a pushed prompt from the prefiller's device while the prompt is computed, or all
/// of it behind the prefill.
enum PushLayers {
    /// Where copying behind the prefill takes long, by what earlier copies took.
    AUTO,
    ALWAYS,
    NEVER;

    /// Copies take from a prefill what they take themselves, as measured over NVLink: where they are short, the
    /// first token loses what the second one gains.
    static final long LONG_NANOS = Duration.ofMillis(10).toNanos();

    static PushLayers of(String key, String text) {
        for (PushLayers value : values()) {
            if (value.name().toLowerCase(Locale.ROOT).equals(text)) {
                return value;
            }
        }
        throw new TransferException(
                "kv_connector_extra_config: %s is %s; needed: auto, always or never".formatted(key, text));
    }

    /// @param expectedNanos what copying the blocks would take behind the prefill, as far as known
    boolean copies(OptionalLong expectedNanos) {
        return switch (this) {
            case AUTO -> expectedNanos.isPresent() && expectedNanos.getAsLong() > LONG_NANOS;
            case ALWAYS -> true;
            case NEVER -> false;
        };
    }
}
