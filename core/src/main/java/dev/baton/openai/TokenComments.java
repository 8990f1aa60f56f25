package dev.baton.openai;

import java.nio.charset.StandardCharsets;

/// What an engine of Baton's says to its router beside the events of a stream, as comments of the event stream that
/// the router takes out: `: baton tokens 12,13` before the event that shows these tokens, and `: baton usage 5 3 2`
/// (prompt, of it cached, output) at the end.
public final class TokenComments {
    /// What each of them begins with.
    public static final String PREFIX = ": baton ";

    /// Then come token ids with commas between them.
    public static final String TOKENS = PREFIX + "tokens ";

    /// Then come three numbers with spaces between them.
    public static final String USAGE = PREFIX + "usage ";

    private TokenComments() {}

    /// The tokens of the next event.
    ///
    /// @param ids the first `count` of them
    public static byte[] tokens(int[] ids, int count) {
        StringBuilder line = new StringBuilder(TOKENS.length() + 7 * count).append(TOKENS);
        for (int i = 0; i < count; i++) {
            line.append(i == 0 ? "" : ",").append(ids[i]);
        }
        return line(line);
    }

    /// The counts of a whole answer.
    ///
    /// @param cachedTokens prompt tokens that were not computed
    public static byte[] usage(int promptTokens, int cachedTokens, int outputTokens) {
        return line(new StringBuilder(USAGE)
                .append(promptTokens)
                .append(' ')
                .append(cachedTokens)
                .append(' ')
                .append(outputTokens));
    }

    private static byte[] line(StringBuilder text) {
        return text.append('\n').toString().getBytes(StandardCharsets.US_ASCII);
    }
}
