package dev.baton.grammar;

/// How JSON is written that a schema describes.
///
/// @param maxWhitespaceChars the longest run of spaces, tabs and line ends between two parts of the JSON; 0 is
///     compact JSON. A bound, because a model that does not know how to go on can write blanks without end
public record JsonSchemaOptions(int maxWhitespaceChars) {
    private static final int DEFAULT_WHITESPACE = 48;

    public JsonSchemaOptions {
        if (maxWhitespaceChars < 0) {
            throw new GrammarException("maxWhitespaceChars is " + maxWhitespaceChars + "; it must be 0 or more");
        }
    }

    /// Up to 48 characters of whitespace, which is enough for JSON that is indented by 4 and nested 11 deep.
    public static JsonSchemaOptions defaults() {
        return new JsonSchemaOptions(DEFAULT_WHITESPACE);
    }

    /// No whitespace at all.
    public static JsonSchemaOptions compact() {
        return new JsonSchemaOptions(0);
    }
}
