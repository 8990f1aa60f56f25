package dev.baton.grammar;

import dev.baton.grammar.Json.Num;
import dev.baton.grammar.Json.Obj;
import dev.baton.grammar.Json.Text;
import java.math.BigDecimal;
import java.util.List;
import java.util.Map;
import java.util.Set;

/// Whether a constant of `enum` or `const` also satisfies the other keywords of its schema.
final class SchemaValues {
    private SchemaValues() {}

    /// @throws GrammarException if that needs a keyword that is not built for constants
    static boolean allows(Obj flat, Json value, String path) {
        Map<String, Json> members = flat.members();
        if (members.containsKey("type") && !hasType(SchemaMerger.types(flat, path), value)) {
            return false;
        }
        List<String> notBuilt = switch (value) {
            case Text _ -> List.of("pattern", "format");
            case Num _ -> List.of("multipleOf");
            case Json.Arr _ -> List.of("items", "prefixItems", "minItems", "maxItems", "uniqueItems", "contains");
            case Obj _ ->
                List.of(
                        "properties",
                        "patternProperties",
                        "additionalProperties",
                        "propertyNames",
                        "required",
                        "minProperties",
                        "maxProperties");
            default -> List.of();
        };
        for (String keyword : notBuilt) {
            if (members.containsKey(keyword)) {
                throw JsonSchemaCompiler.unsupported("enum or const together with " + keyword, path);
            }
        }
        return switch (value) {
            case Text text -> {
                BigDecimal length = BigDecimal.valueOf(
                        text.value().codePointCount(0, text.value().length()));
                yield within(members, length, "minLength", "maxLength", true);
            }
            case Num num ->
                within(members, num.value(), "minimum", "maximum", true)
                        && within(members, num.value(), "exclusiveMinimum", "exclusiveMaximum", false);
            default -> true;
        };
    }

    private static boolean within(
            Map<String, Json> members, BigDecimal value, String lower, String upper, boolean inclusive) {
        int allowed = inclusive ? 0 : 1;
        return !(members.get(lower) instanceof Num low && value.compareTo(low.value()) < allowed)
                && !(members.get(upper) instanceof Num high && high.value().compareTo(value) < allowed);
    }

    private static boolean hasType(Set<String> types, Json value) {
        return switch (value) {
            case Obj _ -> types.contains("object");
            case Json.Arr _ -> types.contains("array");
            case Text _ -> types.contains("string");
            case Json.Bool _ -> types.contains("boolean");
            case Json.Null _ -> types.contains("null");
            case Num num ->
                types.contains("number")
                        || (types.contains("integer")
                                && num.value().stripTrailingZeros().scale() <= 0);
        };
    }
}
