package dev.baton.openai;

import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;

/// What a request wants its output to look like: `structured_outputs`, `response_format`, or the older `guided_...`
/// fields.
public sealed interface StructuredOutput {
    /// JSON that a schema describes.
    ///
    /// @param schema the JSON Schema, as JSON
    /// @param compact whether there is to be no whitespace between the parts (`disable_any_whitespace`)
    record JsonSchema(String schema, boolean compact) implements StructuredOutput {}

    /// Any JSON object.
    record JsonObject() implements StructuredOutput {}

    /// A text that a regular expression matches as a whole.
    record Regex(String pattern) implements StructuredOutput {}

    /// One of several texts.
    record Choice(List<String> texts) implements StructuredOutput {}

    /// A text of a context-free grammar, in EBNF or Lark.
    record Grammar(String text) implements StructuredOutput {}

    /// JSON between fixed texts, as models write calls of tools.
    ///
    /// @param tags one of these
    /// @param many whether there may be several in a row
    record Tagged(List<Tag> tags, boolean many) implements StructuredOutput {}

    /// JSON between two texts.
    ///
    /// @param schema the JSON Schema, as JSON
    record Tag(String begin, String schema, String end) {}

    /// Most texts of a choice.
    int MAX_CHOICES = 10_000;

    /// Reads the fields.
    ///
    /// @throws ApiException with vLLM's answer to what is wrong; 501 for what is not built
    static Optional<StructuredOutput> read(Fields fields) {
        List<StructuredOutput> wanted = new ArrayList<>();
        Optional<Fields> structured = fields.nested("structured_outputs");
        if (structured.isPresent()) {
            wanted.addAll(structured(structured.get()));
        }
        wanted.addAll(legacy(fields));
        Optional<Fields> format = fields.nested("response_format");
        fields.check();
        if (format.isPresent()) {
            responseFormat(format.get()).ifPresent(wanted::add);
        }
        if (wanted.size() > 1) {
            throw Ranges.bad("You can only use one kind of structured outputs constraint but multiple are specified:"
                    + " structured_outputs, response_format and guided_... together must name one.");
        }
        return wanted.stream().findFirst();
    }

    private static List<StructuredOutput> structured(Fields fields) {
        if (count(fields, "json", "regex", "choice") > 1) {
            throw new ApiException(ApiError.badRequest(
                    "You can only use one kind of constraints for structured outputs ('json', 'regex' or 'choice')."
                            + " (parameter=structured_outputs)",
                    "structured_outputs"));
        }
        refuse(fields, "structural_tag", "structured_outputs.structural_tag");
        refuse(fields, "whitespace_pattern", "structured_outputs.whitespace_pattern");
        if (fields.flag("disable_additional_properties", false)) {
            throw new ApiException(ApiError.notImplemented("structured_outputs.disable_additional_properties"));
        }
        boolean compact = fields.flag("disable_any_whitespace", false);
        List<StructuredOutput> wanted = kinds(fields, "", compact);
        if (fields.has("json_object")) {
            if (!fields.flag("json_object", true)) {
                throw Ranges.bad("structured_outputs.json_object must be True if set; omit structured_outputs to"
                        + " disable structured outputs");
            }
            wanted.add(new JsonObject());
        }
        fields.check();
        if (wanted.size() != 1) {
            throw Ranges.bad(
                    wanted.isEmpty()
                            ? "You must use one kind of structured outputs constraint but none are specified."
                            : "You can only use one kind of structured outputs constraint but multiple are specified.");
        }
        return wanted;
    }

    /// vLLM's names before `structured_outputs`.
    private static List<StructuredOutput> legacy(Fields fields) {
        refuse(fields, "guided_whitespace_pattern", "guided_whitespace_pattern");
        return kinds(fields, "guided_", false);
    }

    private static List<StructuredOutput> kinds(Fields fields, String prefix, boolean compact) {
        List<StructuredOutput> wanted = new ArrayList<>();
        schema(fields, prefix + "json").ifPresent(schema -> wanted.add(new JsonSchema(schema, compact)));
        fields.string(prefix + "regex").ifPresent(pattern -> wanted.add(regex(pattern)));
        if (fields.has(prefix + "choice")) {
            wanted.add(choice(fields.strings(prefix + "choice", MAX_CHOICES)));
        }
        fields.string(prefix + "grammar").ifPresent(text -> wanted.add(grammar(text)));
        fields.check();
        return wanted;
    }

    /// A schema is given as JSON or as a text that holds JSON.
    private static Optional<String> schema(Fields fields, String name) {
        Optional<JsonNode> node = fields.node(name);
        if (node.isEmpty()) {
            return Optional.empty();
        }
        if (!node.get().isString()) {
            return fields.dict(name).map(ObjectNode::toString);
        }
        if (node.get().stringValue().isBlank()) {
            throw Ranges.bad("structured_outputs.json cannot be an empty string");
        }
        return fields.string(name);
    }

    private static StructuredOutput regex(String pattern) {
        if (pattern.indexOf('\0') >= 0) {
            throw Ranges.bad("structured_outputs.regex must not contain a NUL character ('\\x00')");
        }
        return new Regex(pattern);
    }

    private static StructuredOutput choice(List<String> texts) {
        if (texts.isEmpty()) {
            throw Ranges.bad("Choice '[]' cannot be an empty list");
        }
        return new Choice(texts);
    }

    private static StructuredOutput grammar(String text) {
        if (text.isBlank()) {
            throw Ranges.bad("structured_outputs.grammar cannot be an empty string");
        }
        return new Grammar(text);
    }

    private static Optional<StructuredOutput> responseFormat(Fields format) {
        Optional<String> type = format.string("type");
        if (!format.has("type")) {
            format.missing("type");
        }
        format.check();
        return switch (type.orElseThrow()) {
            case "text" -> Optional.empty();
            case "json_object" -> Optional.of(new JsonObject());
            case "json_schema" -> Optional.of(new JsonSchema(responseSchema(format), false));
            case "structural_tag" ->
                throw new ApiException(ApiError.notImplemented("response_format.type structural_tag"));
            default -> {
                format.wrong(
                        "literal_error",
                        "type",
                        "Input should be 'text', 'json_object' or 'json_schema'",
                        format.node("type").orElseThrow());
                format.check();
                throw new IllegalStateException("unreachable");
            }
        };
    }

    private static String responseSchema(Fields format) {
        Optional<Fields> schema = format.nested("json_schema");
        format.check();
        if (schema.isEmpty()) {
            throw new ApiException(ApiError.badRequest(
                    "When response_format type is 'json_schema', the 'json_schema' field must be provided."
                            + " (parameter=response_format)",
                    "response_format"));
        }
        if (!schema.get().has("name")) {
            schema.get().missing("name");
        }
        Optional<ObjectNode> text = schema.get().dict("schema");
        format.check();
        return text.map(ObjectNode::toString)
                .orElseThrow(() ->
                        Ranges.bad("You must use one kind of structured outputs constraint but none are specified:"
                                + " response_format.json_schema has no schema."));
    }

    private static int count(Fields fields, String... names) {
        int count = 0;
        for (String name : names) {
            count += fields.has(name) ? 1 : 0;
        }
        return count;
    }

    private static void refuse(Fields fields, String name, String param) {
        if (fields.has(name)) {
            throw new ApiException(ApiError.notImplemented(param));
        }
    }
}
