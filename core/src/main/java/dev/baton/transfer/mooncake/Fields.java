package dev.baton.transfer.mooncake;

import java.net.ProtocolException;
import java.util.List;
import java.util.Map;

/// A map that came from a peer, as JSON or MessagePack, read by the kinds that its fields must have. Values are
/// maps, lists, texts, `Long`, `Double` and `Boolean`; what was null is not there.
///
/// Immutable if the map is.
///
/// @param what what it is, for messages
record Fields(String what, Map<String, Object> map) {
    /// A value as such a map.
    @SuppressWarnings("unchecked") // the readers make text keys only
    static Fields of(String what, Object value) throws ProtocolException {
        if (value instanceof Map<?, ?> map) {
            return new Fields(what, (Map<String, Object>) map);
        }
        throw new ProtocolException(what + " is no map");
    }

    boolean has(String key) {
        return map.containsKey(key);
    }

    Fields map(String key) throws ProtocolException {
        return of(what + "." + key, required(key));
    }

    String text(String key) throws ProtocolException {
        if (required(key) instanceof String text) {
            return text;
        }
        throw wrong(key, "a text");
    }

    String textOr(String key, String otherwise) throws ProtocolException {
        return has(key) ? text(key) : otherwise;
    }

    long number(String key, long least, long most) throws ProtocolException {
        if (required(key) instanceof Long number && number >= least && number <= most) {
            return number;
        }
        throw wrong(key, "a whole number from " + least + " to " + most);
    }

    long numberOr(String key, long least, long most, long otherwise) throws ProtocolException {
        return has(key) ? number(key, least, most) : otherwise;
    }

    /// A list; empty if it is not there.
    List<?> list(String key) throws ProtocolException {
        Object value = map.getOrDefault(key, List.of());
        if (value instanceof List<?> list) {
            return list;
        }
        throw wrong(key, "a list");
    }

    /// A list of whole numbers of at least 0; empty if it is not there.
    long[] numbers(String key) throws ProtocolException {
        return numbers(what + "." + key, list(key));
    }

    /// A list of texts; empty if it is not there.
    List<String> texts(String key) throws ProtocolException {
        for (Object value : list(key)) {
            if (!(value instanceof String)) {
                throw wrong(key, "a list of texts");
            }
        }
        return list(key).stream().map(String.class::cast).toList();
    }

    /// The whole numbers of a list, each at least 0.
    static long[] numbers(String what, Object value) throws ProtocolException {
        if (!(value instanceof List<?> list)) {
            throw new ProtocolException(what + " is no list");
        }
        long[] numbers = new long[list.size()];
        for (int i = 0; i < numbers.length; i++) {
            if (!(list.get(i) instanceof Long number) || number < 0) {
                throw new ProtocolException(what + " is no list of whole numbers of at least 0");
            }
            numbers[i] = number;
        }
        return numbers;
    }

    private Object required(String key) throws ProtocolException {
        Object value = map.get(key);
        if (value == null) {
            throw new ProtocolException("%s has no %s".formatted(what, key));
        }
        return value;
    }

    private ProtocolException wrong(String key, String needed) {
        return new ProtocolException("%s: %s must be %s".formatted(what, key, needed));
    }
}
