package dev.baton.transfer.tcp;

import java.io.IOException;
import java.net.ProtocolException;
import java.nio.ByteBuffer;
import java.time.Duration;

/// Layers of blocks that a decoder may copy, and where these blocks lie: the frame READY. What it copies counts only
/// if the checksums of the whole blocks, which come when the prompt is computed, are those of what it has then.
///
/// @param piece layers and blocks, of the prompt
/// @param blockIds for each of these blocks, the prefiller's
record Ready(long epoch, Announced.Piece piece, int[] blockIds) {
    void send(FrameChannel frames, Duration timeout) throws IOException {
        ByteBuffer body = frames.begin(FrameType.READY)
                .putLong(epoch)
                .putInt(piece.firstLayer())
                .putInt(piece.endLayer())
                .putInt(piece.firstBlock())
                .putShort((short) blockIds.length);
        for (int block : blockIds) {
            body.putInt(block);
        }
        frames.send(timeout);
    }

    /// @param layers of a block
    /// @param blocks that the prefiller's pool has
    static Ready read(FrameChannel frames, int layers, int blocks) throws ProtocolException {
        long epoch = frames.readI64();
        int firstLayer = frames.readI32();
        int endLayer = frames.readI32();
        int firstBlock = frames.readI32();
        int count = frames.readU16();
        if (firstLayer < 0
                || endLayer <= firstLayer
                || endLayer > layers
                || firstBlock < 0
                || firstBlock > Integer.MAX_VALUE - count
                || count == 0
                || frames.body().remaining() != count * Integer.BYTES) {
            throw new ProtocolException("READY of layers %d to %d of %d blocks from %d, with %d bytes of them"
                    .formatted(
                            firstLayer,
                            endLayer,
                            count,
                            firstBlock,
                            frames.body().remaining()));
        }
        int[] ids = new int[count];
        for (int i = 0; i < count; i++) {
            ids[i] = frames.readI32();
            if (ids[i] < 0 || ids[i] >= blocks) {
                throw new ProtocolException("READY with block %d of %d".formatted(ids[i], blocks));
            }
        }
        return new Ready(epoch, new Announced.Piece(firstLayer, endLayer, firstBlock, firstBlock + count), ids);
    }
}
