package dev.baton.openai;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.function.Consumer;

/// Takes a stream of server-sent events apart, whatever pieces it arrives in. Understands LF, CR and CRLF line
/// ends, comments, and events of several `data` lines; ignores other fields.
///
/// Source: WHATWG HTML, 9.2.6 "Interpreting an event stream". One thread.
public final class SseReader {
    /// The payload of the last event.
    public static final String DONE = "[DONE]";

    private static final byte[] DATA = "data".getBytes(StandardCharsets.US_ASCII);

    private final Consumer<String> onData;
    private final int maxEventBytes;
    private byte[] line = new byte[512];
    private int lineLength;
    private byte[] event = new byte[512];
    private int eventLength;
    private boolean hasData;
    private boolean afterCarriageReturn;

    /// A reader with a limit of 16 MiB an event.
    public SseReader(Consumer<String> onData) {
        this(onData, 16 << 20);
    }

    /// @param onData receives the payload of each event
    /// @param maxEventBytes largest event; a larger one throws [IllegalStateException]
    public SseReader(Consumer<String> onData, int maxEventBytes) {
        this.onData = onData;
        this.maxEventBytes = maxEventBytes;
    }

    /// Takes the next piece of the stream and delivers the events that it completes.
    public void feed(byte[] bytes) {
        for (byte b : bytes) {
            if (b == '\n' && afterCarriageReturn) {
                afterCarriageReturn = false;
                continue;
            }
            afterCarriageReturn = b == '\r';
            if (b == '\n' || b == '\r') {
                endOfLine();
            } else {
                if (lineLength == line.length) {
                    line = grow(line, lineLength + 1);
                }
                line[lineLength++] = b;
            }
        }
    }

    /// Whether the stream stands between two events, as it does at its proper end.
    public boolean isAtBoundary() {
        return lineLength == 0 && !hasData;
    }

    private void endOfLine() {
        int length = lineLength;
        lineLength = 0;
        if (length == 0) {
            if (hasData) {
                String data = new String(event, 0, eventLength, StandardCharsets.UTF_8);
                hasData = false;
                eventLength = 0;
                onData.accept(data);
            }
            return;
        }
        if (length < DATA.length || !Arrays.equals(line, 0, DATA.length, DATA, 0, DATA.length)) {
            return;
        }
        int from = DATA.length;
        if (length > from) {
            if (line[from] != ':') {
                return;
            }
            from++;
            if (length > from && line[from] == ' ') {
                from++;
            }
        }
        int extra = (hasData ? 1 : 0) + length - from;
        if (eventLength + extra > event.length) {
            event = grow(event, eventLength + extra);
        }
        if (hasData) {
            event[eventLength++] = '\n';
        }
        System.arraycopy(line, from, event, eventLength, length - from);
        eventLength += length - from;
        hasData = true;
    }

    private byte[] grow(byte[] buffer, int needed) {
        if (needed > maxEventBytes) {
            throw new IllegalStateException("an event of the stream is larger than " + maxEventBytes + " bytes");
        }
        return Arrays.copyOf(buffer, Math.max(needed, Math.min(maxEventBytes, buffer.length * 2)));
    }
}
