package dev.baton.grammar;

import java.math.BigDecimal;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import tools.jackson.core.JacksonException;
import tools.jackson.core.StreamReadConstraints;
import tools.jackson.core.StreamReadFeature;
import tools.jackson.core.json.JsonFactory;
import tools.jackson.databind.DeserializationFeature;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/// A JSON value; the only place of the room that knows the JSON library.
sealed interface Json {
    /// In the order of the text.
    record Obj(Map<String, Json> members) implements Json {}

    record Arr(List<Json> items) implements Json {}

    record Text(String value) implements Json {}

    /// Equal where the values are: 1 and 1.0 are one number.
    record Num(BigDecimal value) implements Json {
        @Override
        public boolean equals(Object other) {
            return other instanceof Num num && value.compareTo(num.value) == 0;
        }

        @Override
        public int hashCode() {
            return value.stripTrailingZeros().hashCode();
        }
    }

    record Bool(boolean value) implements Json {}

    record Null() implements Json {}

    /// Reads one value.
    ///
    /// @param what what is read, for messages: "the JSON schema"
    /// @throws GrammarException if it is not JSON, nested too deep, or a key comes twice
    static Json parse(String what, String text) {
        try {
            return of(Reader.MAPPER.readTree(text));
        } catch (JacksonException e) {
            throw new GrammarException(what + " is not JSON: " + e.getOriginalMessage(), e);
        }
    }

    private static Json of(JsonNode node) {
        return switch (node.getNodeType()) {
            case OBJECT -> {
                Map<String, Json> members = new LinkedHashMap<>();
                node.properties().forEach(member -> members.put(member.getKey(), of(member.getValue())));
                yield new Obj(members);
            }
            case ARRAY -> {
                List<Json> items = new ArrayList<>();
                node.forEach(item -> items.add(of(item)));
                yield new Arr(items);
            }
            case STRING -> new Text(node.stringValue());
            case NUMBER -> new Num(node.decimalValue());
            case BOOLEAN -> new Bool(node.booleanValue());
            default -> new Null();
        };
    }

    /// Limits that hold before memory is spent.
    final class Reader {
        private static final int MAX_NESTING = 128;

        private static final JsonMapper MAPPER = JsonMapper.builder(JsonFactory.builder()
                        .enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION)
                        .streamReadConstraints(StreamReadConstraints.builder()
                                .maxNestingDepth(MAX_NESTING)
                                .maxNumberLength(100)
                                .build())
                        .build())
                .enable(DeserializationFeature.USE_BIG_DECIMAL_FOR_FLOATS)
                .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
                .build();

        private Reader() {}
    }
}
