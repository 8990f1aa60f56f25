package dev.baton.transfer.mooncake;

import dev.baton.wire.Fields;
import dev.baton.wire.MsgPack;
import java.net.ProtocolException;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/// A prefiller's answer about requests of one question: vLLM's `MooncakeXferResponse`, one MessagePack map.
///
/// @param status what follows
/// @param ok requests whose blocks are there
/// @param failed requests whose blocks will not come
/// @param message why not; empty if nobody says
/// @param checksums of the blocks of each request, in order (`baton_checksums`); of Baton's prefillers only
record XferResponse(
        Status status, List<String> ok, List<String> failed, String message, Map<String, long[]> checksums) {
    /// Longest message that is read.
    static final int MAX_BYTES = 1 << 20;

    private static final int MAX_MESSAGE_CHARS = 1_024;

    /// What follows an answer.
    enum Status {
        /// Nothing: this is the last one.
        FINISH(0),
        /// Answers about other requests of the question.
        CONTINUE(1),
        /// Nothing: none of the requests is served.
        ERROR(2);

        private final int code;

        Status(int code) {
            this.code = code;
        }
    }

    static XferResponse ok(Status status, String requestId, Optional<long[]> checksums) {
        return new XferResponse(
                status,
                List.of(requestId),
                List.of(),
                "",
                checksums.map(it -> Map.of(requestId, it)).orElse(Map.of()));
    }

    static XferResponse failed(Status status, String requestId, String message) {
        return new XferResponse(status, List.of(), List.of(requestId), message, Map.of());
    }

    /// About all requests of a question.
    static XferResponse error(String message) {
        return new XferResponse(Status.ERROR, List.of(), List.of(), message, Map.of());
    }

    byte[] bytes() {
        Map<String, Object> map = new LinkedHashMap<>();
        map.put("status", status.code);
        if (!ok.isEmpty()) {
            map.put("ok_reqs", ok);
        }
        if (!failed.isEmpty()) {
            map.put("err_reqs", failed);
        }
        if (!message.isEmpty()) {
            map.put("err_msg", message);
        }
        if (!checksums.isEmpty()) {
            map.put("baton_checksums", checksums);
        }
        return MsgPack.write(map);
    }

    static XferResponse read(byte[] message) throws ProtocolException {
        Fields fields = MsgPack.map("MooncakeXferResponse", message);
        Map<String, long[]> checksums = new LinkedHashMap<>();
        if (fields.has("baton_checksums")) {
            Fields own = fields.map("baton_checksums");
            for (String id : own.map().keySet()) {
                checksums.put(id, own.numbers(id));
            }
        }
        return new XferResponse(
                Status.values()[(int) fields.number("status", 0, Status.values().length - 1L)],
                fields.texts("ok_reqs"),
                fields.texts("err_reqs"),
                loggable(fields.textOr("err_msg", "")),
                checksums);
    }

    private static String loggable(String text) {
        String cut = text.substring(0, Math.min(text.length(), MAX_MESSAGE_CHARS));
        return cut.replaceAll("\\p{Cntrl}", " ");
    }
}
