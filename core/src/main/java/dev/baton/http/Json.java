package dev.baton.http;

import java.nio.charset.StandardCharsets;
import java.util.regex.Pattern;
import tools.jackson.core.JacksonException;
import tools.jackson.core.StreamReadConstraints;
import tools.jackson.core.TokenStreamFactory;
import tools.jackson.core.json.JsonFactory;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/// Reads and writes JSON bodies, with limits on nesting and sizes that hold before memory is spent. Thread-safe.
public final class Json {
    /// Deepest nesting of arrays and objects that is read.
    public static final int MAX_NESTING = 200;

    private static final JsonMapper MAPPER = new JsonMapper(JsonFactory.builder()
            .disable(TokenStreamFactory.Feature.CHARSET_DETECTION)
            .streamReadConstraints(StreamReadConstraints.builder()
                    .maxNestingDepth(MAX_NESTING)
                    .maxNumberLength(400)
                    .build())
            .build());

    /// Where the parser's message names its source, which tells a client nothing: the offset does.
    private static final Pattern PARSERS_SOURCE = Pattern.compile(" ?\\([^()]*\\[Source: .*\\]\\)");

    private Json() {}

    /// A body that is not JSON.
    public static final class MalformedException extends RuntimeException {
        private final long offsetBytes;

        MalformedException(long offsetBytes, String message, Throwable cause) {
            super(message, cause);
            this.offsetBytes = offsetBytes;
        }

        /// Where reading stopped, counted from 0.
        public long offsetBytes() {
            return offsetBytes;
        }
    }

    /// Reads one JSON value in strict UTF-8.
    ///
    /// @throws MalformedException if it is not JSON, not UTF-8, too deep, or followed by something else
    public static JsonNode parse(byte[] body) {
        try {
            return MAPPER.readTree(body);
        } catch (JacksonException e) {
            long offset = e.getLocation() == null ? -1 : e.getLocation().getByteOffset();
            throw new MalformedException(
                    offset < 0 || offset > body.length ? body.length : offset,
                    PARSERS_SOURCE.matcher(e.getOriginalMessage()).replaceAll(""),
                    e);
        }
    }

    /// Writes a tree, a record, a map or a list.
    public static byte[] bytes(Object value) {
        return MAPPER.writeValueAsBytes(value);
    }

    /// The same as text.
    public static String text(Object value) {
        return new String(bytes(value), StandardCharsets.UTF_8);
    }
}
