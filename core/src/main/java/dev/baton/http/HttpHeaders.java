package dev.baton.http;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.Predicate;

/// The header fields of a message, in order. Names are compared without regard to case. Immutable and thread-safe.
public final class HttpHeaders {
    private static final HttpHeaders NONE = new HttpHeaders(List.of());

    private final List<Field> fields;

    /// One header field.
    public record Field(String name, String value) {}

    private HttpHeaders(List<Field> fields) {
        this.fields = fields;
    }

    /// No fields.
    public static HttpHeaders none() {
        return NONE;
    }

    /// The given fields, in their order.
    public static HttpHeaders of(List<Field> fields) {
        return fields.isEmpty() ? NONE : new HttpHeaders(List.copyOf(fields));
    }

    /// A single field.
    public static HttpHeaders of(String name, String value) {
        return new HttpHeaders(List.of(new Field(name, value)));
    }

    /// The value of the first field with that name.
    public Optional<String> first(String name) {
        for (Field field : fields) {
            if (field.name().equalsIgnoreCase(name)) {
                return Optional.of(field.value());
            }
        }
        return Optional.empty();
    }

    /// All fields, in order.
    public List<Field> fields() {
        return fields;
    }

    /// These fields and one more, in place of all fields of the same name.
    public HttpHeaders with(String name, String value) {
        List<Field> changed = new ArrayList<>(fields.size() + 1);
        for (Field field : fields) {
            if (!field.name().equalsIgnoreCase(name)) {
                changed.add(field);
            }
        }
        changed.add(new Field(name, value));
        return new HttpHeaders(List.copyOf(changed));
    }

    /// These fields and more, each in place of all fields of its name.
    public HttpHeaders with(Map<String, String> more) {
        HttpHeaders changed = this;
        for (Map.Entry<String, String> field : more.entrySet()) {
            changed = changed.with(field.getKey(), field.getValue());
        }
        return changed;
    }

    /// These fields without those whose name (in lower case) the predicate selects.
    public HttpHeaders without(Predicate<String> lowerCaseName) {
        List<Field> kept = new ArrayList<>(fields.size());
        for (Field field : fields) {
            if (!lowerCaseName.test(field.name().toLowerCase(java.util.Locale.ROOT))) {
                kept.add(field);
            }
        }
        return of(kept);
    }

    @Override
    public String toString() {
        return fields.toString();
    }
}
