package dev.baton.grammar;

import java.util.List;

/// What a text may look like, read from its source and ready for any vocabulary ([GrammarCompiler]).
///
/// Immutable and thread-safe; equal where kind, source and options are equal. Every factory throws
/// [GrammarException], whose message names the keyword or the position, for a source that is malformed, not
/// supported, too large, or that no text matches. All texts are matched as a whole.
public final class Grammar {
    private final Source source;
    private final Automaton automaton;

    private Grammar(Source source, Expr root) {
        this.source = source;
        this.automaton = AutomatonBuilder.build(root);
    }

    /// Kind, text and options: what makes two grammars equal.
    private record Source(String kind, String text, int option) {}

    /// JSON that a JSON Schema describes, with [JsonSchemaOptions#defaults]. See [JsonSchemaCompiler] for the
    /// keywords.
    public static Grammar jsonSchema(String schemaJson) {
        return jsonSchema(schemaJson, JsonSchemaOptions.defaults());
    }

    /// JSON that a JSON Schema describes.
    public static Grammar jsonSchema(String schemaJson, JsonSchemaOptions options) {
        return new Grammar(
                new Source("json_schema", schemaJson, options.maxWhitespaceChars()),
                JsonSchemaCompiler.compile(schemaJson, options));
    }

    /// Any JSON object.
    public static Grammar jsonObject() {
        return jsonSchema("{\"type\": \"object\"}");
    }

    /// A text that a regular expression matches as a whole; see [RegexParser] for the dialect.
    public static Grammar regex(String pattern) {
        return new Grammar(new Source("regex", pattern, 0), RegexParser.parse(pattern));
    }

    /// One of several texts.
    public static Grammar choice(List<String> choices) {
        if (choices.isEmpty()) {
            throw new GrammarException("choice needs at least one text");
        }
        Expr root = Expr.alt(choices.stream().map(Expr::literal).toList());
        StringBuilder text = new StringBuilder();
        choices.forEach(c -> text.append(c.length()).append(':').append(c));
        return new Grammar(new Source("choice", text.toString(), 0), root);
    }

    /// JSON between two texts.
    ///
    /// @param schemaJson the JSON Schema
    public record Tag(String begin, String schemaJson, String end) {}

    /// JSON between fixed texts: one of the tags.
    ///
    /// @param many whether several may follow each other
    public static Grammar tagged(List<Tag> tags, boolean many) {
        if (tags.isEmpty()) {
            throw new GrammarException("tagged JSON needs at least one tag");
        }
        Expr one = Expr.alt(tags.stream()
                .map(tag -> Expr.seq(
                        Expr.literal(tag.begin()),
                        JsonSchemaCompiler.compile(tag.schemaJson(), JsonSchemaOptions.defaults()),
                        Expr.literal(tag.end())))
                .toList());
        return new Grammar(new Source("tagged", tags.toString(), many ? 1 : 0), many ? Expr.plus(one) : one);
    }

    /// A context-free grammar: EBNF as XGrammar and llama.cpp write it (`root ::= "a" [b-z]*`, see
    /// [EbnfParser]), or, where no line holds `::=`, Lark's (`start: "a" /[b-z]*/`, see [LarkParser]).
    public static Grammar ebnf(String text) {
        boolean lark = LarkParser.isLikelyLark(text);
        return new Grammar(
                new Source(lark ? "lark" : "ebnf", text, 0), lark ? LarkParser.parse(text) : EbnfParser.parse(text));
    }

    Automaton automaton() {
        return automaton;
    }

    @Override
    public boolean equals(Object other) {
        return other instanceof Grammar grammar && source.equals(grammar.source);
    }

    @Override
    public int hashCode() {
        return source.hashCode();
    }

    @Override
    public String toString() {
        return source.kind() + " " + source.text();
    }
}
