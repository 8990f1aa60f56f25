package dev.baton.openai;

import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import tools.jackson.databind.JsonNode;

/// The problems found in one request body, reported together in the form that vLLM's validator gives them.
final class Validation {
    private final List<Problem> problems = new ArrayList<>();

    /// One field that does not fit.
    ///
    /// @param type the validator's name of the problem
    /// @param loc dotted path of the field, from `body`
    /// @param input what was there, in short
    record Problem(String type, String loc, String msg, String input, Optional<String> context) {
        @Override
        public String toString() {
            String ctx = context.map(error -> ", 'ctx': {'error': " + quote(error) + "}")
                    .orElse("");
            return "{'type': '" + type + "', 'loc': '" + loc + "', 'msg': " + quote(msg) + ", 'input': " + quote(input)
                    + ctx + "}";
        }

        private static String quote(String text) {
            return text.indexOf('\'') >= 0 && text.indexOf('"') < 0
                    ? '"' + text + '"'
                    : "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'";
        }
    }

    void add(String type, String loc, String msg, JsonNode input) {
        problems.add(new Problem(type, loc, msg, brief(input), Optional.empty()));
    }

    void throwIfAny() {
        if (!problems.isEmpty()) {
            throw new ApiException(error(problems.toArray(Problem[]::new)));
        }
    }

    static ApiError error(Problem... problems) {
        StringBuilder message = new StringBuilder()
                .append(problems.length)
                .append(problems.length == 1 ? " validation error:" : " validation errors:");
        for (Problem problem : problems) {
            message.append("\n  ").append(problem);
        }
        return new ApiError(400, message.toString(), "Bad Request", Optional.of(problems[0].loc()));
    }

    static String brief(JsonNode input) {
        if (input.isObject()) {
            return "<dict of " + input.size() + " items>";
        }
        if (input.isArray()) {
            return "<list of " + input.size() + " items>";
        }
        if (input.isNull()) {
            return "None";
        }
        if (input.isBoolean()) {
            return input.booleanValue() ? "True" : "False";
        }
        String text = input.asString();
        return text.length() > 100 ? text.substring(0, 100) + "..." : text;
    }
}
