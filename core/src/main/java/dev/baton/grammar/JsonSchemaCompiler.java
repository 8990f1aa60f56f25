package dev.baton.grammar;

import dev.baton.grammar.Json.Arr;
import dev.baton.grammar.Json.Num;
import dev.baton.grammar.Json.Obj;
import dev.baton.grammar.Json.Text;
import java.math.BigDecimal;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/// Turns a JSON Schema (draft 2020-12, and what drafts 4 to 7 write differently for tuples and definitions) into
/// rules, with the conventions of vLLM's and XGrammar's output:
///
/// * Properties come in the order of the schema; optional ones may be left out, additional ones come last. An
///   object that declares properties takes others only if `additionalProperties` says so; the same holds for
///   `items` behind `prefixItems`.
/// * Constants, names and patterns have one spelling ([JsonText]); `pattern` describes the whole string.
/// * `oneOf` is read as `anyOf`. A schema without `type` is of the types that its keywords are about.
/// * Between the parts stands at most as much whitespace as [JsonSchemaOptions] says, none before or behind the
///   whole.
///
/// Keywords that restrict and are not built are refused by name; annotations and unknown words are ignored.
/// Not thread-safe; used once.
final class JsonSchemaCompiler {
    private static final int MAX_DEPTH = 200;
    private static final int MAX_SCHEMAS = 20_000;
    /// Of all objects together; each becomes at least two states of the automaton, which has a limit of its own.
    private static final int MAX_PLACES = 250_000;
    private static final List<String> TYPES =
            List.of("object", "array", "string", "number", "integer", "boolean", "null");

    private final SchemaMerger merger;
    private final Expr whitespace;
    private final Expr comma;
    private final Expr colon;
    private final Map<Obj, Expr.Rule> rules = new HashMap<>();
    private final Expr.Rule anyValue = new Expr.Rule("value");
    private final Expr.Rule anyString = new Expr.Rule("string");
    private int depth;
    private long places;

    private JsonSchemaCompiler(Json root, JsonSchemaOptions options) {
        this.merger = new SchemaMerger(root);
        this.whitespace = Expr.repeat(Expr.chars('\t', '\n', '\r', '\r', ' ', ' '), 0, options.maxWhitespaceChars());
        this.comma = Expr.seq(Expr.literal(","), whitespace);
        this.colon = Expr.seq(whitespace, Expr.literal(":"), whitespace);
        anyString.define(Expr.seq(JsonText.QUOTE, Expr.star(JsonText.ANY_CHAR), JsonText.QUOTE));
        Expr.Rule object = new Expr.Rule("object");
        Expr.Rule array = new Expr.Rule("array");
        object.define(object(List.of(), Optional.of(entry(Expr.ref(anyString), Expr.ref(anyValue))), 0, -1));
        array.define(array(List.of(), Optional.of(Expr.ref(anyValue)), 0, -1));
        anyValue.define(Expr.alt(
                Expr.ref(object),
                Expr.ref(array),
                Expr.ref(anyString),
                JsonText.NUMBER,
                Expr.literal("true"),
                Expr.literal("false"),
                Expr.literal("null")));
    }

    /// @throws GrammarException naming the keyword and where it stands, as a JSON pointer
    static Expr compile(String schemaJson, JsonSchemaOptions options) {
        Json root = Json.parse("the JSON schema", schemaJson);
        return new JsonSchemaCompiler(root, options).schema(root, "#");
    }

    private Expr schema(Json schema, String path) {
        if (schema instanceof Json.Bool bool) {
            return bool.value() ? Expr.ref(anyValue) : Expr.NOTHING;
        }
        if (!(schema instanceof Obj obj)) {
            throw new GrammarException("the JSON schema needs an object, true or false at " + path);
        }
        Expr.Rule known = rules.get(obj);
        if (known != null) {
            return Expr.ref(known);
        }
        if (++depth > MAX_DEPTH) {
            throw new GrammarException("the JSON schema nests more than " + MAX_DEPTH + " deep at " + path);
        }
        if (rules.size() > MAX_SCHEMAS) {
            throw new GrammarException("the JSON schema has more than " + MAX_SCHEMAS + " parts");
        }
        Expr.Rule rule = new Expr.Rule(path);
        rules.put(obj, rule);
        Expr body = body(obj, path);
        rule.define(body);
        depth--;
        // A shared rule is used as it is, so that its masks are shared too.
        return body instanceof Expr.Ref other && other.rule() != rule ? body : Expr.ref(rule);
    }

    private Expr body(Obj schema, String path) {
        Optional<Json> target = merger.plainReference(schema, path);
        if (target.isPresent()) {
            return schema(target.get(), path);
        }
        return flat(merger.flatten(schema, path), path);
    }

    private Expr flat(Obj flat, String path) {
        List<Json> unions = SchemaMerger.unions(flat);
        if (!unions.isEmpty()) {
            return union(flat, (Arr) unions.getFirst(), path);
        }
        if (flat.members().get("enum") instanceof Arr values) {
            List<Expr> options = new ArrayList<>();
            for (Json value : values.items()) {
                if (SchemaValues.allows(flat, value, path)) {
                    options.add(JsonText.constant(value, whitespace));
                }
            }
            return Expr.alt(options);
        }
        List<Expr> options = new ArrayList<>();
        Set<String> types = SchemaMerger.types(flat, path);
        if (types.size() == TYPES.size() - 1 && SchemaMerger.isUnrestricted(flat)) {
            return Expr.ref(anyValue);
        }
        for (String type : TYPES) {
            if (types.contains(type) && !(type.equals("integer") && types.contains("number"))) {
                options.add(ofType(type, flat, path));
            }
        }
        return Expr.alt(options);
    }

    private Expr union(Obj flat, Arr branches, String path) {
        Obj rest = SchemaMerger.withoutFirstUnion(flat);
        List<Expr> options = new ArrayList<>();
        for (int i = 0; i < branches.items().size(); i++) {
            Json branch = branches.items().get(i);
            String at = path + "/anyOf/" + i;
            if (rest.members().isEmpty()) {
                options.add(schema(branch, at));
            } else {
                options.add(schema(merger.both(rest, branch, at), at));
            }
        }
        return Expr.alt(options);
    }

    private Expr ofType(String type, Obj flat, String path) {
        return switch (type) {
            case "object" -> object(flat, path);
            case "array" -> array(flat, path);
            case "string" -> string(flat, path);
            case "number" -> number(flat, path, false);
            case "integer" -> number(flat, path, true);
            case "boolean" -> Expr.alt(Expr.literal("true"), Expr.literal("false"));
            default -> Expr.literal("null");
        };
    }

    private static Expr number(Obj flat, String path, boolean integer) {
        if (flat.members().containsKey("multipleOf")) {
            throw unsupported("multipleOf", path);
        }
        NumberRanges.Bound lower = bound(flat, "minimum", "exclusiveMinimum", 1, path);
        NumberRanges.Bound upper = bound(flat, "maximum", "exclusiveMaximum", -1, path);
        return integer ? NumberRanges.integers(lower, upper) : NumberRanges.decimals(lower, upper);
    }

    private static NumberRanges.@Nullable Bound bound(
            Obj flat, String inclusive, String exclusive, int tighter, String path) {
        NumberRanges.Bound bound = null;
        if (flat.members().get(inclusive) instanceof Num num) {
            // Draft 4 has a boolean beside it.
            boolean open = flat.members().get(exclusive) instanceof Json.Bool bool && bool.value();
            bound = new NumberRanges.Bound(num.value(), !open);
        }
        if (flat.members().get(exclusive) instanceof Num num
                && (bound == null || num.value().compareTo(bound.value()) * tighter >= 0)) {
            bound = new NumberRanges.Bound(num.value(), false);
        }
        if (bound != null
                && (bound.value().precision() > 60 || Math.abs(bound.value().scale()) > 60)) {
            throw new GrammarException("the JSON schema has a bound of more than 60 digits at " + path);
        }
        return bound;
    }

    private Expr string(Obj flat, String path) {
        Map<String, Json> members = flat.members();
        int min = size(flat, "minLength", 0, path);
        int max = size(flat, "maxLength", -1, path);
        boolean hasPattern = members.containsKey("pattern");
        boolean hasFormat = members.containsKey("format");
        if (hasPattern && hasFormat) {
            throw unsupported("pattern together with format", path);
        }
        if (!hasPattern && !hasFormat) {
            if (min == 0 && max < 0) {
                return Expr.ref(anyString);
            }
            return Expr.seq(JsonText.QUOTE, repeat(JsonText.ANY_CHAR, min, max), JsonText.QUOTE);
        }
        String keyword = hasPattern ? "pattern" : "format";
        if (!(members.get(keyword) instanceof Text text)) {
            throw malformed(keyword, "a string", path);
        }
        Expr content = hasPattern
                ? RegexParser.parse("the JSON schema's pattern '" + text.value() + "' at " + path, text.value(), "")
                : StringFormats.find(text.value())
                        .orElseThrow(() -> new GrammarException("the JSON schema's format '" + text.value() + "' at "
                                + path + " is not supported; supported are " + StringFormats.names()));
        boolean bounded = min > 0 || max >= 0;
        Expr written = bounded
                ? LengthBounds.written(content, min, max, keyword + " together with minLength or maxLength", path)
                : JsonText.escaped(content);
        return Expr.seq(JsonText.QUOTE, written, JsonText.QUOTE);
    }

    private static Expr repeat(Expr part, int min, int max) {
        if (max >= 0 && max < min) {
            return Expr.NOTHING;
        }
        return Expr.repeat(part, min, max < 0 ? Expr.Repeat.UNBOUNDED : max);
    }

    private Expr array(Obj flat, String path) {
        for (String keyword : List.of("contains", "minContains", "maxContains", "uniqueItems")) {
            Json value = flat.members().get(keyword);
            if (value != null && !(value instanceof Json.Bool bool && !bool.value())) {
                throw unsupported(keyword, path);
            }
        }
        List<Expr> prefix = new ArrayList<>();
        if (flat.members().get("prefixItems") instanceof Arr items) {
            for (int i = 0; i < items.items().size(); i++) {
                prefix.add(schema(items.items().get(i), path + "/prefixItems/" + i));
            }
        }
        Json items = flat.members().get("items");
        Optional<Expr> rest;
        if (items == null) {
            boolean closed = !prefix.isEmpty() || flat.members().get("unevaluatedItems") instanceof Json.Bool;
            rest = closed ? Optional.empty() : Optional.of(Expr.ref(anyValue));
        } else if (items instanceof Json.Bool bool && !bool.value()) {
            rest = Optional.empty();
        } else {
            rest = Optional.of(schema(items, path + "/items"));
        }
        return array(prefix, rest, size(flat, "minItems", 0, path), size(flat, "maxItems", -1, path));
    }

    private Expr array(List<Expr> prefix, Optional<Expr> rest, int min, int max) {
        int count = prefix.size();
        int last = max < 0 ? count : Math.min(count, max);
        // What follows when `i` elements stand, from the end on.
        Expr tail = Expr.EMPTY;
        if (rest.isPresent() && (max < 0 || max > count) && last == count) {
            Expr element = Expr.seq(rest.get(), whitespace);
            int more = Math.max(0, min - count);
            int most = max < 0 ? -1 : max - count;
            if (count > 0) {
                tail = repeat(Expr.seq(comma, element), more, most);
            } else {
                Expr some = Expr.seq(
                        element, repeat(Expr.seq(comma, element), Math.max(0, more - 1), most < 0 ? -1 : most - 1));
                tail = more > 0 ? some : Expr.optional(some);
            }
        } else if (min > last) {
            return Expr.NOTHING;
        }
        for (int i = last - 1; i >= 0; i--) {
            Expr element = Expr.seq(prefix.get(i), whitespace, tail);
            Expr with = i == 0 ? element : Expr.seq(comma, element);
            // A rule of its own: sequences in sequences would be copied once an element.
            tail = Expr.ref(new Expr.Rule("items " + i).define(i < min ? with : Expr.optional(with)));
        }
        return Expr.seq(Expr.literal("["), whitespace, tail, Expr.literal("]"));
    }

    private record Property(Expr entry, boolean isRequired) {}

    private Expr entry(Expr key, Expr value) {
        return Expr.seq(key, colon, value, whitespace);
    }

    private Expr object(Obj flat, String path) {
        Map<String, Json> members = flat.members();
        Map<String, Json> declared = SchemaMerger.object(members.get("properties"), "properties", path);
        Map<String, Json> patterns = SchemaMerger.object(members.get("patternProperties"), "patternProperties", path);
        Json additional = members.get("additionalProperties");
        Json unevaluated = members.get("unevaluatedProperties");
        boolean open = declared.isEmpty() && patterns.isEmpty() && !(unevaluated instanceof Json.Bool);
        boolean forbidden = additional instanceof Json.Bool bool && !bool.value();
        Set<String> required = SchemaMerger.required(flat, path);
        List<Property> properties = new ArrayList<>();
        Map<String, Json> named = new LinkedHashMap<>(declared);
        for (String name : required) {
            if (!named.containsKey(name)) {
                if (forbidden || !patterns.isEmpty()) {
                    throw new GrammarException("the JSON schema requires the property '" + name + "' at " + path
                            + ", which properties does not declare");
                }
                named.put(name, additional == null ? new Json.Bool(true) : additional);
            }
        }
        named.forEach((name, value) -> {
            Expr expr = schema(value, path + "/properties/" + name);
            if (expr instanceof Expr.Alt alt && alt.options().isEmpty() && !required.contains(name)) {
                return;
            }
            properties.add(new Property(entry(JsonText.quoted(name), expr), required.contains(name)));
        });
        Optional<Expr> more = Optional.empty();
        if (!patterns.isEmpty()) {
            more = Optional.of(patternEntry(patterns, named.keySet(), additional, path));
        } else if (members.containsKey("propertyNames")) {
            if (!named.isEmpty()) {
                throw unsupported("propertyNames together with properties", path);
            }
            Expr value = additional == null ? Expr.ref(anyValue) : schema(additional, path + "/additionalProperties");
            more = Optional.of(entry(propertyName(flat, path), value));
        } else if (additional != null ? !forbidden : open) {
            Expr value = additional == null ? Expr.ref(anyValue) : schema(additional, path + "/additionalProperties");
            Expr key = named.isEmpty() ? Expr.ref(anyString) : OtherStrings.than(named.keySet());
            more = Optional.of(entry(key, value));
        }
        return object(properties, more, size(flat, "minProperties", 0, path), size(flat, "maxProperties", -1, path));
    }

    private Expr patternEntry(Map<String, Json> patterns, Set<String> named, @Nullable Json additional, String path) {
        if (!named.isEmpty() || patterns.size() > 1) {
            throw unsupported("patternProperties together with properties, or with several patterns,", path);
        }
        if (additional != null && !(additional instanceof Json.Bool bool && !bool.value())) {
            throw unsupported("patternProperties together with additionalProperties", path);
        }
        Map.Entry<String, Json> only = patterns.entrySet().iterator().next();
        Expr key = RegexParser.parse("the JSON schema's pattern '" + only.getKey() + "' at " + path, only.getKey(), "");
        return entry(
                Expr.seq(JsonText.QUOTE, JsonText.escaped(key), JsonText.QUOTE),
                schema(only.getValue(), path + "/patternProperties/" + only.getKey()));
    }

    private Expr propertyName(Obj flat, String path) {
        String at = path + "/propertyNames";
        Json names = flat.members().get("propertyNames");
        if (names instanceof Obj obj) {
            Map<String, Json> typed = new LinkedHashMap<>(obj.members());
            typed.putIfAbsent("type", new Text("string"));
            return schema(new Obj(typed), at);
        }
        return names == null ? Expr.ref(anyString) : schema(names, at);
    }

    /// The object's text; `places` of it are pairs of the next property and how many stand already, counted no
    /// further than matters.
    private Expr object(List<Property> properties, Optional<Expr> more, int min, int max) {
        int counted = Math.max(1, Math.max(min, max));
        places += properties.isEmpty() ? 0 : (properties.size() + 1) * (counted + 1L);
        if (places > MAX_PLACES) {
            throw new GrammarException("the JSON schema has too many properties: those of every object in every"
                    + " combination of anyOf, times minProperties or maxProperties, are more than " + MAX_PLACES);
        }
        Expr inside;
        if (properties.isEmpty()) {
            inside = entries(more, 0, min, max);
        } else {
            Expr[] next = new Expr[counted + 1]; // by how many stand
            for (int count = 0; count <= counted; count++) {
                next[count] = max >= 0 && count > max ? Expr.NOTHING : entries(more, count, min, max);
            }
            for (int i = properties.size() - 1; i >= 0; i--) {
                Property property = properties.get(i);
                Expr[] here = new Expr[counted + 1];
                for (int count = 0; count <= counted; count++) {
                    boolean full = max >= 0 && count >= max;
                    Expr after = next[Math.min(count + 1, counted)];
                    Expr with = full
                            ? Expr.NOTHING
                            : count == 0 ? Expr.seq(property.entry(), after) : Expr.seq(comma, property.entry(), after);
                    Expr choice = property.isRequired() ? with : Expr.alt(with, next[count]);
                    here[count] = Expr.ref(new Expr.Rule("properties " + i).define(choice));
                }
                next = here;
            }
            inside = next[0];
        }
        return Expr.seq(Expr.literal("{"), whitespace, inside, Expr.literal("}"));
    }

    /// Entries behind the declared properties, of which `count` stand.
    private Expr entries(Optional<Expr> entry, int count, int min, int max) {
        int least = Math.max(0, min - count);
        if (entry.isEmpty() || (max >= 0 && count >= max)) {
            return least > 0 ? Expr.NOTHING : Expr.EMPTY;
        }
        int most = max < 0 ? -1 : max - count;
        if (most >= 0 && most < least) {
            return Expr.NOTHING;
        }
        Expr another = Expr.seq(comma, entry.get());
        if (count > 0) {
            return repeat(another, least, most);
        }
        Expr some =
                Expr.seq(entry.get(), repeat(another, Math.max(0, least - 1), most < 0 ? -1 : Math.max(0, most - 1)));
        return least > 0 ? some : Expr.optional(some);
    }

    private static int size(Obj flat, String keyword, int absent, String path) {
        Json value = flat.members().get(keyword);
        if (value == null) {
            return absent;
        }
        if (value instanceof Num num
                && num.value().signum() >= 0
                && num.value().compareTo(BigDecimal.valueOf(1_000_000_000)) <= 0
                && num.value().stripTrailingZeros().scale() <= 0) {
            return num.value().intValueExact();
        }
        throw malformed(keyword, "a whole number from 0 to 1000000000", path);
    }

    static GrammarException unsupported(String keyword, String path) {
        return new GrammarException("the JSON schema's " + keyword + " at " + path + " is not supported");
    }

    static GrammarException malformed(String keyword, String needed, String path) {
        return new GrammarException("the JSON schema's " + keyword + " at " + path + " needs " + needed);
    }
}
