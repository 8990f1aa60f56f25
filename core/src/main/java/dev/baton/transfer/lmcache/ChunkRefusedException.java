package dev.baton.transfer.lmcache;

import java.io.IOException;

/// A decoder is there and does not take a chunk: it has no page free, or cannot use chunks of that kind.
final class ChunkRefusedException extends IOException {
    ChunkRefusedException(String message) {
        super(message);
    }
}
