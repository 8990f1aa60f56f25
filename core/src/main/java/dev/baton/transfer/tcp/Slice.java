package dev.baton.transfer.tcp;

import java.nio.ByteBuffer;

/// The header of a SLICE: one layer of one block, whose bytes follow, or one of the words that come among them. All
/// of it is under its checksum.
///
/// @param layer whose keys and values follow, or [#COMING], [#TOKEN] or [#DONE]
/// @param index the block among the prompt's; of a TOKEN, the token
/// @param tokens that the block holds; 0 without bytes
/// @param bytes that follow
record Slice(long epoch, int layer, int index, int tokens, int bytes, int checksum) {
    /// Nothing new yet, but it is being computed, or its turn will come.
    static final int COMING = -1;
    /// The first token that the prefiller drew, in `index`.
    static final int TOKEN = -2;
    /// The prompt is computed, and all that was asked for has been sent.
    static final int DONE = -3;

    private static final ByteBuffer NOTHING = ByteBuffer.allocate(0);

    /// A word without bytes behind it.
    static Slice word(long epoch, int word, int value, BlockChecksum checksum) {
        return new Slice(epoch, word, value, 0, 0, checksum.ofLayer(epoch, word, value, 0, NOTHING));
    }

    static Slice read(ByteBuffer body) {
        return new Slice(body.getLong(), body.getInt(), body.getInt(), body.getInt(), body.getInt(), body.getInt());
    }

    /// Puts the whole frame, without the bytes behind it.
    void put(ByteBuffer target) {
        FrameChannel.putHeader(target, FrameType.SLICE, Limits.SLICE_BODY_BYTES)
                .putLong(epoch)
                .putInt(layer)
                .putInt(index)
                .putInt(tokens)
                .putInt(bytes)
                .putInt(checksum);
    }

    boolean isWord() {
        return layer < 0;
    }

    /// Whether a word arrived as it was sent.
    boolean isIntact(BlockChecksum sums) {
        return bytes == 0 && sums.ofLayer(epoch, layer, index, tokens, NOTHING) == checksum;
    }
}
