package dev.baton.tokenizer.jinja;

import java.util.LinkedHashMap;
import java.util.Map;

/// `namespace(...)`: the one object that a template may change, used to carry values out of loops.
final class Namespace {
    private final Map<String, Object> attributes = new LinkedHashMap<>();

    Map<String, Object> attributes() {
        return attributes;
    }
}
