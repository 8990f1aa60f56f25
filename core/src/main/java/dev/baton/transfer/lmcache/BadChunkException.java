package dev.baton.transfer.lmcache;

import java.io.IOException;

/// A tier holds something under a key that is not the chunk: another shape, or damaged bytes. The tier itself
/// works.
final class BadChunkException extends IOException {
    BadChunkException(String message) {
        super(message);
    }
}
