package dev.baton.router;

import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/// Cuts a stream of server-sent events at event ends, so that a client never holds half an event when the engine
/// behind it dies, and notices `[DONE]`. Bytes pass unchanged and in order; only the unfinished tail of the last
/// event waits.
///
/// Not thread-safe: one per stream.
final class SseFrames {
    private static final byte[] NOTHING = {};
    private static final byte[] DONE = "[DONE]".getBytes(StandardCharsets.US_ASCII);
    private static final byte[] DATA = "data:".getBytes(StandardCharsets.US_ASCII);

    /// An event longer than this passes in pieces.
    private final int maxHeldBytes;
    private final ByteArrayOutputStream held = new ByteArrayOutputStream(0);
    private boolean done;

    SseFrames(int maxHeldBytes) {
        this.maxHeldBytes = maxHeldBytes;
    }

    /// Takes the next bytes.
    ///
    /// @return what may be sent on; the same array if it ends with an event, which is the usual case
    byte[] accept(byte[] piece) {
        byte[] all = piece;
        if (held.size() > 0) {
            held.writeBytes(piece);
            all = held.toByteArray();
            held.reset();
        }
        int end = endOfLastEvent(all);
        if (all.length - end > maxHeldBytes) {
            end = all.length;
        }
        if (end < all.length) {
            held.write(all, end, all.length - end);
        }
        done |= endsWithDone(all, end);
        return end == all.length ? all : end == 0 ? NOTHING : Arrays.copyOf(all, end);
    }

    /// What is still held at an orderly end of the stream.
    byte[] finish() {
        byte[] rest = held.toByteArray();
        held.reset();
        done |= endsWithDone(rest, rest.length);
        return rest;
    }

    /// Whether `data: [DONE]` has passed: the answer is complete.
    boolean done() {
        return done;
    }

    /// The position behind the last blank line; 0 if there is none.
    private static int endOfLastEvent(byte[] bytes) {
        for (int i = bytes.length - 1; i > 0; i--) {
            if (bytes[i] == '\n' && (bytes[i - 1] == '\n' || (i > 1 && bytes[i - 1] == '\r' && bytes[i - 2] == '\n'))) {
                return i + 1;
            }
        }
        return 0;
    }

    private static boolean endsWithDone(byte[] bytes, int end) {
        int at = skipBack(bytes, end, "\r\n");
        if (!matchesBefore(bytes, at, DONE)) {
            return false;
        }
        at = skipBack(bytes, at - DONE.length, " ");
        if (!matchesBefore(bytes, at, DATA)) {
            return false;
        }
        at -= DATA.length;
        return at == 0 || bytes[at - 1] == '\n';
    }

    private static int skipBack(byte[] bytes, int from, String skipped) {
        int at = from;
        while (at > 0 && skipped.indexOf(bytes[at - 1]) >= 0) {
            at--;
        }
        return at;
    }

    private static boolean matchesBefore(byte[] bytes, int end, byte[] word) {
        return end >= word.length && Arrays.equals(bytes, end - word.length, end, word, 0, word.length);
    }
}
