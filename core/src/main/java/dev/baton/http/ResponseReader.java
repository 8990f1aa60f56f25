package dev.baton.http;

import io.netty.buffer.ByteBuf;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/// Reads the HTTP/1.1 responses of one connection, one after the other, as their bytes come (RFC 9112).
///
/// What is left in the buffer when [#read] returns has to stand before the bytes that come next. A part of a line
/// waits there; content does not wait. Event loop only.
final class ResponseReader {
    private static final int MAX_HEAD_BYTES = 64 << 10;
    private static final int MAX_LINE_BYTES = 4 << 10;
    private static final int MAX_TRAILER_BYTES = 64 << 10;
    private static final byte[] VERSION = "HTTP/1.".getBytes(StandardCharsets.US_ASCII);

    /// Who gets what is read.
    interface Sink {
        void head(int status, HttpHeaders headers);

        /// The next piece of the body, never empty.
        void content(byte[] bytes);

        void end();
    }

    /// Bytes that are no response.
    static final class MalformedException extends RuntimeException {
        MalformedException(String message) {
            super(message);
        }
    }

    private enum State {
        NOTHING_EXPECTED,
        HEAD,
        CONTENT,
        CONTENT_UNTIL_CLOSE,
        CHUNK_SIZE,
        CHUNK,
        CHUNK_END,
        TRAILERS
    }

    private final Sink sink;
    private State state = State.NOTHING_EXPECTED;
    private boolean paused;
    private boolean toHead;
    private boolean keepsConnection;
    /// Bytes of the content, or of the present chunk, that are still to come.
    private long left;

    private int trailerBytes;

    ResponseReader(Sink sink) {
        this.sink = sink;
    }

    /// A request has been sent.
    ///
    /// @param head whether its method is HEAD, whose response has no content
    void expect(boolean head) {
        toHead = head;
        state = State.HEAD;
    }

    /// Whether no response is under way or awaited.
    boolean isIdle() {
        return state == State.NOTHING_EXPECTED;
    }

    /// Whether another request may follow the last response on this connection.
    boolean keepsConnection() {
        return keepsConnection;
    }

    /// Whether a response's head has been read and its end has not.
    boolean isInContent() {
        return state != State.NOTHING_EXPECTED && state != State.HEAD;
    }

    /// Reads no content until [#resume()], also of what has come.
    void pause() {
        paused = true;
    }

    boolean isPaused() {
        return paused;
    }

    void resume() {
        paused = false;
    }

    /// Nothing of the present response is wanted any more.
    void stop() {
        state = State.NOTHING_EXPECTED;
    }

    /// Reads on.
    ///
    /// @throws MalformedException if it is no HTTP, or too long a head
    void read(ByteBuf in) {
        while (!(paused && isInContent()) && step(in)) {
            // as far as it goes
        }
    }

    /// The other side has closed the connection.
    ///
    /// @return whether that was the response's end, as one without a length has it
    boolean closed() {
        if (state != State.CONTENT_UNTIL_CLOSE) {
            return false;
        }
        end();
        return true;
    }

    /// @return whether another step may be possible
    private boolean step(ByteBuf in) {
        return switch (state) {
            case NOTHING_EXPECTED -> false;
            case HEAD -> head(in);
            case CONTENT, CHUNK -> content(in);
            case CONTENT_UNTIL_CLOSE -> {
                pass(in, in.readableBytes());
                yield false;
            }
            case CHUNK_SIZE -> chunkSize(in);
            case CHUNK_END -> chunkEnd(in);
            case TRAILERS -> trailer(in);
        };
    }

    private void pass(ByteBuf in, int length) {
        if (length > 0) {
            byte[] bytes = new byte[length];
            in.readBytes(bytes);
            sink.content(bytes);
        }
    }

    private void end() {
        state = State.NOTHING_EXPECTED;
        sink.end();
    }

    private boolean content(ByteBuf in) {
        int length = (int) Math.min(left, in.readableBytes());
        left -= length;
        boolean last = left == 0;
        boolean chunked = state == State.CHUNK;
        if (last && chunked) {
            state = State.CHUNK_END;
        }
        pass(in, length);
        if (last && state == State.CONTENT) { // unless the sink has given the response up
            end();
        }
        return last;
    }

    private boolean chunkSize(ByteBuf in) {
        int end = endOfLine(in, MAX_LINE_BYTES);
        if (end < 0) {
            return false;
        }
        long size = 0;
        int digits = 0;
        int at = in.readerIndex();
        for (int digit; at < end && (digit = Character.digit(in.getByte(at), 16)) >= 0; at++) {
            size = size << 4 | digit;
            digits++;
        }
        byte next = in.getByte(at);
        if (digits == 0 || digits > 15 || (next != '\r' && next != '\n' && next != ';' && next != ' ' && next != '\t')) {
            throw new MalformedException("a chunk without a size");
        }
        in.readerIndex(end + 1);
        left = size;
        trailerBytes = 0;
        state = size == 0 ? State.TRAILERS : State.CHUNK;
        return true;
    }

    private boolean chunkEnd(ByteBuf in) {
        if (!in.isReadable()) {
            return false;
        }
        int at = in.readerIndex();
        if (in.getByte(at) == '\r') {
            if (in.readableBytes() < 2) {
                return false;
            }
            at++;
        }
        if (in.getByte(at) != '\n') {
            throw new MalformedException("a chunk that is longer than its size");
        }
        in.readerIndex(at + 1);
        state = State.CHUNK_SIZE;
        return true;
    }

    /// Trailers say nothing that anyone here asks for.
    private boolean trailer(ByteBuf in) {
        int end = endOfLine(in, MAX_LINE_BYTES);
        if (end < 0) {
            return false;
        }
        int start = in.readerIndex();
        trailerBytes += end + 1 - start;
        if (trailerBytes > MAX_TRAILER_BYTES) {
            throw new MalformedException("too many trailers");
        }
        boolean blank = end == start || (end == start + 1 && in.getByte(start) == '\r');
        in.readerIndex(end + 1);
        if (blank) {
            end();
        }
        return !blank;
    }

    /// Where the line feed is; -1 if it has not come.
    private static int endOfLine(ByteBuf in, int longest) {
        int end = in.indexOf(in.readerIndex(), in.writerIndex(), (byte) '\n');
        if (end < 0 && in.readableBytes() > longest) {
            throw new MalformedException("a line of more than " + longest + " bytes");
        }
        return end;
    }

    /* The head. */

    private boolean head(ByteBuf in) {
        int length = lengthOfHead(in);
        if (length < 0) {
            if (in.readableBytes() > MAX_HEAD_BYTES) {
                throw new MalformedException("a head of more than " + MAX_HEAD_BYTES + " bytes");
            }
            return false;
        }
        byte[] head = new byte[length];
        in.readBytes(head);
        int status = status(head);
        List<HttpHeaders.Field> fields = fields(head);
        if (status == 101) {
            throw new MalformedException("it switches to a protocol that nobody asked for");
        }
        if (status >= 200) { // others announce that one
            begin(status, head[VERSION.length] == '0', fields);
        }
        return true;
    }

    /// With its blank line; -1 if it is not complete.
    private static int lengthOfHead(ByteBuf in) {
        int start = in.readerIndex();
        int end = in.writerIndex();
        for (int line = start; ; ) {
            int feed = in.indexOf(line, end, (byte) '\n');
            if (feed < 0) {
                return -1;
            }
            if (line > start && (feed == line || (feed == line + 1 && in.getByte(line) == '\r'))) {
                return feed + 1 - start;
            }
            line = feed + 1;
        }
    }

    private static int status(byte[] head) {
        int at = VERSION.length + 2;
        if (head.length > at + 3
                && Arrays.equals(head, 0, VERSION.length, VERSION, 0, VERSION.length)
                && (head[VERSION.length] == '0' || head[VERSION.length] == '1')
                && head[VERSION.length + 1] == ' '
                && isDigit(head[at])
                && isDigit(head[at + 1])
                && isDigit(head[at + 2])
                && head[at + 3] <= ' '
                && head[at] != '0') {
            return 100 * (head[at] - '0') + 10 * (head[at + 1] - '0') + head[at + 2] - '0';
        }
        throw new MalformedException("an answer that is not HTTP/1.1");
    }

    private static boolean isDigit(byte value) {
        return value >= '0' && value <= '9';
    }

    private static List<HttpHeaders.Field> fields(byte[] head) {
        List<HttpHeaders.Field> fields = new ArrayList<>(12);
        int line = feedFrom(head, 0) + 1;
        for (int feed = feedFrom(head, line); feed < head.length; line = feed + 1, feed = feedFrom(head, line)) {
            int end = feed;
            while (end > line && head[end - 1] <= ' ' && head[end - 1] >= 0) {
                end--;
            }
            if (end == line) {
                break;
            }
            if (head[line] == ' ' || head[line] == '\t') { // a folded line, which is obsolete
                throw new MalformedException("a folded header field");
            }
            fields.add(field(head, line, end));
        }
        return fields;
    }

    private static HttpHeaders.Field field(byte[] head, int from, int to) {
        int colon = from;
        while (colon < to && head[colon] != ':') {
            if (head[colon] <= ' ') {
                throw new MalformedException("a header field whose name is none");
            }
            colon++;
        }
        if (colon == from || colon == to) {
            throw new MalformedException("a header field without a name");
        }
        int value = colon + 1;
        while (value < to && (head[value] == ' ' || head[value] == '\t')) {
            value++;
        }
        return new HttpHeaders.Field(
                new String(head, from, colon - from, StandardCharsets.ISO_8859_1),
                new String(head, value, to - value, StandardCharsets.ISO_8859_1));
    }

    private static int feedFrom(byte[] head, int from) {
        int at = from;
        while (at < head.length && head[at] != '\n') {
            at++;
        }
        return at;
    }

    private void begin(int status, boolean old, List<HttpHeaders.Field> fields) {
        long length = -1;
        boolean coded = false;
        boolean chunked = false;
        keepsConnection = !old;
        for (HttpHeaders.Field field : fields) {
            String name = field.name();
            if (name.equalsIgnoreCase("content-length")) {
                long said = length(field.value());
                if (length >= 0 && said != length) {
                    throw new MalformedException("two lengths of one content");
                }
                length = said;
            } else if (name.equalsIgnoreCase("transfer-encoding")) {
                coded = true;
                chunked = endsWithToken(field.value(), "chunked");
            } else if (name.equalsIgnoreCase("connection")) {
                keepsConnection = hasToken(field.value(), "close")
                        ? false
                        : keepsConnection || hasToken(field.value(), "keep-alive");
            }
        }
        keepsConnection &= !(coded && length >= 0); // somebody between may have cut it otherwise
        boolean without = toHead || status == 204 || status == 304 || (!coded && length == 0);
        left = Math.max(0, length);
        state = without
                ? State.HEAD
                : chunked ? State.CHUNK_SIZE : !coded && length > 0 ? State.CONTENT : State.CONTENT_UNTIL_CLOSE;
        keepsConnection &= state != State.CONTENT_UNTIL_CLOSE;
        sink.head(status, HttpHeaders.of(fields));
        if (without && state == State.HEAD) {
            end();
        }
    }

    private static long length(String value) {
        long length = 0;
        for (int i = 0; i < value.length(); i++) {
            char digit = value.charAt(i);
            if (digit < '0' || digit > '9' || i > 17) {
                throw new MalformedException("a content length that is no number");
            }
            length = 10 * length + digit - '0';
        }
        if (value.isEmpty()) {
            throw new MalformedException("a content length that is no number");
        }
        return length;
    }

    private static boolean hasToken(String list, String token) {
        for (String one : list.split(",", -1)) {
            if (one.strip().equalsIgnoreCase(token)) {
                return true;
            }
        }
        return false;
    }

    private static boolean endsWithToken(String list, String token) {
        return list.substring(list.lastIndexOf(',') + 1).strip().equalsIgnoreCase(token);
    }
}
