package dev.baton.openai;

/// Checks on text that comes from outside.
final class Text {
    private Text() {}

    /// Refuses text with half of a surrogate pair, which has no UTF-8 form.
    ///
    /// @param loc dotted path of the field
    static void requireWellFormed(String text, String loc) {
        int codePoint;
        for (int i = 0; i < text.length(); i += Character.charCount(codePoint)) {
            codePoint = text.codePointAt(i);
            if (codePoint >= Character.MIN_SURROGATE && codePoint <= Character.MAX_SURROGATE) {
                throw new ApiException(
                        ApiError.badRequest(loc + " is not valid Unicode: lone surrogate at character " + i, loc));
            }
        }
    }
}
