package dev.baton.grammar;

import dev.baton.grammar.Json.Arr;
import dev.baton.grammar.Json.Bool;
import dev.baton.grammar.Json.Num;
import dev.baton.grammar.Json.Obj;
import dev.baton.grammar.Json.Text;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/// Makes one *flat* schema out of a schema with `$ref` and `allOf`: only keywords that restrict, no reference, and
/// `allOf` only for what is left of several unions, each a lone `anyOf`. A schema that nothing satisfies is an
/// empty `enum`. Not thread-safe.
final class SchemaMerger {
    private static final int MAX_DEPTH = 64;
    private static final int MAX_MERGED = 1_000_000;

    private static final Set<String> OBJECT_KEYWORDS = Set.of(
            "properties",
            "patternProperties",
            "additionalProperties",
            "propertyNames",
            "required",
            "minProperties",
            "maxProperties",
            "unevaluatedProperties");
    private static final Set<String> ARRAY_KEYWORDS = Set.of(
            "items",
            "prefixItems",
            "minItems",
            "maxItems",
            "unevaluatedItems",
            "contains",
            "minContains",
            "maxContains",
            "uniqueItems");
    private static final Set<String> STRING_KEYWORDS = Set.of("pattern", "format", "minLength", "maxLength");
    private static final Set<String> NUMBER_KEYWORDS =
            Set.of("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf");
    private static final Set<String> REFUSED = Set.of(
            "not",
            "if",
            "then",
            "else",
            "dependentRequired",
            "dependentSchemas",
            "dependencies",
            "$dynamicRef",
            "$recursiveRef");
    private static final Set<String> TAKE_LARGER =
            Set.of("minProperties", "minItems", "minLength", "minimum", "exclusiveMinimum");
    private static final Set<String> TAKE_SMALLER =
            Set.of("maxProperties", "maxItems", "maxLength", "maximum", "exclusiveMaximum");
    private static final Set<String> ALL_TYPES =
            Set.of("object", "array", "string", "number", "integer", "boolean", "null");

    private final Json root;
    private int depth;
    /// Keywords and properties that were merged so far.
    private long merged;

    SchemaMerger(Json root) {
        this.root = root;
    }

    /// What the schema refers to, if it does nothing else.
    Optional<Json> plainReference(Obj schema, String path) {
        if (!(schema.members().get("$ref") instanceof Text ref)) {
            return Optional.empty();
        }
        boolean alone = schema.members().keySet().stream()
                .noneMatch(key -> isRestricting(key)
                        || key.equals("const")
                        || key.equals("nullable")
                        || key.equals("additionalItems")
                        || key.endsWith("Of")
                        || REFUSED.contains(key));
        return alone ? Optional.of(resolve(ref.value(), path)) : Optional.empty();
    }

    private static boolean isRestricting(String key) {
        return key.equals("type")
                || key.equals("enum")
                || OBJECT_KEYWORDS.contains(key)
                || ARRAY_KEYWORDS.contains(key)
                || STRING_KEYWORDS.contains(key)
                || NUMBER_KEYWORDS.contains(key);
    }

    private Json resolve(String ref, String path) {
        if (!ref.startsWith("#") || (ref.length() > 1 && ref.charAt(1) != '/')) {
            throw new GrammarException("the JSON schema's $ref '" + ref + "' at " + path
                    + " is not supported; supported are '#' and pointers such as '#/$defs/name'");
        }
        Json at = root;
        for (String step : ref.length() < 2 ? new String[0] : ref.substring(2).split("/", -1)) {
            String key = URLDecoder.decode(step.replace("+", "%2B"), StandardCharsets.UTF_8)
                    .replace("~1", "/")
                    .replace("~0", "~");
            Json next = null;
            if (at instanceof Obj obj) {
                next = obj.members().get(key);
            } else if (at instanceof Arr arr && key.matches("[0-9]{1,6}")) {
                int index = Integer.parseInt(key);
                next = index < arr.items().size() ? arr.items().get(index) : null;
            }
            if (next == null) {
                throw new GrammarException("the JSON schema's $ref '" + ref + "' at " + path + " leads nowhere");
            }
            at = next;
        }
        return at;
    }

    /// A schema that satisfies both, not yet flat.
    Obj both(Obj flat, Json other, String path) {
        return new Obj(Map.of("allOf", new Arr(List.of(flat, other))));
    }

    Obj flatten(Obj schema, String path) {
        if (++depth > MAX_DEPTH) {
            throw new GrammarException(
                    "the JSON schema's $ref and allOf lead to each other more than " + MAX_DEPTH + " deep at " + path);
        }
        Map<String, Json> given = schema.members();
        for (String key : given.keySet()) {
            if (REFUSED.contains(key)) {
                throw JsonSchemaCompiler.unsupported(key, path);
            }
        }
        Map<String, Json> own = new LinkedHashMap<>();
        given.forEach((key, value) -> {
            if (isRestricting(key)) {
                own.put(key, value);
            }
        });
        if (given.get("items") instanceof Arr tuple) { // drafts 4 to 7
            own.put("prefixItems", tuple);
            own.remove("items");
            if (given.containsKey("additionalItems")) {
                own.put("items", given.getOrDefault("additionalItems", new Bool(true)));
            }
        }
        if (own.containsKey("enum") && !(own.get("enum") instanceof Arr)) {
            throw JsonSchemaCompiler.malformed("enum", "a list", path);
        }
        Obj flat = new Obj(own);
        Json constant = given.get("const");
        if (constant != null) {
            flat = merge(flat, new Obj(Map.of("enum", new Arr(List.of(constant)))), path);
        }
        for (String keyword : List.of("anyOf", "oneOf")) {
            Json branches = given.get(keyword);
            if (branches != null) {
                flat = merge(flat, new Obj(Map.of("anyOf", list(branches, keyword, path))), path);
            }
        }
        if (given.get("$ref") instanceof Text ref) {
            flat = merge(flat, flattenAny(resolve(ref.value(), path), path), path);
        }
        if (given.containsKey("allOf")) {
            for (Json branch : list(given.get("allOf"), "allOf", path).items()) {
                flat = merge(flat, flattenAny(branch, path), path);
            }
        }
        if (given.get("nullable") instanceof Bool nullable && nullable.value()) {
            Obj isNull = new Obj(Map.of("type", new Text("null")));
            flat = new Obj(Map.of("anyOf", new Arr(List.of(flat, isNull))));
        }
        depth--;
        return flat;
    }

    private static Arr list(Json value, String keyword, String path) {
        if (value instanceof Arr arr && !arr.items().isEmpty()) {
            return arr;
        }
        throw JsonSchemaCompiler.malformed(keyword, "a list of at least one schema", path);
    }

    private Obj flattenAny(Json schema, String path) {
        return switch (schema) {
            case Obj obj -> flatten(obj, path);
            case Bool bool -> bool.value() ? new Obj(Map.of()) : new Obj(Map.of("enum", new Arr(List.of())));
            default -> throw new GrammarException("the JSON schema needs an object, true or false at " + path);
        };
    }

    /// Lists of branches of which each must hold for one.
    static List<Json> unions(Obj flat) {
        List<Json> unions = new ArrayList<>();
        Json first = flat.members().get("anyOf");
        if (first != null) {
            unions.add(first);
        }
        if (flat.members().get("allOf") instanceof Arr others) {
            for (Json other : others.items()) {
                if (other instanceof Obj obj) {
                    unions.add(obj.members().getOrDefault("anyOf", new Arr(List.of())));
                }
            }
        }
        return unions;
    }

    static Obj withoutFirstUnion(Obj flat) {
        return withUnions(flat, unions(flat).subList(1, unions(flat).size()));
    }

    private static Obj withUnions(Obj flat, List<Json> unions) {
        Map<String, Json> members = new LinkedHashMap<>(flat.members());
        members.remove("anyOf");
        members.remove("allOf");
        if (!unions.isEmpty()) {
            members.put("anyOf", unions.getFirst());
        }
        if (unions.size() > 1) {
            List<Json> others = new ArrayList<>();
            unions.subList(1, unions.size()).forEach(union -> others.add(new Obj(Map.of("anyOf", union))));
            members.put("allOf", new Arr(others));
        }
        return new Obj(members);
    }

    private Obj merge(Obj a, Obj b, String path) {
        if (a.members().isEmpty() || b.members().isEmpty()) {
            return a.members().isEmpty() ? b : a;
        }
        List<Json> unions = new ArrayList<>(unions(a));
        unions.addAll(unions(b));
        Map<String, Json> both = new LinkedHashMap<>();
        Set<String> keys = new LinkedHashSet<>(a.members().keySet());
        keys.addAll(b.members().keySet());
        count(keys.size(), path);
        for (String key : keys) {
            Json left = a.members().get(key);
            Json right = b.members().get(key);
            if (key.equals("anyOf") || key.equals("allOf")) {
                continue;
            }
            if (key.equals("properties")) {
                both.put(key, mergeProperties(a, b, path));
            } else if (left == null || right == null) {
                both.put(key, left == null ? b.members().getOrDefault(key, new Json.Null()) : left);
            } else {
                both.put(key, left.equals(right) ? left : mergeKeyword(key, left, right, path));
            }
        }
        return withUnions(new Obj(both), unions);
    }

    private void count(int more, String path) {
        merged += more;
        if (merged > MAX_MERGED) {
            throw new GrammarException("the JSON schema has too many combinations of $ref, allOf and anyOf: more than "
                    + MAX_MERGED + " keywords and properties to merge at " + path);
        }
    }

    private Json mergeKeyword(String key, Json left, Json right, String path) {
        if (left instanceof Num l && right instanceof Num r) {
            if (TAKE_LARGER.contains(key)) {
                return l.value().compareTo(r.value()) >= 0 ? l : r;
            }
            if (TAKE_SMALLER.contains(key)) {
                return l.value().compareTo(r.value()) <= 0 ? l : r;
            }
        }
        return switch (key) {
            case "type" -> {
                Set<String> both = typeNames(left, path);
                Set<String> others = typeNames(right, path);
                List<Json> kept = new ArrayList<>();
                for (String type : ALL_TYPES.stream().sorted().toList()) {
                    boolean integer = type.equals("integer");
                    boolean inLeft = both.contains(type) || (integer && both.contains("number"));
                    boolean inRight = others.contains(type) || (integer && others.contains("number"));
                    if (inLeft && inRight) {
                        kept.add(new Text(type));
                    }
                }
                yield new Arr(kept);
            }
            case "enum" -> {
                if (left instanceof Arr l && right instanceof Arr r) {
                    Set<Json> others = new HashSet<>(r.items());
                    yield new Arr(l.items().stream().filter(others::contains).toList());
                }
                throw JsonSchemaCompiler.malformed("enum", "a list", path);
            }
            case "required" -> {
                Set<Json> names = new LinkedHashSet<>();
                for (Json list : List.of(left, right)) {
                    if (list instanceof Arr arr) {
                        names.addAll(arr.items());
                    }
                }
                yield new Arr(List.copyOf(names));
            }
            case "items", "additionalProperties", "propertyNames" -> allOf(left, right);
            case "unevaluatedProperties", "unevaluatedItems" -> new Bool(false);
            default -> throw JsonSchemaCompiler.unsupported("two different values of " + key + " in allOf", path);
        };
    }

    private static Json allOf(Json left, Json right) {
        if (left instanceof Bool bool) {
            return bool.value() ? right : left;
        }
        if (right instanceof Bool bool) {
            return bool.value() ? left : right;
        }
        return left.equals(right) ? left : new Obj(Map.of("allOf", new Arr(List.of(left, right))));
    }

    /// Every property under what both sides say of it, be it by name or by `additionalProperties`.
    private Obj mergeProperties(Obj a, Obj b, String path) {
        Map<String, Json> left = object(a.members().get("properties"), "properties", path);
        Map<String, Json> right = object(b.members().get("properties"), "properties", path);
        Set<String> names = new LinkedHashSet<>(left.keySet());
        names.addAll(right.keySet());
        count(names.size(), path);
        Map<String, Json> all = new LinkedHashMap<>();
        for (String name : names) {
            Json inLeft = left.containsKey(name) ? left.get(name) : undeclared(a, path);
            Json inRight = right.containsKey(name) ? right.get(name) : undeclared(b, path);
            all.put(name, allOf(inLeft, inRight));
        }
        return new Obj(all);
    }

    private static Json undeclared(Obj flat, String path) {
        if (flat.members().containsKey("patternProperties")) {
            throw JsonSchemaCompiler.unsupported("patternProperties beside properties in allOf", path);
        }
        return flat.members().getOrDefault("additionalProperties", new Bool(true));
    }

    /// The types that a flat schema is of: named, or those that its keywords are about, or all.
    static Set<String> types(Obj flat, String path) {
        Json type = flat.members().get("type");
        if (type != null) {
            return typeNames(type, path);
        }
        Set<String> inferred = new LinkedHashSet<>();
        for (String key : flat.members().keySet()) {
            if (OBJECT_KEYWORDS.contains(key)) {
                inferred.add("object");
            } else if (ARRAY_KEYWORDS.contains(key)) {
                inferred.add("array");
            } else if (STRING_KEYWORDS.contains(key)) {
                inferred.add("string");
            } else if (NUMBER_KEYWORDS.contains(key)) {
                inferred.add("number");
            }
        }
        return inferred.isEmpty() ? Set.of("object", "array", "string", "number", "boolean", "null") : inferred;
    }

    /// Whether nothing but a type is demanded.
    static boolean isUnrestricted(Obj flat) {
        return flat.members().keySet().stream().allMatch(key -> key.equals("type"));
    }

    private static Set<String> typeNames(Json type, String path) {
        Set<String> names = new LinkedHashSet<>();
        for (Json name : type instanceof Arr arr ? arr.items() : List.of(type)) {
            if (!(name instanceof Text text) || !ALL_TYPES.contains(text.value())) {
                String shown = name instanceof Text text ? "'" + text.value() + "'" : "of another kind than text";
                throw new GrammarException("the JSON schema's type " + shown + " at " + path
                        + " is none of object, array, string, number, integer, boolean, null");
            }
            names.add(text.value());
        }
        return names;
    }

    static Map<String, Json> object(@Nullable Json value, String keyword, String path) {
        if (value == null) {
            return Map.of();
        }
        if (value instanceof Obj obj) {
            return obj.members();
        }
        throw JsonSchemaCompiler.malformed(keyword, "an object", path);
    }

    static Set<String> required(Obj flat, String path) {
        Json value = flat.members().get("required");
        Set<String> names = new LinkedHashSet<>();
        if (value instanceof Arr arr) {
            for (Json name : arr.items()) {
                if (!(name instanceof Text text)) {
                    throw JsonSchemaCompiler.malformed("required", "a list of names", path);
                }
                names.add(text.value());
            }
        } else if (value != null && !(value instanceof Bool)) { // draft 3 has a boolean in the property
            throw JsonSchemaCompiler.malformed("required", "a list of names", path);
        }
        return names;
    }
}
