package dev.baton.transfer.lmcache;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/// What LMCache says about a chunk's bytes (`RemoteMetadata`): seven little-endian 32-bit numbers.
///
/// @param lengthBytes bytes of the chunk
/// @param format LMCache's `MemoryFormat`
/// @param dtype LMCache's number of the element type
/// @param shape0 first dimension; those behind the last are 0
record ChunkHead(int lengthBytes, int format, int dtype, int shape0, int shape1, int shape2, int shape3) {
    static final int BYTES = 7 * Integer.BYTES;

    /// `KV_2LTD`: keys before values, then layers, tokens, heads side by side.
    static final int KV_2LTD = 1;

    private static final int HALF = 1;
    private static final int FLOAT16 = 2;

    /// Of no chunk, in requests and answers that have none; these numbers are LMCache's.
    static final ChunkHead NONE = new ChunkHead(0, KV_2LTD, FLOAT16, 0, 0, 0, 0);

    static ChunkHead read(ByteBuffer in) {
        ByteBuffer numbers = in.order(ByteOrder.LITTLE_ENDIAN);
        return new ChunkHead(
                numbers.getInt(),
                numbers.getInt(),
                canonical(numbers.getInt()),
                numbers.getInt(),
                numbers.getInt(),
                numbers.getInt(),
                numbers.getInt());
    }

    /// PyTorch's half and float16 are one type with two numbers.
    static int canonical(int dtype) {
        return dtype == HALF ? FLOAT16 : dtype;
    }

    void write(ByteBuffer out) {
        out.order(ByteOrder.LITTLE_ENDIAN)
                .putInt(lengthBytes)
                .putInt(format)
                .putInt(dtype)
                .putInt(shape0)
                .putInt(shape1)
                .putInt(shape2)
                .putInt(shape3);
    }

    byte[] toBytes() {
        byte[] bytes = new byte[BYTES];
        write(ByteBuffer.wrap(bytes));
        return bytes;
    }

    /// @throws BadChunkException if a chunk with the head `found` is not what this one describes
    void require(ChunkHead found) throws BadChunkException {
        if (!equals(found)) {
            throw new BadChunkException("it is %s; needed: %s".formatted(found, this));
        }
    }

    @Override
    public String toString() {
        return "%d bytes, format %d, dtype %d, shape [%d, %d, %d, %d]"
                .formatted(lengthBytes, format, dtype, shape0, shape1, shape2, shape3);
    }
}
