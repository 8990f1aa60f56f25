package dev.baton.router;

import dev.baton.http.Json;
import dev.baton.openai.Continuation;
import dev.baton.openai.SseWriter;
import dev.baton.openai.TokenComments;
import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.MissingNode;
import tools.jackson.databind.node.ObjectNode;

/// How far a streamed answer has come, whichever engines it came from: what another decoder needs to go on with
/// it, and its token counts. Takes an engine's [TokenComments], or token ids that the client has not asked for,
/// out of what the client gets; other bytes pass unread.
///
/// Not thread-safe: one for a request.
final class StreamProgress {
    private static final byte[] PREFIX = ascii(TokenComments.PREFIX);
    private static final byte[] TOKENS = ascii(TokenComments.TOKENS);
    private static final byte[] USAGE = ascii(TokenComments.USAGE);
    private static final byte[] DATA = ascii("data:");
    private static final byte[] NULL = ascii("null");
    private static final byte[] DONE = ascii("data: [DONE]");
    private static final byte[] NOTHING = {};
    /// Most text that is kept of a stream whose engine says no token ids.
    private static final int MAX_TEXT_BYTES = 1 << 20;

    private static byte[] ascii(String text) {
        return text.getBytes(StandardCharsets.US_ASCII);
    }

    private byte[] firstEvent = NOTHING;
    /// The two pieces that passed last.
    private byte[] last = NOTHING;

    private byte[] beforeLast = NOTHING;
    private int[] tokens = {};
    private int numTokens;
    /// Of them the ones that the last event shows.
    private int numLastTokens;

    /// Of the tokens the ones whose text the client has; behind them may be a part of a character.
    private int numShownTokens;

    private int[] promptTokens = {};
    /// The text so far, as it stands in the events, where the engine says no token ids.
    private final ByteArrayOutputStream text = new ByteArrayOutputStream(0);

    private int numTextEvents;
    private boolean told;
    /// Whether the engine made something of the text that another one could not go on with.
    private boolean opaque;

    /// Whether something passed unread.
    private boolean lost;

    private boolean showsTokenIds;
    private int numEvents;
    private Optional<TokenUsage> usage = Optional.empty();

    /// Takes whole events of a stream without comments for the router.
    void passed(byte[] events, int numEvents) {
        keep(events);
        this.numEvents = numEvents;
    }

    /// Takes a part of an event that was too long to be kept whole: from there on nobody knows how far it is.
    void passedUnread(byte[] events, int numEvents) {
        lost = true;
        passed(events, numEvents);
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
        told = true;
        int eventsBefore = numEvents;
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
        if (numEvents > eventsBefore) {
            keep(clients);
        }
        return clients;
    }

    /// Takes whole events that say their token ids (`return_token_ids`).
    ///
    /// @param shown whether the client has asked for them
    /// @return what is the client's of it
    byte[] takeFields(byte[] events, boolean shown) {
        showsTokenIds = shown;
        ByteArrayOutputStream clients = null; // as long as they get all of it
        int from = 0; // of what they have not got yet
        boolean dropped = false;
        int next;
        for (int line = 0; line < events.length; line = next) {
            next = endOfLine(events, line);
            boolean data = startsWith(events, line, DATA) && !startsWith(events, line, DONE);
            byte[] instead;
            if (data) {
                EventMembers members = EventMembers.find(events, line, next);
                read(events, next, members);
                dropped = !shown && members.showsNothing();
                if (!dropped) {
                    event(events, line, next);
                }
                if (dropped) {
                    instead = NOTHING;
                } else if (!shown && members.hasIds()) {
                    byte[] event = Arrays.copyOfRange(events, line, next);
                    instead = without(without(event, EventMembers.TOKEN_IDS), EventMembers.PROMPT_TOKEN_IDS);
                } else {
                    continue;
                }
            } else if (dropped) { // the blank line belongs to its event
                dropped = next - line > 2;
                instead = NOTHING;
            } else {
                continue;
            }
            if (clients == null) {
                clients = new ByteArrayOutputStream(events.length);
            }
            clients.write(events, from, line - from);
            clients.writeBytes(instead);
            from = next;
        }
        byte[] all = events;
        if (clients != null) {
            clients.write(events, from, events.length - from);
            all = clients.toByteArray();
        }
        keep(all);
        return all;
    }

    /// What one event says of its tokens, or else of its text.
    private void read(byte[] events, int to, EventMembers members) {
        if (members.promptTokenIdsAt() >= 0 && promptTokens.length == 0) {
            int[] prompt = ids(events, members.promptTokenIdsAt() + EventMembers.PROMPT_TOKEN_IDS.length);
            if (prompt.length > 0) {
                promptTokens = prompt;
                told = true;
            }
        }
        int before = numTokens;
        if (members.tokenIdsAt() >= 0) {
            for (int token : ids(events, members.tokenIdsAt() + EventMembers.TOKEN_IDS.length)) {
                add(token);
            }
        }
        numLastTokens = numTokens - before;
        if (promptTokens.length == 0 && members.textAt() >= 0) {
            keepText(events, members.textAt() + EventMembers.TEXT.length, to);
        }
        opaque |= members.isParsed();
        if (!members.isSilent()) {
            numShownTokens = numTokens;
        }
    }

    private void keepText(byte[] events, int from, int to) {
        int end = from;
        while (end < to && events[end] != '"') {
            end += events[end] == '\\' ? 2 : 1;
        }
        if (end < to) {
            text.write(events, from, end - from);
            numTextEvents++; // also without text: a part of a character is a token too
        }
        lost |= text.size() > MAX_TEXT_BYTES;
    }

    private static int[] ids(byte[] events, int from) {
        return numbers(events, from, endOfArray(events, from), 0);
    }

    /// With `null` in place of the ids.
    private static byte[] without(byte[] event, byte[] member) {
        int at = indexOf(event, member);
        if (at < 0) {
            return event;
        }
        int begin = at + member.length - 1;
        int end = Math.min(event.length, endOfArray(event, at) + 1);
        byte[] left = new byte[event.length - (end - begin) + NULL.length];
        System.arraycopy(event, 0, left, 0, begin);
        System.arraycopy(NULL, 0, left, begin, NULL.length);
        System.arraycopy(event, end, left, begin + NULL.length, event.length - end);
        return left;
    }

    private static int endOfArray(byte[] event, int from) {
        int at = from;
        while (at < event.length && event[at] != ']') {
            at++;
        }
        return at;
    }

    private static int indexOf(byte[] bytes, byte[] word) {
        for (int at = 0; at + word.length <= bytes.length; at++) {
            if (bytes[at] == word[0] && startsWith(bytes, at, word)) {
                return at;
            }
        }
        return -1;
    }

    /// Takes whole events of an engine that goes on after a prompt, as events of the stream.
    byte[] takeRest(byte[] events, PromptContinuation rest) {
        ByteArrayOutputStream clients = new ByteArrayOutputStream(events.length);
        int next;
        for (int line = 0; line < events.length; line = next) {
            next = endOfLine(events, line);
            byte[] bytes = Arrays.copyOfRange(events, line, next);
            if (startsWith(bytes, 0, DONE)) {
                clients.writeBytes(SseWriter.done());
            } else if (startsWith(bytes, 0, DATA)) {
                read(bytes, bytes.length, EventMembers.find(bytes, 0, bytes.length));
                clients.writeBytes(
                        SseWriter.event(rest.translate(Arrays.copyOfRange(bytes, DATA.length, bytes.length))));
                numEvents++;
            }
        }
        byte[] all = clients.toByteArray();
        keep(all);
        return all;
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
        int[] found = new int[Math.max(1, least)];
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
        return Arrays.copyOf(found, Math.max(least, count));
    }

    /// Tokens that are known to be in the stream; 0 if its engine does not say them.
    int numTokens() {
        return numTokens;
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

        /// What an engine makes of a prompt of these tokens.
        ///
        /// @param tokens prompt and output
        /// @param numOutputTokens of them
        /// @param head an event of the stream so far
        record After(int[] tokens, int numOutputTokens, JsonNode head) implements Rest {}

        /// What an engine makes of the prompt and this text behind it: where nobody says tokens.
        ///
        /// @param numTokens about as many as the text has: events that showed some of it
        /// @param head an event of the stream so far
        record AfterText(String text, int numTokens, JsonNode head) implements Rest {}

        /// The usage and `[DONE]`.
        record Usage(byte[] event) implements Rest {}

        /// Nobody can tell: the engine does not say what a continuation needs.
        record Unknown() implements Rest {}
    }

    /// What is left of a stream that broke off.
    ///
    /// @param usageAtEnd whether the client has asked for an event with the usage
    Rest rest(boolean usageAtEnd) {
        JsonNode first = json(firstEvent);
        JsonNode choice = json(lastEvent()).path("choices");
        if (lost || !choice.isArray() || (!told && numTextEvents == 0)) {
            return new Rest.Unknown();
        }
        boolean finished = choice.isEmpty() || choice.path(0).hasNonNull("finish_reason");
        if (finished && !(usageAtEnd && !choice.isEmpty())) {
            return new Rest.OnlyDone();
        }
        if (!told) {
            return finished ? new Rest.Unknown() : new Rest.AfterText(wholeText(), numTextEvents, first);
        }
        if (promptTokens.length > 0) {
            return finished ? new Rest.Usage(usageEvent(first)) : afterPrompt(first);
        }
        // An engine that is given the last token would go on behind it: it has to find the end itself.
        int known = finished ? numTokens - numLastTokens : numTokens;
        return new Rest.From(new Continuation(
                Arrays.copyOf(tokens, known),
                numEvents,
                first.path("id").asString(""),
                first.path("created").asLong(0)));
    }

    private Rest afterPrompt(JsonNode first) {
        boolean shownInPart = showsTokenIds && numShownTokens < numTokens;
        if (opaque || shownInPart) {
            return new Rest.Unknown();
        }
        int[] all = Arrays.copyOf(promptTokens, promptTokens.length + numShownTokens);
        System.arraycopy(tokens, 0, all, promptTokens.length, numShownTokens);
        numTokens = numShownTokens;
        return new Rest.After(all, numShownTokens, first);
    }

    private String wholeText() {
        String quoted = '"' + text.toString(StandardCharsets.UTF_8) + '"';
        return Json.parse(quoted.getBytes(StandardCharsets.UTF_8)).asString("");
    }

    private byte[] usageEvent(JsonNode first) {
        ObjectNode event = JsonNodeFactory.instance.objectNode();
        for (String field : List.of("id", "object", "created", "model")) {
            event.set(field, first.path(field));
        }
        event.putArray("choices");
        event.putObject("usage")
                .put("prompt_tokens", promptTokens.length)
                .put("total_tokens", promptTokens.length + numTokens)
                .put("completion_tokens", numTokens);
        return SseWriter.event(Json.bytes(event));
    }

    private byte[] lastEvent() {
        for (int line = 0, found = -1, next; ; line = next) {
            next = endOfLine(last, line);
            if (startsWith(last, line, DATA)) {
                found = line;
            }
            if (next >= last.length) {
                return found < 0 ? NOTHING : Arrays.copyOfRange(last, found + DATA.length, endOfLine(last, found));
            }
        }
    }

    private static JsonNode json(byte[] event) {
        try {
            return Json.parse(event);
        } catch (Json.MalformedException e) {
            return MissingNode.getInstance();
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
