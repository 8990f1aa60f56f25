package dev.baton.transfer;

import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import org.jspecify.annotations.Nullable;

/// What a request says about its hand-off: the `kv_transfer_params` of its body, as they came. Every connector
/// reads the keys that are its own; the router passes all of them on unread.
///
/// Immutable, thread-safe.
///
/// @param fields by key, in the order of the body, without those that were `null`: texts, numbers, booleans, lists
///     and maps of these
public record KvTransferParams(Map<String, Object> fields) {
    /// Of a request that says nothing.
    public static final KvTransferParams NONE = new KvTransferParams(Map.of());

    /// Asks a prefiller to keep the blocks for a decoder.
    public static final KvTransferParams REMOTE_DECODE = new KvTransferParams(Map.of("do_remote_decode", true));

    public KvTransferParams {
        Map<String, Object> copy = new LinkedHashMap<>();
        fields.forEach((key, value) -> {
            if (value != null) {
                copy.put(key, value);
            }
        });
        fields = Collections.unmodifiableMap(copy);
    }

    /// The same and one more.
    public KvTransferParams with(String key, Object value) {
        Map<String, Object> more = new LinkedHashMap<>(fields);
        more.put(key, value);
        return new KvTransferParams(more);
    }

    public boolean isEmpty() {
        return fields.isEmpty();
    }

    /// Whether a prefiller is to keep the blocks for a decoder (`do_remote_decode`).
    public boolean doRemoteDecode() {
        return isTrue("do_remote_decode");
    }

    /// Whether the prompt's blocks lie on a prefiller (`do_remote_prefill`).
    public boolean doRemotePrefill() {
        return !doRemoteDecode() && isTrue("do_remote_prefill");
    }

    /// Whether a key is there and is `true`.
    public boolean isTrue(String key) {
        return Boolean.TRUE.equals(fields.get(key));
    }

    /// The text under a key.
    ///
    /// @return empty if it is not there
    /// @throws IllegalArgumentException if it is no text, or a blank one
    public Optional<String> text(String key) {
        Object value = fields.get(key);
        if (value == null) {
            return Optional.empty();
        }
        if (!(value instanceof String text) || text.isBlank()) {
            throw new IllegalArgumentException(key + " must be a text, got " + brief(value));
        }
        return Optional.of(text);
    }

    /// The text under a key that must be there.
    ///
    /// @throws IllegalArgumentException if it is not, or is no text
    public String requiredText(String key) {
        return text(key).orElseThrow(() -> new IllegalArgumentException(key + " must be a text, got nothing"));
    }

    /// The number under a key.
    ///
    /// @return empty if it is not there
    /// @throws IllegalArgumentException if it is no integer, or less than `least`
    public OptionalInt number(String key, int least) {
        Object value = fields.get(key);
        return value == null ? OptionalInt.empty() : OptionalInt.of(integer(key, value, least));
    }

    /// The number under a key that must be there.
    ///
    /// @throws IllegalArgumentException if it is not, or is no integer, or less than `least`
    public int requiredNumber(String key, int least) {
        return number(key, least)
                .orElseThrow(() -> new IllegalArgumentException(
                        key + " must be an integer of at least " + least + ", got nothing"));
    }

    /// The block ids under a key that must be there: a flat list, or as vLLM writes it today, a list for each cache
    /// group, of which there is one.
    ///
    /// @throws IllegalArgumentException if it is not there, or is something else
    public List<Integer> requiredBlockIds(String key) {
        Object value = fields.get(key);
        if (value instanceof List<?> groups && groups.size() == 1 && groups.getFirst() instanceof List<?> group) {
            value = group;
        }
        if (!(value instanceof List<?> ids) || ids.isEmpty()) {
            throw new IllegalArgumentException(key + " must be a list of block ids, got " + brief(value));
        }
        return ids.stream().map(id -> integer(key, id, 0)).toList();
    }

    private static int integer(String key, Object value, int least) {
        if (!(value instanceof Integer || value instanceof Long)
                || ((Number) value).longValue() < least
                || ((Number) value).longValue() > Integer.MAX_VALUE) {
            throw new IllegalArgumentException(
                    key + " must be an integer of at least " + least + ", got " + brief(value));
        }
        return ((Number) value).intValue();
    }

    private static String brief(@Nullable Object value) {
        return switch (value) {
            case null -> "nothing";
            case Map<?, ?> _ -> "object";
            case List<?> _ -> "array";
            case String text -> '"' + text + '"';
            default -> value.toString();
        };
    }
}
