package dev.baton.transfer.tcp;

import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.zip.CRC32C;

/// The checksum of a block in flight, or of one layer of it: CRC-32C over what it is (engine, request, epoch,
/// index, tokens, size, layer) and then its bytes, so that a right block in a wrong place is found too.
///
/// One object a transfer; not thread-safe. CRC-32C because the JDK computes it with the processor's instruction,
/// straight from off-heap memory.
final class BlockChecksum {
    /// Well within a second-level cache, together with what it is copied from.
    private static final int SLICE_BYTES = 64 << 10;

    private final CRC32C crc = new CRC32C();
    private final ByteBuffer identity;
    private final int variablePart;

    BlockChecksum(String engineId, String handle) {
        byte[] engine = engineId.getBytes(StandardCharsets.UTF_8);
        byte[] request = handle.getBytes(StandardCharsets.UTF_8);
        variablePart = 2 * Integer.BYTES + engine.length + request.length;
        identity = ByteBuffer.allocate(variablePart + Long.BYTES + 4 * Integer.BYTES)
                .order(ByteOrder.LITTLE_ENDIAN)
                .putInt(engine.length)
                .put(engine)
                .putInt(request.length)
                .put(request);
    }

    /// @param payload the block's bytes; its position is left where it is
    int of(long epoch, int blockIndex, int tokens, ByteBuffer payload) {
        return sum(identify(epoch, blockIndex, tokens, payload), payload);
    }

    /// The same of one layer's part of a block.
    int ofLayer(long epoch, int layer, int blockIndex, int tokens, ByteBuffer payload) {
        return sum(identify(epoch, blockIndex, tokens, payload).putInt(layer), payload);
    }

    private ByteBuffer identify(long epoch, int blockIndex, int tokens, ByteBuffer payload) {
        return identity.clear()
                .position(variablePart)
                .putLong(epoch)
                .putInt(blockIndex)
                .putInt(tokens)
                .putInt(payload.remaining());
    }

    private int sum(ByteBuffer identified, ByteBuffer payload) {
        begin(identified);
        crc.update(payload.duplicate());
        return (int) crc.getValue();
    }

    private void begin(ByteBuffer identified) {
        crc.reset();
        crc.update(identified.flip());
    }

    /// Copies a block and returns the checksum of what was written, [#of] that block: slice by slice, each of which
    /// is read again while it is still in the processor's nearest cache.
    ///
    /// @param target of as many bytes; checked as it is then, whatever the source was or becomes
    int copy(long epoch, int blockIndex, int tokens, MemorySegment source, MemorySegment target) {
        ByteBuffer written = target.asByteBuffer();
        begin(identify(epoch, blockIndex, tokens, written));
        while (written.hasRemaining()) {
            int from = written.position();
            int bytes = Math.min(SLICE_BYTES, written.remaining());
            MemorySegment.copy(source, from, target, from, bytes);
            crc.update(written.limit(from + bytes));
            written.limit(written.capacity());
        }
        return (int) crc.getValue();
    }
}
