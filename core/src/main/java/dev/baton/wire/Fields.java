package dev.baton.wire;

import java.net.ProtocolException;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/// A map that came from a peer, as MessagePack or JSON, read by the kinds that its fields must have; what is
/// missing or of another kind is refused by name. Values are those of [MsgPack]; a field that is nil is not
/// there.
///
/// Immutable if the map is.
///
/// @param what what it is, for messages
public record Fields(String what, Map<String, Object> map) {
    /// A value as such a map.
    ///
    /// @throws ProtocolException if it is none
    @SuppressWarnings("unchecked") // the readers make text keys only
    public static Fields of(String what, Object value) throws ProtocolException {
        if (value instanceof Map<?, ?> map) {
            return new Fields(what, (Map<String, Object>) map);
        }
        throw new ProtocolException(what + " is no map");
    }

    /// Whether the field is there and not nil.
    public boolean has(String key) {
        return value(key) != null;
    }

    /// A map.
    public Fields map(String key) throws ProtocolException {
        return of(what + "." + key, required(key));
    }

    /// A text.
    public String text(String key) throws ProtocolException {
        if (required(key) instanceof String text) {
            return text;
        }
        throw wrong(key, "a text");
    }

    /// A text, or another one if it is not there.
    public String textOr(String key, String otherwise) throws ProtocolException {
        return has(key) ? text(key) : otherwise;
    }

    /// Binary data.
    public byte[] bytes(String key) throws ProtocolException {
        if (required(key) instanceof byte[] bytes) {
            return bytes;
        }
        throw wrong(key, "binary");
    }

    /// A truth, or another one if it is not there.
    public boolean truthOr(String key, boolean otherwise) throws ProtocolException {
        Object value = value(key);
        if (value == null) {
            return otherwise;
        }
        if (value instanceof Boolean truth) {
            return truth;
        }
        throw wrong(key, "true or false");
    }

    /// A whole number within bounds.
    public long number(String key, long least, long most) throws ProtocolException {
        if (required(key) instanceof Long number && number >= least && number <= most) {
            return number;
        }
        throw wrong(key, "a whole number from " + least + " to " + most);
    }

    /// A whole number within bounds, or another one if it is not there.
    public long numberOr(String key, long least, long most, long otherwise) throws ProtocolException {
        return has(key) ? number(key, least, most) : otherwise;
    }

    /// A number, whole or not, or another one if it is not there.
    public double doubleOr(String key, double otherwise) throws ProtocolException {
        Object value = value(key);
        if (value == null) {
            return otherwise;
        }
        if (value instanceof Number number) {
            return number.doubleValue();
        }
        throw wrong(key, "a number");
    }

    /// A list; empty if it is not there.
    public List<?> list(String key) throws ProtocolException {
        Object value = value(key);
        if (value == null) {
            return List.of();
        }
        if (value instanceof List<?> list) {
            return list;
        }
        throw wrong(key, "a list");
    }

    /// A list of whole numbers of at least 0; empty if it is not there.
    public long[] numbers(String key) throws ProtocolException {
        return numbers(what + "." + key, list(key));
    }

    /// A list of texts; empty if it is not there.
    public List<String> texts(String key) throws ProtocolException {
        for (Object value : list(key)) {
            if (!(value instanceof String)) {
                throw wrong(key, "a list of texts");
            }
        }
        return list(key).stream().map(String.class::cast).toList();
    }

    /// A map of texts.
    public SortedMap<String, String> textMap(String key) throws ProtocolException {
        Fields fields = map(key);
        SortedMap<String, String> texts = new TreeMap<>();
        for (String each : fields.map.keySet()) {
            texts.put(each, fields.text(each));
        }
        return texts;
    }

    /// The whole numbers of a list, each at least 0.
    public static long[] numbers(String what, Object value) throws ProtocolException {
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

    private @Nullable Object value(String key) {
        Object value = map.get(key);
        return value == MsgPack.Nil.NIL ? null : value;
    }

    private Object required(String key) throws ProtocolException {
        Object value = value(key);
        if (value == null) {
            throw new ProtocolException("%s has no %s".formatted(what, key));
        }
        return value;
    }

    private ProtocolException wrong(String key, String needed) {
        return new ProtocolException("%s: %s must be %s".formatted(what, key, needed));
    }
}
