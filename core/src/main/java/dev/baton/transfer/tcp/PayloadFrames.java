package dev.baton.transfer.tcp;

import java.io.IOException;
import java.net.ProtocolException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.time.Duration;

/// Reads frames of one type whose bodies are headers of one size, each with bytes behind it that belong
/// elsewhere. The header of the next frame usually lies behind the bytes of this one: one call fetches both.
///
/// Owned by the link's owner.
final class PayloadFrames {
    private final Link link;
    private final FrameChannel frames;
    private final FrameType type;
    private final Duration timeout;
    private ByteBuffer header;
    private ByteBuffer ahead; // what has been read of the next header

    /// @param timeout how long the peer may be silent
    PayloadFrames(Link link, FrameChannel frames, FrameType type, Duration timeout) {
        this.link = link;
        this.frames = frames;
        this.type = type;
        this.timeout = timeout;
        this.header = header(type);
        this.ahead = header(type);
    }

    /// A buffer for a frame of this type without the bytes behind it.
    static ByteBuffer header(FrameType type) {
        return ByteBuffer.allocateDirect(Limits.FRAME_HEADER_BYTES + type.maxBodyBytes())
                .order(ByteOrder.LITTLE_ENDIAN);
    }

    /// Forgets what was read of an answer that has ended.
    void begin() {
        ahead.clear();
    }

    /// Reads the next header.
    ///
    /// @return its body
    /// @throws PeerRefusedException if an ERROR comes in its place
    ByteBuffer next() throws IOException {
        ByteBuffer current = ahead;
        if (current.position() < Limits.FRAME_HEADER_BYTES) {
            readUpTo(current, Limits.FRAME_HEADER_BYTES);
        }
        int bodyBytes = current.getInt(0);
        FrameType found = FrameChannel.checkedType(current.getInt(Integer.BYTES), bodyBytes);
        if (found == FrameType.ERROR) {
            throw frames.readError(current.flip(), timeout);
        }
        if (found != type || bodyBytes != type.maxBodyBytes()) {
            throw new ProtocolException("%s of %d bytes where a %s was due".formatted(found, bodyBytes, type));
        }
        readUpTo(current, current.capacity());
        ahead = header.clear();
        header = current;
        return current.flip().position(Limits.FRAME_HEADER_BYTES);
    }

    private void readUpTo(ByteBuffer buffer, int position) throws IOException {
        if (buffer.position() < position) {
            link.readSteadily(new ByteBuffer[] {buffer.limit(position)}, timeout);
        }
        buffer.limit(buffer.capacity());
    }

    /// Reads the bytes behind the header that was read last.
    ///
    /// @param last whether no frame follows that was asked for
    void payload(ByteBuffer target, boolean last) throws IOException {
        link.readSteadily(last ? new ByteBuffer[] {target} : new ByteBuffer[] {target, ahead}, timeout);
    }
}
