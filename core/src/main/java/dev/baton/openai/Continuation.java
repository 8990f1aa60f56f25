package dev.baton.openai;

import java.util.Optional;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/// Where a stream of one choice is to go on that another engine began: Baton's own member [#FIELD] of a request
/// body, which only a router sends. The engine takes the tokens as its own output, so that penalties, limits,
/// constraints, stop texts, calls of tools and the sampler's generator go on as if it had made them, and leaves
/// out the events that the client has.
///
/// An engine that is asked with [#HEADER] says with its stream what a continuation needs ([TokenComments]), and
/// says in its head that it does, by the same header.
///
/// @param outputTokenIds the output so far; not to be changed
/// @param numEvents events of the stream (`data:`) that the client has
/// @param id what the stream's events have as their `id`
/// @param created what they have as `created`, in seconds since 1970
public record Continuation(int[] outputTokenIds, int numEvents, String id, long created) {
    /// The member of the body.
    public static final String FIELD = "continue_from";

    /// On a request: the stream may have to be continued elsewhere, so its tokens are to be told; its value is the
    /// seed of a request that has none. On an answer: they are.
    public static final String HEADER = "x-baton-continuable";

    /// What a body says.
    ///
    /// @throws ApiException 400 if there is something that cannot be continued from
    public static Optional<Continuation> read(JsonNode body) {
        JsonNode node = body.path(FIELD);
        if (node.isMissingNode() || node.isNull()) {
            return Optional.empty();
        }
        JsonNode ids = node.path("output_token_ids");
        JsonNode events = node.path("num_events");
        JsonNode created = node.path("created");
        boolean usable = ids.isArray()
                && ids.valueStream().allMatch(id -> id.isIntegralNumber() && id.canConvertToInt())
                && events.isIntegralNumber()
                && events.canConvertToInt()
                && events.intValue() >= 0
                && node.path("id").isString()
                && created.isIntegralNumber()
                && created.canConvertToLong();
        if (!usable) {
            throw new ApiException(ApiError.badRequest(
                    FIELD + " must have output_token_ids (integers), num_events, id and created", FIELD));
        }
        int[] tokens = ids.valueStream().mapToInt(JsonNode::intValue).toArray();
        return Optional.of(
                new Continuation(tokens, events.intValue(), node.path("id").stringValue(), created.longValue()));
    }

    /// The member's value.
    public ObjectNode toJson() {
        ObjectNode node = JsonNodeFactory.instance.objectNode();
        ArrayNode ids = node.putArray("output_token_ids");
        for (int token : outputTokenIds) {
            ids.add(token);
        }
        return node.put("num_events", numEvents).put("id", id).put("created", created);
    }
}
