package dev.baton.transfer.mooncake;

import dev.baton.wire.Wire;
import java.io.IOException;
import java.net.ProtocolException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Locale;

/// One message of HTTP/1.1, as far as a bootstrap server needs it: a start line, a body of a length that is said in
/// front, one exchange a connection.
///
/// @param startLine of a request or an answer
record HttpMessage(String startLine, byte[] body) {
    static final int MAX_HEAD_BYTES = 16 << 10;
    static final int MAX_BODY_BYTES = 1 << 20;

    private static final byte[] HEAD_END = {'\r', '\n', '\r', '\n'};

    /// Reads a message, within the timeout as a whole.
    static HttpMessage receive(Wire wire, Duration timeout) throws IOException {
        long deadline = System.nanoTime() + timeout.toNanos();
        byte[] head = new byte[MAX_HEAD_BYTES];
        ByteBuffer next = ByteBuffer.allocate(1); // byte by byte: nothing behind the head may be taken with it
        int length = 0;
        int matched = 0;
        while (matched < HEAD_END.length) {
            if (length == head.length) {
                throw new ProtocolException("an HTTP head of more than %d bytes".formatted(MAX_HEAD_BYTES));
            }
            wire.readFully(next.clear(), left(deadline));
            byte b = next.get(0);
            head[length++] = b;
            matched = b == HEAD_END[matched] ? matched + 1 : b == HEAD_END[0] ? 1 : 0;
        }
        String[] lines = new String(head, 0, length, StandardCharsets.ISO_8859_1).split("\r\n", -1);
        ByteBuffer body = ByteBuffer.allocate(bodyBytes(lines));
        wire.readFully(body, left(deadline));
        return new HttpMessage(lines[0], body.array());
    }

    private static Duration left(long deadlineNanos) {
        return Duration.ofNanos(Math.max(1, deadlineNanos - System.nanoTime()));
    }

    private static int bodyBytes(String[] lines) throws ProtocolException {
        int bytes = 0;
        for (String line : lines) {
            int colon = line.indexOf(':');
            String name = colon < 0 ? "" : line.substring(0, colon).toLowerCase(Locale.ROOT);
            String value = line.substring(colon + 1).strip();
            if (name.equals("transfer-encoding")) {
                throw new ProtocolException("an HTTP body whose length is not said in front");
            }
            if (name.equals("content-length")) {
                if (!value.matches("[0-9]{1,7}") || Integer.parseInt(value) > MAX_BODY_BYTES) {
                    throw new ProtocolException("an HTTP body of %s bytes; at most %d are allowed"
                            .formatted(value.matches("[0-9]{1,30}") ? value : "strange", MAX_BODY_BYTES));
                }
                bytes = Integer.parseInt(value);
            }
        }
        return bytes;
    }

    /// Sends a message with these headers, and those that every one has.
    void send(Wire wire, String headers, Duration timeout) throws IOException {
        String head = "%s\r\n%sContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
                .formatted(startLine, headers, body.length);
        ByteBuffer[] parts = {ByteBuffer.wrap(head.getBytes(StandardCharsets.ISO_8859_1)), ByteBuffer.wrap(body)};
        // The last of the parts must have bytes for the wire to know when it is done.
        wire.writeSteadily(body.length == 0 ? new ByteBuffer[] {parts[0]} : parts, timeout);
    }
}
