package dev.baton.transfer.tcp;

import java.net.ProtocolException;
import java.nio.ByteBuffer;

/// The header of a SLICE: one layer of one block, whose bytes follow, or one of the words that come among them. All
/// of it is under its checksum.
///
/// @param layer whose keys and values follow, or [#COMING], [#TOKEN], [#DONE] or [#AGAIN]
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
    /// What was said to be READY has been given away since; it is computed, and said, again.
    static final int AGAIN = -4;

    private static final ByteBuffer NOTHING = ByteBuffer.allocate(0);

    /// A word without bytes behind it.
    static Slice word(long epoch, int word, int value, BlockChecksum checksum) {
        return new Slice(epoch, word, value, 0, 0, checksum.ofLayer(epoch, word, value, 0, NOTHING));
    }

    /// Reads a word that came as a frame by itself.
    static Slice readWord(FrameChannel frames, long epoch, BlockChecksum checksum) throws ProtocolException {
        ByteBuffer body = frames.body();
        if (body.remaining() != Limits.SLICE_BODY_BYTES) {
            throw new ProtocolException("a SLICE of %d bytes".formatted(body.remaining()));
        }
        Slice word = read(body);
        word.check(epoch);
        if (!word.isWord()) {
            throw new ProtocolException("a slice of layer %d, where the decoder copies".formatted(word.layer));
        }
        if (!word.isIntact(checksum)) {
            throw new ProtocolException("a damaged word among slices");
        }
        return word;
    }

    /// Refuses one of another try.
    void check(long due) throws ProtocolException {
        if (epoch != due) {
            throw new ProtocolException("a slice of epoch %x; due: %x".formatted(epoch, due));
        }
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
