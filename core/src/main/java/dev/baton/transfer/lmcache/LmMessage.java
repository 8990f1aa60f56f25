package dev.baton.transfer.lmcache;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;

/// The two messages of LMCache's `lm://` protocol: little-endian 32-bit numbers, and in a request the key,
/// padded with blanks.
///
/// Stateless.
final class LmMessage {
    static final int PUT = 1;
    static final int GET = 2;
    static final int EXIST = 3;
    static final int LIST = 4;
    static final int HEALTH = 5;

    static final int SUCCESS = 200;
    static final int FAIL = 400;

    /// Command, length, format, dtype, location, shape, key.
    static final int REQUEST_BYTES = 9 * Integer.BYTES + Limits.LM_KEY_BYTES;

    /// Code, length, format, dtype, shape, location.
    static final int REPLY_BYTES = 9 * Integer.BYTES;

    private static final int NO_LOCATION = 0;

    /// @param command one of the constants, or anything if it came from a client
    /// @param head of the chunk that follows a PUT; [ChunkHead#NONE] otherwise
    record Request(int command, ChunkHead head, String key) {}

    /// @param code one of the constants, or anything if it came from a server
    record Reply(int code, ChunkHead head) {}

    private LmMessage() {}

    /// @throws IllegalArgumentException if the key is too long, or its ends are blanks, which the other side
    ///     cuts off
    static ByteBuffer request(Request request) {
        byte[] key = request.key().getBytes(StandardCharsets.UTF_8);
        if (key.length > Limits.LM_KEY_BYTES) {
            throw new IllegalArgumentException("the key has %d bytes, more than lm:// takes, %d: %s"
                    .formatted(key.length, Limits.LM_KEY_BYTES, request.key()));
        }
        if (!request.key().equals(request.key().strip())) {
            throw new IllegalArgumentException("the key has blanks at its ends: \"%s\"".formatted(request.key()));
        }
        ChunkHead head = request.head();
        ByteBuffer out = ByteBuffer.allocate(REQUEST_BYTES).order(ByteOrder.LITTLE_ENDIAN);
        out.putInt(request.command())
                .putInt(head.lengthBytes())
                .putInt(head.format())
                .putInt(head.dtype())
                .putInt(NO_LOCATION)
                .putInt(head.shape0())
                .putInt(head.shape1())
                .putInt(head.shape2())
                .putInt(head.shape3())
                .put(key);
        while (out.hasRemaining()) {
            out.put((byte) ' ');
        }
        return out.flip();
    }

    static Request readRequest(ByteBuffer buffer) {
        ByteBuffer in = buffer.order(ByteOrder.LITTLE_ENDIAN);
        int command = in.getInt();
        int length = in.getInt();
        int format = in.getInt();
        int dtype = in.getInt();
        int _ = in.getInt(); // location
        ChunkHead head = new ChunkHead(length, format, dtype, in.getInt(), in.getInt(), in.getInt(), in.getInt());
        byte[] key = new byte[Limits.LM_KEY_BYTES];
        in.get(key);
        return new Request(command, head, new String(key, StandardCharsets.UTF_8).strip());
    }

    static ByteBuffer reply(int code, ChunkHead head) {
        ByteBuffer out = ByteBuffer.allocate(REPLY_BYTES).order(ByteOrder.LITTLE_ENDIAN);
        out.putInt(code);
        head.write(out);
        return out.putInt(NO_LOCATION).flip();
    }

    static Reply readReply(ByteBuffer buffer) {
        int code = buffer.order(ByteOrder.LITTLE_ENDIAN).getInt();
        return new Reply(code, ChunkHead.read(buffer));
    }
}
