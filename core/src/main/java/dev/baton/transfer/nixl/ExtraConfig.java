package dev.baton.transfer.nixl;

import dev.baton.transfer.TransferException;
import java.time.Duration;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;

/// Reads `kv_connector_extra_config`; what does not fit is refused with the key, the value and what is needed.
///
/// @param fields by key, as they came
record ExtraConfig(Map<String, Object> fields) {
    private static final int MAX_SECONDS = 86_400;

    /// @throws TransferException if there is a key that is neither used nor a known one of vLLM's
    void checkKeys(Set<String> used, Set<String> ignored) {
        for (String key : fields.keySet()) {
            if (!used.contains(key) && !ignored.contains(key)) {
                throw new TransferException("kv_connector_extra_config: %s has no \"%s\"; it has %s"
                        .formatted(NixlConnector.NAME, key, new TreeSet<>(used)));
            }
        }
    }

    /// Seconds, fractions allowed.
    Duration seconds(String key, Duration otherwise) {
        if (!fields.containsKey(key)) {
            return otherwise;
        }
        double value = number(key);
        if (!(value >= 0.001 && value <= MAX_SECONDS)) {
            throw wrong(key, "seconds from 0.001 to " + MAX_SECONDS);
        }
        return Duration.ofNanos(Math.round(value * 1e9));
    }

    long integer(String key, long otherwise, long least, long most) {
        if (!fields.containsKey(key)) {
            return otherwise;
        }
        double value = number(key);
        if (!(value >= least && value <= most && value == Math.rint(value))) {
            throw wrong(key, "a whole number from %d to %d".formatted(least, most));
        }
        return (long) value;
    }

    boolean truth(String key, boolean otherwise) {
        if (!fields.containsKey(key)) {
            return otherwise;
        }
        if (!(fields.get(key) instanceof Boolean value)) {
            throw wrong(key, "true or false");
        }
        return value;
    }

    String text(String key, String otherwise) {
        return text(key).orElse(otherwise);
    }

    Optional<String> text(String key) {
        if (!fields.containsKey(key)) {
            return Optional.empty();
        }
        if (!(fields.get(key) instanceof String value) || value.isBlank()) {
            throw wrong(key, "a text");
        }
        return Optional.of(value);
    }

    /// A list of at least one text; empty if the key is not there.
    Set<String> texts(String key) {
        if (!fields.containsKey(key)) {
            return Set.of();
        }
        Set<String> texts = new TreeSet<>();
        if (fields.get(key) instanceof List<?> list) {
            list.forEach(it -> texts.add(it instanceof String text ? text : ""));
        }
        if (texts.isEmpty() || texts.contains("")) {
            throw wrong(key, "a list of at least one text");
        }
        return Collections.unmodifiableSet(texts);
    }

    private double number(String key) {
        if (fields.get(key) instanceof Number number) {
            return number.doubleValue();
        }
        try {
            return Double.parseDouble(String.valueOf(fields.get(key)));
        } catch (NumberFormatException e) {
            throw wrong(key, "a number");
        }
    }

    private TransferException wrong(String key, String needed) {
        return new TransferException(
                "kv_connector_extra_config: %s is %s; needed: %s".formatted(key, fields.get(key), needed));
    }
}
