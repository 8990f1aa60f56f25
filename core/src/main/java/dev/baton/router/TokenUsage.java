package dev.baton.router;

import dev.baton.http.Json;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Optional;
import tools.jackson.databind.JsonNode;

/// Token counts of an answer, -1 where they are not known.
record TokenUsage(int promptTokens, int cachedTokens, int outputTokens) {
    static final TokenUsage UNKNOWN = new TokenUsage(-1, -1, -1);

    /// Inside of a text the quote before the colon would be escaped.
    private static final byte[] MEMBER = "\"usage\":".getBytes(StandardCharsets.US_ASCII);

    static TokenUsage ofOutput(int outputTokens) {
        return new TokenUsage(-1, -1, outputTokens);
    }

    /// The last `"usage": {...}` in some JSON, without parsing the rest.
    static Optional<TokenUsage> find(byte[] json) {
        for (int at = json.length - MEMBER.length; at >= 0; at--) {
            if (json[at] == '"' && Arrays.equals(json, at, at + MEMBER.length, MEMBER, 0, MEMBER.length)) {
                return read(json, at + MEMBER.length);
            }
        }
        return Optional.empty();
    }

    /// Counts are numbers, so braces are not in texts.
    private static Optional<TokenUsage> read(byte[] json, int from) {
        int begin = from;
        while (begin < json.length && json[begin] == ' ') {
            begin++;
        }
        int depth = 0;
        for (int at = begin; at < json.length; at++) {
            depth += json[at] == '{' ? 1 : json[at] == '}' ? -1 : 0;
            if (depth == 0) {
                return json[begin] == '{' ? parse(Arrays.copyOfRange(json, begin, at + 1)) : Optional.empty();
            }
        }
        return Optional.empty();
    }

    private static Optional<TokenUsage> parse(byte[] object) {
        try {
            JsonNode usage = Json.parse(object);
            return Optional.of(new TokenUsage(
                    usage.path("prompt_tokens").asInt(-1),
                    usage.path("prompt_tokens_details").path("cached_tokens").asInt(-1),
                    usage.path("completion_tokens").asInt(-1)));
        } catch (Json.MalformedException e) {
            return Optional.empty();
        }
    }
}
