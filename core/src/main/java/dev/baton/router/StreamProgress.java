package dev.baton.router;

import dev.baton.http.Json;
import dev.baton.openai.Continuation;
import dev.baton.openai.TokenComments;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Optional;
import tools.jackson.databind.JsonNode;

/// How far a streamed answer has come, whichever engines it came from: what another decoder needs to go on with it,
/// and its token counts. Takes an engine's [TokenComments] out of what the client gets; other bytes pass unread.
///
/// Not thread-safe: one for a request.
final class StreamProgress {
    private static final byte[] PREFIX = TokenComments.PREFIX.getBytes(StandardCharsets.US_ASCII);
    private static final byte[] TOKENS = TokenComments.TOKENS.getBytes(StandardCharsets.US_ASCII);
    private static final byte[] USAGE = TokenComments.USAGE.getBytes(StandardCharsets.US_ASCII);
    private static final byte[] DATA = "data:".getBytes(StandardCharsets.US_ASCII);
    private static final byte[] NOTHING = {};

    private byte[] firstEvent = NOTHING;
    /// The two pieces that passed last.
    private byte[] last = NOTHING;

    private byte[] beforeLast = NOTHING;
    private int[] tokens = {};
    private int numTokens;
    /// Of them the ones that the last event shows.
    private int numLastTokens;

    private int numEvents;
    private Optional<TokenUsage> usage = Optional.empty();

    /// Takes whole events of a stream without comments for the router.
    void passed(byte[] events, int numEvents) {
        keep(events);
        this.numEvents = numEvents;
    }

    private void keep(byte[] events) {
        if (events.length > 0) {
            beforeLast = last;
            last = events;
        }
    }

    /// Takes whole events of a stream with comments for the router.
    ///
    /// @param events changed by this
    /// @return what is the client's of it
    byte[] take(byte[] events) {
        int kept = 0;
        int next;
        for (int line = 0; line < events.length; line = next) {
            next = endOfLine(events, line);
            if (startsWith(events, line, PREFIX)) {
                read(events, line, next);
            } else {
                if (startsWith(events, line, DATA)) {
                    event(events, line, next);
                }
                if (kept != line) {
                    System.arraycopy(events, line, events, kept, next - line);
                }
                kept += next - line;
            }
        }
        byte[] clients = kept == events.length ? events : Arrays.copyOf(events, kept);
        keep(clients);
        return clients;
    }

    private void event(byte[] events, int from, int to) {
        if (firstEvent.length == 0) {
            firstEvent = Arrays.copyOfRange(events, from + DATA.length, to);
        }
        numEvents++;
    }

    private void read(byte[] bytes, int from, int to) {
        if (startsWith(bytes, from, TOKENS)) {
            int before = numTokens;
            for (int token : numbers(bytes, from + TOKENS.length, to, 1)) {
                add(token);
            }
            numLastTokens = numTokens - before;
        } else if (startsWith(bytes, from, USAGE)) {
            int[] counts = numbers(bytes, from + USAGE.length, to, 3);
            usage = Optional.of(new TokenUsage(counts[0], counts[1], counts[2]));
        }
    }

    /// Numbers with one character between each two.
    ///
    /// @param least how many there are at least, 0 where there are less
    private static int[] numbers(byte[] bytes, int from, int to, int least) {
        int[] found = new int[least];
        int count = 0;
        for (int at = from; at < to; at++) {
            int number = 0;
            int digits = at;
            for (; at < to && bytes[at] >= '0' && bytes[at] <= '9'; at++) {
                number = 10 * number + bytes[at] - '0';
            }
            if (at > digits) {
                found = count < found.length ? found : Arrays.copyOf(found, 2 * count);
                found[count++] = number;
            }
        }
        return count < least ? found : Arrays.copyOf(found, count);
    }

    private void add(int token) {
        if (numTokens == tokens.length) {
            tokens = Arrays.copyOf(tokens, Math.max(64, 2 * numTokens));
        }
        tokens[numTokens++] = token;
    }

    /// What is left to be sent.
    sealed interface Rest {
        /// Nothing but `[DONE]`.
        record OnlyDone() implements Rest {}

        /// What an engine makes that goes on from there.
        record From(Continuation continuation) implements Rest {}

        /// Nobody can tell: the engine does not say what a continuation needs.
        record Unknown() implements Rest {}
    }

    /// What is left of a stream that broke off.
    ///
    /// @param usageAtEnd whether the client has asked for an event with the usage
    Rest rest(boolean usageAtEnd) {
        if (numTokens == 0) {
            return new Rest.Unknown();
        }
        JsonNode first = json(firstEvent);
        JsonNode choice = json(lastEvent()).path("choices");
        boolean finished = choice.isEmpty() || choice.path(0).hasNonNull("finish_reason");
        if (finished && !(usageAtEnd && !choice.isEmpty())) {
            return new Rest.OnlyDone();
        }
        // An engine that is given the last token would go on behind it: it has to find the end itself.
        int known = finished ? numTokens - numLastTokens : numTokens;
        return new Rest.From(new Continuation(
                Arrays.copyOf(tokens, known),
                numEvents,
                first.path("id").asString(""),
                first.path("created").asLong(0)));
    }

    private byte[] lastEvent() {
        for (int line = 0, found = -1, next; ; line = next) {
            next = endOfLine(last, line);
            if (startsWith(last, line, DATA)) {
                found = line;
            }
            if (next >= last.length) {
                return found < 0
                        ? NOTHING
                        : Arrays.copyOfRange(last, found + DATA.length, endOfLine(last, found));
            }
        }
    }

    private static JsonNode json(byte[] event) {
        try {
            return Json.parse(event);
        } catch (Json.MalformedException e) {
            return tools.jackson.databind.node.MissingNode.getInstance();
        }
    }

    /// What is known of the tokens: as the engine counted them, else as many of the output as there were events.
    TokenUsage usage() {
        return usage.or(() -> TokenUsage.find(last))
                .or(() -> TokenUsage.find(beforeLast))
                .orElseGet(() -> TokenUsage.ofOutput(numTokens > 0 ? numTokens : Math.max(0, numEvents - 1)));
    }

    private static int endOfLine(byte[] bytes, int from) {
        int at = from;
        while (at < bytes.length && bytes[at] != '\n') {
            at++;
        }
        return Math.min(at + 1, bytes.length);
    }

    private static boolean startsWith(byte[] bytes, int from, byte[] word) {
        return bytes.length - from >= word.length
                && Arrays.equals(bytes, from, from + word.length, word, 0, word.length);
    }
}
