package dev.baton.router;

import dev.baton.http.Json;
import dev.baton.openai.Continuation;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import tools.jackson.databind.JsonNode;

/// What a decoder of Baton's answers to streams: says which tokens its events show, and goes on where another one
/// stopped, as strict about what it is told as a real one would have to be. The n-th token is `100 + n`, its text
/// `tn`, drawn with the seed.
final class TokenScript implements StubEngine.Script {
    /// What happens after so many tokens of an answer.
    interface Fault {
        void happen(StubEngine.Call call) throws IOException;
    }

    private static final Pattern TEXT = Pattern.compile("\"t(\\d+)\"");

    final Set<String> seeds = ConcurrentHashMap.newKeySet();
    private final int faultAfter;
    private final Fault fault;
    private volatile Duration gap = Duration.ZERO;

    private TokenScript(int faultAfter, Fault fault) {
        this.faultAfter = faultAfter;
        this.fault = fault;
    }

    static TokenScript sound() {
        return new TokenScript(Integer.MAX_VALUE, call -> {});
    }

    /// @param tokens of this engine's own, that it still sends
    static TokenScript faultAfter(int tokens, Fault fault) {
        return new TokenScript(tokens, fault);
    }

    TokenScript withGap(Duration between) {
        gap = between;
        return this;
    }

    @Override
    public void answer(StubEngine.Call call) throws IOException {
        JsonNode body = call.request.json();
        if (!call.valid(body)) {
            return;
        }
        String seed = call.request.headers().getOrDefault(Continuation.HEADER, "");
        call.require(!seed.isEmpty(), "nobody can go on with the stream");
        seeds.add(seed);
        boolean chat = call.request.path().equals("/v1/chat/completions");
        int total = body.path("max_tokens").asInt(16);
        int begin = 0;
        int skip = 0;
        String id = "cmpl-" + call.request.requestId();
        long created = 1_700_000_000L + seeds.size();
        if (body.has(Continuation.FIELD)) {
            Continuation from = Continuation.read(body).orElseThrow();
            for (int i = 0; i < from.outputTokenIds().length; i++) {
                call.require(from.outputTokenIds()[i] == 100 + i, "token " + i + " is wrong");
            }
            begin = from.outputTokenIds().length;
            skip = from.numEvents();
            id = from.id();
            created = from.created();
        }
        call.startEvents("content-type: text/event-stream\r\n" + Continuation.HEADER + ": 1\r\n");
        int sent = 0;
        for (String event : events(body, chat, total, id, created)) {
            int token = tokenOf(event);
            if (skip > 0) {
                skip--;
                continue;
            }
            call.require(token < 0 || token >= begin, "token " + token + " is not wanted again");
            boolean isRole = token < 0 && sent == 0; // nothing has been generated yet
            if (sent == faultAfter && !isRole) {
                call.awaitRead();
                fault.happen(call);
                return;
            }
            call.raw((token < 0 ? "" : ": baton tokens " + (100 + token) + "\n") + "data: " + event + "\n\n");
            sent += token < 0 ? 0 : 1;
            Fleet.pause(gap);
        }
        call.raw(": baton usage 7 5 " + total + "\n");
        call.event("[DONE]");
        call.endEvents();
    }

    private static int tokenOf(String event) {
        Matcher text = TEXT.matcher(event);
        return text.find() ? Integer.parseInt(text.group(1)) : -1;
    }

    private static List<String> events(JsonNode body, boolean chat, int total, String id, long created) {
        List<String> events = new ArrayList<>();
        String head = "{\"id\":\"" + id + "\",\"created\":" + created + ",\"choices\":[";
        if (chat) {
            events.add(head + "{\"index\":0,\"delta\":{\"role\":\"assistant\"},\"finish_reason\":null}]}");
        }
        for (int i = 0; i < total; i++) {
            String text = chat ? "\"delta\":{\"content\":\"t" + i + "\"}" : "\"text\":\"t" + i + "\"";
            String reason = i == total - 1 ? "\"length\"" : "null";
            events.add(head + "{\"index\":0," + text + ",\"finish_reason\":" + reason + "}]}");
        }
        if (body.path("stream_options").path("include_usage").asBoolean(false)) {
            events.add(head + "],\"usage\":{\"prompt_tokens\":7,\"total_tokens\":" + (7 + total)
                    + ",\"completion_tokens\":" + total + "}}");
        }
        return events;
    }

    /// The stream as a client has to get it, with ids and times of creation as in `answer`.
    static String expected(String body, boolean chat, String answer) {
        JsonNode first = Json.parse(
                answer.substring("data: ".length(), answer.indexOf('\n')).getBytes(StandardCharsets.UTF_8));
        JsonNode request = Json.parse(body.getBytes(StandardCharsets.UTF_8));
        StringBuilder stream = new StringBuilder();
        for (String event : events(
                request,
                chat,
                request.path("max_tokens").asInt(16),
                first.path("id").asString(""),
                first.path("created").asLong(0))) {
            stream.append("data: ").append(event).append("\n\n");
        }
        return stream.append("data: [DONE]\n\n").toString();
    }
}
