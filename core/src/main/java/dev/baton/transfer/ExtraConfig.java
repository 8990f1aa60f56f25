package dev.baton.transfer;

import java.time.Duration;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;

/// Reads a connector's own settings, `kv_connector_extra_config`: numbers may be texts, durations are seconds,
/// fractions allowed, and a key that the connector does not have is refused. Immutable, thread-safe.
public final class ExtraConfig {
    private static final int MAX_SECONDS = 86_400;

    private final Map<String, Object> extra;

    /// @param connector name for messages
    /// @param extra the settings
    /// @param keys those that the connector has
    /// @throws TransferException if a key is unknown
    public ExtraConfig(String connector, Map<String, Object> extra, Set<String> keys) {
        this(connector, extra, keys, Set.of());
    }

    /// @param ignored keys that are taken, for other people's configurations, and mean nothing
    /// @throws TransferException if a key is unknown
    public ExtraConfig(String connector, Map<String, Object> extra, Set<String> keys, Set<String> ignored) {
        for (String key : extra.keySet()) {
            if (!keys.contains(key) && !ignored.contains(key)) {
                throw new TransferException("kv_connector_extra_config: %s has no \"%s\"; it has %s"
                        .formatted(connector, key, new TreeSet<>(keys)));
            }
        }
        this.extra = Collections.unmodifiableMap(new HashMap<>(extra)); // a value may be null, which is refused later
    }

    /// A duration from 1 ms to a day.
    public Duration seconds(String key, Duration otherwise) {
        if (!extra.containsKey(key)) {
            return otherwise;
        }
        double value = number(key);
        if (!(value >= 0.001 && value <= MAX_SECONDS)) {
            throw wrong(key, "seconds from 0.001 to " + MAX_SECONDS);
        }
        return Duration.ofNanos(Math.round(value * 1e9));
    }

    /// A whole number of a range.
    public long count(String key, long least, long most, long otherwise) {
        if (!extra.containsKey(key)) {
            return otherwise;
        }
        double value = number(key);
        if (!(value >= least && value <= most && value == Math.rint(value))) {
            throw wrong(key, "a whole number from %d to %d".formatted(least, most));
        }
        return (long) value;
    }

    /// A text.
    public String text(String key, String otherwise) {
        Object value = extra.getOrDefault(key, otherwise);
        if (value instanceof String text) {
            return text;
        }
        throw wrong(key, "a text");
    }

    /// A text that is not blank; empty if it is not set.
    public Optional<String> text(String key) {
        if (!extra.containsKey(key)) {
            return Optional.empty();
        }
        if (!(extra.get(key) instanceof String text) || text.isBlank()) {
            throw wrong(key, "a text");
        }
        return Optional.of(text);
    }

    /// A truth value.
    public boolean truth(String key, boolean otherwise) {
        if (!extra.containsKey(key)) {
            return otherwise;
        }
        if (!(extra.get(key) instanceof Boolean value)) {
            throw wrong(key, "true or false");
        }
        return value;
    }

    /// A list of at least one host; empty if it is not set.
    public Set<String> hosts(String key) {
        if (!extra.containsKey(key)) {
            return Set.of();
        }
        Set<String> hosts = new TreeSet<>();
        if (extra.get(key) instanceof List<?> list) {
            for (Object host : list) {
                hosts.add(host instanceof String name ? name : "");
            }
        }
        if (hosts.isEmpty() || hosts.contains("")) {
            throw wrong(key, "a list of at least one host");
        }
        return Collections.unmodifiableSet(hosts);
    }

    private double number(String key) {
        Object value = extra.get(key);
        if (value instanceof Number number) {
            return number.doubleValue();
        }
        try {
            return Double.parseDouble(String.valueOf(value));
        } catch (NumberFormatException e) {
            throw new TransferException(
                    "kv_connector_extra_config: %s is \"%s\"; needed: a number".formatted(key, value), e);
        }
    }

    private TransferException wrong(String key, String needed) {
        return new TransferException(
                "kv_connector_extra_config: %s is %s; needed: %s".formatted(key, extra.get(key), needed));
    }
}
