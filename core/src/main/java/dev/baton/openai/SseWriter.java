package dev.baton.openai;

import java.nio.charset.StandardCharsets;

/// Frames of a stream of server-sent events, as the API uses them: `data: ...` and a blank line, and comments.
public final class SseWriter {
    /// The content type of a stream.
    public static final String CONTENT_TYPE = "text/event-stream; charset=utf-8";

    private static final byte[] PREFIX = "data: ".getBytes(StandardCharsets.US_ASCII);
    private static final byte[] DONE = "data: [DONE]\n\n".getBytes(StandardCharsets.US_ASCII);

    private static final byte[] KEEP_ALIVE = ": keep-alive\n\n".getBytes(StandardCharsets.US_ASCII);

    private SseWriter() {}

    /// One event.
    ///
    /// @param json a payload without line breaks
    public static byte[] event(byte[] json) {
        byte[] frame = new byte[PREFIX.length + json.length + 2];
        System.arraycopy(PREFIX, 0, frame, 0, PREFIX.length);
        System.arraycopy(json, 0, frame, PREFIX.length, json.length);
        frame[frame.length - 2] = '\n';
        frame[frame.length - 1] = '\n';
        return frame;
    }

    /// An error after the first event. It is the last one: [#done()] follows complete output only.
    public static byte[] error(ApiError error) {
        return event(error.toJson());
    }

    /// A comment, which clients skip: it keeps proxies and clients from taking a silent connection for a dead one.
    public static byte[] keepAlive() {
        return KEEP_ALIVE.clone();
    }

    /// The last event of a stream whose output is complete: `data: [DONE]`.
    public static byte[] done() {
        return DONE.clone();
    }
}
