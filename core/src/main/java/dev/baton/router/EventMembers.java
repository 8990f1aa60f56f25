package dev.baton.router;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/// What stands in one event of a decoder's stream, found in one pass over its bytes, without parsing: inside of a
/// text the quotes would be escaped. Places are those of the first quote; -1 for what is not there.
///
/// @param tokenIdsAt of `"token_ids":[`
/// @param promptTokenIdsAt of `"prompt_token_ids":[`
/// @param textAt of `"text":"`
/// @param isSilent whether its text or content is empty
/// @param isParsed whether its engine makes something of the text: reasoning, tool calls, or a delta of nothing
/// @param showsNothing whether it says nothing but token ids
record EventMembers(
        int tokenIdsAt, int promptTokenIdsAt, int textAt, boolean isSilent, boolean isParsed, boolean showsNothing) {
    static final byte[] TOKEN_IDS = ascii("\"token_ids\":[");
    static final byte[] PROMPT_TOKEN_IDS = ascii("\"prompt_token_ids\":[");
    static final byte[] TEXT = ascii("\"text\":\"");
    private static final byte[] NO_CONTENT = ascii("\"content\":\"\"");
    private static final byte[] NO_DELTA = ascii("\"delta\":{},");
    private static final byte[] NOT_FINISHED = ascii("\"finish_reason\":null");
    private static final byte[] REASONING = ascii("\"reasoning");
    private static final byte[] TOOL_CALLS = ascii("\"tool_calls\":[{");

    private static byte[] ascii(String text) {
        return text.getBytes(StandardCharsets.US_ASCII);
    }

    static EventMembers find(byte[] bytes, int from, int to) {
        int tokenIds = -1;
        int promptTokenIds = -1;
        int text = -1;
        boolean silent = false;
        boolean emptyDelta = false;
        boolean parsed = false;
        boolean notFinished = false;
        for (int at = from; at < to - 1; at++) {
            if (bytes[at] != '"') {
                continue;
            }
            switch (bytes[at + 1]) {
                case 't' -> {
                    if (is(bytes, at, to, TEXT)) {
                        text = text < 0 ? at : text;
                        silent |= at + TEXT.length < to && bytes[at + TEXT.length] == '"';
                    } else if (tokenIds < 0 && is(bytes, at, to, TOKEN_IDS)) {
                        tokenIds = at;
                    } else {
                        parsed |= is(bytes, at, to, TOOL_CALLS);
                    }
                }
                case 'p' -> {
                    if (promptTokenIds < 0 && is(bytes, at, to, PROMPT_TOKEN_IDS)) {
                        promptTokenIds = at;
                    }
                }
                case 'c' -> silent |= is(bytes, at, to, NO_CONTENT);
                case 'd' -> emptyDelta |= is(bytes, at, to, NO_DELTA);
                case 'f' -> notFinished |= is(bytes, at, to, NOT_FINISHED);
                case 'r' -> parsed |= is(bytes, at, to, REASONING);
                default -> {
                    // nothing that is looked for
                }
            }
        }
        return new EventMembers(
                tokenIds, promptTokenIds, text, silent, parsed || emptyDelta, emptyDelta && notFinished);
    }

    boolean hasIds() {
        return tokenIdsAt >= 0 || promptTokenIdsAt >= 0;
    }

    private static boolean is(byte[] bytes, int at, int to, byte[] word) {
        return to - at >= word.length && Arrays.equals(bytes, at, at + word.length, word, 0, word.length);
    }
}
