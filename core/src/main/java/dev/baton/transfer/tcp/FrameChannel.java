package dev.baton.transfer.tcp;

import java.io.IOException;
import java.net.ProtocolException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;

/// Writes and reads frames over a [Link]: `{u32 body length, u8 type, u8[3] zero}` and a body, little-endian.
///
/// Two buffers of fixed size; no length that a peer sends is believed before it is checked. Owned by the link's
/// owner.
final class FrameChannel {
    private final Link link;
    private final ByteBuffer out = buffer();
    private final ByteBuffer in = buffer();

    FrameChannel(Link link) {
        this.link = link;
    }

    private static ByteBuffer buffer() {
        return ByteBuffer.allocate(Limits.FRAME_HEADER_BYTES + Limits.MAX_BODY_BYTES)
                .order(ByteOrder.LITTLE_ENDIAN);
    }

    /// Begins a frame to send: put the body into the buffer returned, then [#send].
    ByteBuffer begin(FrameType type) {
        return putHeader(out.clear(), type, 0);
    }

    static ByteBuffer putHeader(ByteBuffer target, FrameType type, int bodyBytes) {
        return target.putInt(bodyBytes).putInt(type.code());
    }

    void send(Duration timeout) throws IOException {
        out.flip().putInt(0, out.limit() - Limits.FRAME_HEADER_BYTES);
        link.writeSteadily(new ByteBuffer[] {out}, timeout);
    }

    /// Reads one frame; its body is then what the readers below take from.
    ///
    /// @param patience how long to wait for the frame to begin
    /// @param timeout how long its body may take
    FrameType receive(Duration patience, Duration timeout) throws IOException {
        link.readFully(in.clear().limit(Limits.FRAME_HEADER_BYTES), patience);
        in.flip();
        int bodyBytes = in.getInt();
        FrameType type = checkedType(in.getInt(), bodyBytes);
        link.readFully(in.clear().limit(bodyBytes), timeout);
        in.flip();
        return type;
    }

    static FrameType checkedType(int code, int bodyBytes) throws ProtocolException {
        FrameType type = FrameType.of(code).orElseThrow(() -> new ProtocolException("unknown frame type " + code));
        if (bodyBytes < 0 || bodyBytes > type.maxBodyBytes()) {
            throw new ProtocolException("%s of %s bytes; at most %d are allowed"
                    .formatted(type, Integer.toUnsignedString(bodyBytes), type.maxBodyBytes()));
        }
        return type;
    }

    /// The body of the frame received, for the fixed-size fields.
    ByteBuffer body() {
        return in;
    }

    int readU16() throws ProtocolException {
        need(Short.BYTES);
        return Short.toUnsignedInt(in.getShort());
    }

    int readI32() throws ProtocolException {
        need(Integer.BYTES);
        return in.getInt();
    }

    long readI64() throws ProtocolException {
        need(Long.BYTES);
        return in.getLong();
    }

    byte[] readBytes(int count) throws ProtocolException {
        need(count);
        byte[] bytes = new byte[count];
        in.get(bytes);
        return bytes;
    }

    String readString(int maxBytes) throws ProtocolException {
        int bytes = readU16();
        if (bytes > maxBytes) {
            throw new ProtocolException("a string of %d bytes; at most %d are allowed".formatted(bytes, maxBytes));
        }
        need(bytes);
        ByteBuffer slice = in.slice(in.position(), bytes);
        in.position(in.position() + bytes);
        try {
            String text = StandardCharsets.UTF_8.newDecoder().decode(slice).toString();
            if (hasControls(text)) {
                throw new ProtocolException("a string with control characters"); // it may go into a log
            }
            return text;
        } catch (CharacterCodingException e) {
            throw (ProtocolException) new ProtocolException("a string that is not UTF-8").initCause(e);
        }
    }

    static boolean hasControls(String text) {
        for (int i = 0; i < text.length(); i++) {
            if (Character.isISOControl(text.charAt(i))) {
                return true;
            }
        }
        return false;
    }

    void expectEnd() throws ProtocolException {
        if (in.hasRemaining()) {
            throw new ProtocolException("%d bytes too many in a frame".formatted(in.remaining()));
        }
    }

    static void putString(ByteBuffer target, String text) {
        byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
        target.putShort((short) bytes.length).put(bytes);
    }

    /// Sends an ERROR frame; a message that is too long is cut.
    void sendError(ErrorCode code, String message, Duration timeout) throws IOException {
        ByteBuffer body = begin(FrameType.ERROR).putShort((short) code.code());
        byte[] bytes = message.getBytes(StandardCharsets.UTF_8);
        int length = bytes.length;
        if (length > Limits.MAX_MESSAGE_BYTES) {
            length = Limits.MAX_MESSAGE_BYTES;
            while ((bytes[length] & 0xC0) == 0x80) {
                length--; // not within a character
            }
        }
        body.putShort((short) length).put(bytes, 0, length);
        send(timeout);
    }

    /// The ERROR frame received, as an exception.
    PeerRefusedException readError() throws ProtocolException {
        ErrorCode code = ErrorCode.of(readU16());
        return new PeerRefusedException(code, readString(Limits.MAX_MESSAGE_BYTES));
    }

    /// The ERROR frame that has begun to arrive elsewhere, as an exception.
    ///
    /// @param begun its header and perhaps some of its body, checked
    PeerRefusedException readError(ByteBuffer begun, Duration timeout) throws IOException {
        int bodyBytes = begun.getInt();
        begun.getInt(); // the type
        if (begun.remaining() > bodyBytes) {
            throw new ProtocolException("bytes behind an ERROR");
        }
        link.readFully(in.clear().limit(bodyBytes).put(begun), timeout);
        in.flip();
        return readError();
    }

    private void need(int bytes) throws ProtocolException {
        if (in.remaining() < bytes) {
            throw new ProtocolException("a frame that ends too early");
        }
    }
}
