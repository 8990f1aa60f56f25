package dev.baton.transfer.tcp;

import dev.baton.kvcache.KvCacheSpec;
import java.io.IOException;
import java.net.ProtocolException;
import java.nio.ByteBuffer;
import java.time.Duration;

/// A decoder's question for the blocks of a prompt that a prefiller computes, or is about to: the frame PUSH.
///
/// @param transferId by which both legs of the request know it
/// @param epoch of this try
/// @param promptDigest of the prompt that the decoder has
/// @param numTokens of that prompt
/// @param first the first block wanted, among the prompt's
/// @param end the block behind the last one wanted
/// @param way how they are to come
record Push(String transferId, long epoch, String promptDigest, int numTokens, int first, int end, Way way) {
    /// How the blocks of a prompt come to its decoder.
    enum Way {
        /// In SLICEs.
        SENT(0),
        /// The decoder copies them itself once all are computed, from the pool there that it has open.
        COPIED(1),
        /// It copies their layers as they are computed.
        COPIED_BY_LAYERS(2);

        private final int number; // in the frame

        Way(int number) {
            this.number = number;
        }

        static Way of(int number) throws ProtocolException {
            for (Way way : values()) {
                if (way.number == number) {
                    return way;
                }
            }
            throw new ProtocolException("PUSH in a way that is not known: " + number);
        }
    }

    /// The same, with blocks that come another way.
    Push by(Way other) {
        return new Push(transferId, epoch, promptDigest, numTokens, first, end, other);
    }

    void ask(FrameChannel frames, Duration timeout) throws IOException {
        ByteBuffer body = frames.begin(FrameType.PUSH);
        FrameChannel.putString(body, transferId);
        body.putLong(epoch);
        FrameChannel.putString(body, promptDigest);
        body.putInt(numTokens).putInt(first).putInt(end).putInt(way.number);
        frames.send(timeout);
    }

    static Push read(FrameChannel frames) throws ProtocolException {
        Push push = new Push(
                frames.readString(Limits.MAX_ID_BYTES),
                frames.readI64(),
                frames.readString(Limits.MAX_DIGEST_BYTES),
                frames.readI32(),
                frames.readI32(),
                frames.readI32(),
                Way.of(frames.readI32()));
        frames.expectEnd();
        if (push.first < 0 || push.end <= push.first) {
            throw new ProtocolException("PUSH of blocks %d to %d".formatted(push.first, push.end));
        }
        return push;
    }

    /// Tokens that a block of the prompt holds.
    int tokens(int block, int blockTokens) {
        return KvCacheSpec.tokensOf(block, numTokens, blockTokens);
    }
}
