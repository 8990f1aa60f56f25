package dev.baton.openai;

import java.util.List;
import tools.jackson.databind.JsonNode;

/// The body of `POST /abort_requests`.
public record AbortRequests(List<String> requestIds) {
    private static final int MAX_IDS = 10_000;

    /// Reads and checks a body.
    ///
    /// @throws ApiException with vLLM's answer to what is wrong
    public static AbortRequests parse(JsonNode body) {
        Fields fields = Fields.ofBody(body);
        if (!fields.has("request_ids")) {
            fields.missing("request_ids");
        }
        List<String> ids = fields.strings("request_ids", MAX_IDS);
        fields.check();
        return new AbortRequests(ids);
    }
}
