package dev.baton.router;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/// Cuts a stream of server-sent events at event ends, so that a client never holds half an event when the
/// engine behind it dies, and notices `[DONE]` and error events. Bytes pass unchanged and in order; only the
/// unfinished tail of the last event waits, and from an error event on nothing passes.
///
/// Not thread-safe: one per stream.
final class SseFrames {
    private static final byte[] NOTHING = {};
    private static final byte[] DONE = "[DONE]".getBytes(StandardCharsets.US_ASCII);
    private static final byte[] DATA = "data:".getBytes(StandardCharsets.US_ASCII);
    private static final byte[] ERROR = "\"error\"".getBytes(StandardCharsets.US_ASCII);

    /// An event longer than this passes in pieces, of which nothing is read.
    private final int maxHeldBytes;
    private byte[] held = NOTHING;
    private int numHeld;
    private int numEvents;
    /// Whether what passed last ended within an event, and there within a line.
    private boolean open;

    private boolean midLine;
    private boolean cut;
    private boolean done;
    private boolean failed;
    private byte[] failure = NOTHING;

    SseFrames(int maxHeldBytes) {
        this.maxHeldBytes = maxHeldBytes;
    }

    /// Takes the next bytes.
    ///
    /// @return what may be sent on; the same array if it ends with an event, which is the usual case
    byte[] accept(byte[] piece) {
        if (failed) {
            return NOTHING;
        }
        byte[] all = piece;
        if (numHeld > 0) {
            boolean goesOn = numHeld + piece.length <= maxHeldBytes && !endsEventWith(piece);
            hold(piece, 0);
            if (goesOn) { // a long event is not read again with each of its pieces
                return NOTHING;
            }
            all = letGo();
        }
        int end = endOfLastEvent(all);
        boolean wasOpen = open;
        if (all.length - end > maxHeldBytes) {
            end = all.length;
            open = true;
        } else if (end > 0) {
            open = false;
        }
        cut = end > 0 && (wasOpen || open);
        if (end < all.length) {
            hold(all, end);
        }
        return look(all, end);
    }

    private void hold(byte[] bytes, int from) {
        int needed = numHeld + bytes.length - from;
        if (needed > held.length) {
            held = Arrays.copyOf(held, Math.max(needed, 2 * numHeld));
        }
        System.arraycopy(bytes, from, held, numHeld, bytes.length - from);
        numHeld = needed;
    }

    private byte[] letGo() {
        byte[] all = numHeld == held.length ? held : Arrays.copyOf(held, numHeld);
        held = NOTHING;
        numHeld = 0;
        return all;
    }

    /// Whether an event ends in it, behind what is held.
    private boolean endsEventWith(byte[] piece) {
        int seam = Math.min(2, numHeld);
        byte[] both = new byte[seam + piece.length];
        System.arraycopy(held, numHeld - seam, both, 0, seam);
        System.arraycopy(piece, 0, both, seam, piece.length);
        return endOfLastEvent(both) > 0;
    }

    /// What is still held at an orderly end of the stream, if only its blank line is missing to the last event of
    /// all, `[DONE]` or an error. Anything else is half an event, which nobody is to get.
    byte[] finish() {
        byte[] rest = letGo();
        cut = false;
        return !failed && (endsWithDone(rest, rest.length) || endsWithError(rest)) ? look(rest, rest.length) : NOTHING;
    }

    private static boolean endsWithError(byte[] rest) {
        for (int line = 0; line < rest.length; line = nextLine(rest, line, rest.length)) {
            if (matches(rest, line, rest.length, DATA) && isError(rest, line, rest.length)) {
                return EngineErrors.isComplete(Arrays.copyOfRange(rest, line, rest.length));
            }
        }
        return false;
    }

    /// Whether what passed last has a part of an event that is too long to be kept whole.
    boolean cut() {
        return cut;
    }

    /// @return the events before an error, or all
    private byte[] look(byte[] events, int end) {
        done |= endsWithDone(events, end);
        int whole = end;
        int first = midLine ? nextLine(events, 0, end) : 0;
        if (end > 0) {
            midLine = events[end - 1] != '\n';
        }
        for (int line = first; line < end; line = nextLine(events, line, end)) {
            if (matches(events, line, end, DATA)) {
                if (isError(events, line, end)) {
                    failed = true;
                    failure = event(events, line, end);
                    whole = line;
                    break;
                }
                numEvents++;
            }
        }
        return whole == events.length ? events : whole == 0 ? NOTHING : Arrays.copyOf(events, whole);
    }

    /// Events (`data:`) that have passed, `[DONE]` among them.
    int numEvents() {
        return numEvents;
    }

    /// Whether `data: [DONE]` has passed: the answer is complete.
    boolean done() {
        return done;
    }

    /// Whether an event `data: {"error": ...}` has come: the answer has failed, whatever follows.
    boolean failed() {
        return failed;
    }

    /// One event and its blank line, which may be missing at the end of the stream.
    private static byte[] event(byte[] events, int from, int end) {
        int line = from;
        int next = nextLine(events, line, end);
        while (next < end && events[next] != '\n' && events[next] != '\r') {
            line = next;
            next = nextLine(events, line, end);
        }
        int last = Math.min(next, end);
        if (next < end) {
            return Arrays.copyOfRange(events, from, Math.min(nextLine(events, next, end), end));
        }
        byte[] blank = (events[last - 1] == '\n' ? "\n" : "\n\n").getBytes(StandardCharsets.US_ASCII);
        byte[] whole = Arrays.copyOf(Arrays.copyOfRange(events, from, last), last - from + blank.length);
        System.arraycopy(blank, 0, whole, last - from, blank.length);
        return whole;
    }

    /// The error event, without what came after it; empty if there was none.
    byte[] failure() {
        return failure;
    }

    private static int nextLine(byte[] bytes, int from, int end) {
        int at = from;
        while (at < end && bytes[at] != '\n') {
            at++;
        }
        return at + 1;
    }

    /// Engines write `error` as the first and only member; `null` in its place is none.
    ///
    /// @param line where `data:` begins
    private static boolean isError(byte[] bytes, int line, int end) {
        int at = skipSpaces(bytes, line + DATA.length, end);
        if (at == end || bytes[at] != '{') {
            return false;
        }
        at = skipSpaces(bytes, at + 1, end);
        if (!matches(bytes, at, end, ERROR)) {
            return false;
        }
        at = skipSpaces(bytes, at + ERROR.length, end);
        if (at == end || bytes[at] != ':') {
            return false;
        }
        at = skipSpaces(bytes, at + 1, end);
        return at < end && (bytes[at] == '{' || bytes[at] == '"');
    }

    private static int skipSpaces(byte[] bytes, int from, int end) {
        int at = from;
        while (at < end && bytes[at] == ' ') {
            at++;
        }
        return at;
    }

    private static boolean matches(byte[] bytes, int from, int end, byte[] word) {
        return end - from >= word.length && Arrays.equals(bytes, from, from + word.length, word, 0, word.length);
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

    private boolean endsWithDone(byte[] bytes, int end) {
        int at = skipBack(bytes, end, "\r\n");
        if (!matchesBefore(bytes, at, DONE)) {
            return false;
        }
        at = skipBack(bytes, at - DONE.length, " ");
        if (!matchesBefore(bytes, at, DATA)) {
            return false;
        }
        at -= DATA.length;
        return at == 0 ? !midLine : bytes[at - 1] == '\n';
    }

    private static int skipBack(byte[] bytes, int from, String skipped) {
        int at = from;
        while (at > 0 && skipped.indexOf(bytes[at - 1]) >= 0) {
            at--;
        }
        return at;
    }

    private static boolean matchesBefore(byte[] bytes, int end, byte[] word) {
        return end >= word.length && matches(bytes, end - word.length, end, word);
    }
}
