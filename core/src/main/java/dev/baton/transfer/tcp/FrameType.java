package dev.baton.transfer.tcp;

import java.util.Optional;

/// The kinds of frame of the wire protocol, each with the most bytes that its body may have.
enum FrameType {
    HELLO(1, 16 * 1024),
    ERROR(2, 2 * 1024),
    PULL(3, Limits.MAX_BODY_BYTES),
    /// Its body is a header alone; the bytes of the block follow the frame.
    BLOCK(4, Limits.BLOCK_BODY_BYTES),
    RELEASE(5, 1024),
    HEARTBEAT(6, Limits.MAX_BODY_BYTES),
    OK(7, 0),
    LOST(8, Limits.MAX_BODY_BYTES),
    PING(9, 8),
    PONG(10, 8),
    /// Proves that the sender has the shared key.
    AUTH(11, SharedKey.MAC_BYTES),
    /// Asks for blocks as PULL does, to be copied from pool to pool.
    LEND(12, Limits.MAX_BODY_BYTES),
    SUMS(13, Limits.MAX_BODY_BYTES),
    RETURN(14, 0),
    /// Asks for the blocks of a prompt that is computed at this moment, as they come to be.
    PUSH(15, 2 * 1024),
    /// Its body is a header alone; the bytes of one layer of one block follow the frame, or none: see [Slice].
    SLICE(16, Limits.SLICE_BODY_BYTES),
    /// Where blocks of a PUSH lie that the decoder copies itself; SUMS of them follow.
    HELD(17, Limits.MAX_BODY_BYTES),
    /// Layers of blocks of a PUSH that are computed, and where they lie, for a decoder that copies them itself.
    READY(18, Limits.MAX_BODY_BYTES);

    private static final FrameType[] BY_CODE = new FrameType[values().length + 1];

    static {
        for (FrameType type : values()) {
            BY_CODE[type.code] = type;
        }
    }

    private final int code;
    private final int maxBodyBytes;

    FrameType(int code, int maxBodyBytes) {
        this.code = code;
        this.maxBodyBytes = maxBodyBytes;
    }

    int code() {
        return code;
    }

    int maxBodyBytes() {
        return maxBodyBytes;
    }

    static Optional<FrameType> of(int code) {
        return code < 1 || code >= BY_CODE.length ? Optional.empty() : Optional.of(BY_CODE[code]);
    }
}
