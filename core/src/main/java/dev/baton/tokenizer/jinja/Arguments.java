package dev.baton.tokenizer.jinja;

import java.util.List;
import java.util.Map;

/// The evaluated arguments of a call.
record Arguments(List<Object> positional, Map<String, Object> named) {
    static final Arguments NONE = new Arguments(List.of(), Map.of());

    /// Checks the call against the parameters of a built-in function.
    Arguments check(String function, String... parameters) {
        if (positional.size() > parameters.length) {
            throw new JinjaException(
                    function + "() takes at most " + parameters.length + " arguments, got " + positional.size());
        }
        List<String> known = List.of(parameters);
        for (String name : named.keySet()) {
            int index = known.indexOf(name);
            if (index < 0) {
                throw new JinjaException(function + "() has no argument '" + name + "' here");
            }
            if (index < positional.size()) {
                throw new JinjaException(function + "() got two values for '" + name + "'");
            }
        }
        return this;
    }

    /// The argument at `index`, also known as `name`, or `fallback`.
    Object get(int index, String name, Object fallback) {
        return index < positional.size() ? positional.get(index) : named.getOrDefault(name, fallback);
    }

    Object require(String function, int index, String name) {
        Object value = index < positional.size() ? positional.get(index) : named.get(name);
        if (value == null) {
            throw new JinjaException(function + "() needs the argument '" + name + "'");
        }
        return value;
    }

    boolean isEmpty() {
        return positional.isEmpty() && named.isEmpty();
    }

    /// The arguments without the first `count` positional ones.
    Arguments dropFirst(int count) {
        return new Arguments(positional.subList(Math.min(count, positional.size()), positional.size()), named);
    }
}
