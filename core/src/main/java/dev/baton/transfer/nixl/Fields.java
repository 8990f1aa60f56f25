package dev.baton.transfer.nixl;

import java.net.ProtocolException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SortedMap;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/// A map that a peer sent, read field by field; what is missing or of another type is refused by name.
final class Fields {
    private final Map<?, ?> map;
    private final String what;

    /// @param what names the map in messages
    /// @throws ProtocolException if it is no map
    Fields(Object value, String what) throws ProtocolException {
        if (!(value instanceof Map<?, ?> it)) {
            throw new ProtocolException(what + " is no map");
        }
        this.map = it;
        this.what = what;
    }

    /// Whether the field is there and not nil.
    boolean has(String key) {
        Object value = map.get(key);
        return value != null && value != MsgPack.Nil.NIL;
    }

    Object value(String key) throws ProtocolException {
        return Optional.ofNullable(map.get(key)).orElseThrow(() -> wrong(key, "there"));
    }

    String text(String key) throws ProtocolException {
        if (map.get(key) instanceof String text) {
            return text;
        }
        throw wrong(key, "a text");
    }

    byte[] bytes(String key) throws ProtocolException {
        if (map.get(key) instanceof byte[] bytes) {
            return bytes;
        }
        throw wrong(key, "binary");
    }

    long number(String key, long least, long most) throws ProtocolException {
        if (map.get(key) instanceof Long number && number >= least && number <= most) {
            return number;
        }
        throw wrong(key, "a number from %d to %d".formatted(least, most));
    }

    long[] numbers(String key) throws ProtocolException {
        if (!(map.get(key) instanceof List<?> list)) {
            throw wrong(key, "a list of numbers");
        }
        long[] numbers = new long[list.size()];
        for (int i = 0; i < numbers.length; i++) {
            if (!(list.get(i) instanceof Long number) || number < 0) {
                throw wrong(key, "a list of numbers");
            }
            numbers[i] = number;
        }
        return numbers;
    }

    List<String> list(String key) throws ProtocolException {
        List<String> texts = new ArrayList<>();
        if (map.get(key) instanceof List<?> list) {
            for (Object part : list) {
                texts.add(text(key, part));
            }
            return texts;
        }
        throw wrong(key, "a list of texts");
    }

    SortedMap<String, String> texts(String key) throws ProtocolException {
        SortedMap<String, String> texts = new TreeMap<>();
        if (map.get(key) instanceof Map<?, ?> fields) {
            for (Map.Entry<?, ?> field : fields.entrySet()) {
                texts.put(text(key, field.getKey()), text(key, field.getValue()));
            }
            return texts;
        }
        throw wrong(key, "a map of texts");
    }

    private String text(String key, @Nullable Object value) throws ProtocolException {
        if (value instanceof String text) {
            return text;
        }
        throw wrong(key, "of texts");
    }

    private ProtocolException wrong(String key, String needed) {
        return new ProtocolException("%s: %s is not %s".formatted(what, key, needed));
    }
}
