package dev.baton.openai;

/// Checks on text that comes from outside.
public final class Text {
    private Text() {}

    /// Where half of a surrogate pair stands without its other half: such text has no UTF-8 form.
    ///
    /// @return -1 if there is none
    public static int indexOfLoneSurrogate(String text) {
        int codePoint;
        for (int i = 0; i < text.length(); i += Character.charCount(codePoint)) {
            codePoint = text.codePointAt(i);
            if (codePoint >= Character.MIN_SURROGATE && codePoint <= Character.MAX_SURROGATE) {
                return i;
            }
        }
        return -1;
    }

    /// Refuses text with half of a surrogate pair.
    ///
    /// @param loc dotted path of the field
    static void requireWellFormed(String text, String loc) {
        int lone = indexOfLoneSurrogate(text);
        if (lone >= 0) {
            throw new ApiException(
                    ApiError.badRequest(loc + " is not valid Unicode: lone surrogate at character " + lone, loc));
        }
    }
}
