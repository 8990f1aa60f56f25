package dev.baton.router;

import dev.baton.http.Json;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;

/// A client's request body, parsed once, without the fields that only the router may send to engines.
///
/// The decode leg gets the client's own bytes with members appended, so numbers and unknown fields arrive as they
/// were written. Immutable; the tree is not to be changed.
final class GenerationRequest {
    /// A client that could set these could make an engine read another request's KV cache or call any host.
    private static final List<String> INTERNAL_FIELDS = List.of(
            Backend.KV_TRANSFER_PARAMS, "ec_transfer_params", "bootstrap_host", "bootstrap_port", "bootstrap_room");

    private final Endpoint endpoint;
    private final ObjectNode tree;
    private final byte[] json;

    private GenerationRequest(Endpoint endpoint, ObjectNode tree, byte[] json) {
        this.endpoint = endpoint;
        this.tree = tree;
        this.json = json;
    }

    /// Reads a body.
    ///
    /// @throws ApiFailureException 400 in vLLM's form if it is not a JSON object in UTF-8
    static GenerationRequest parse(Endpoint endpoint, byte[] body) {
        if (body.length == 0) {
            throw invalid("missing", "body", "Field required");
        }
        JsonNode node;
        try {
            node = Json.parse(body);
        } catch (Json.MalformedException e) {
            throw invalid("json_invalid", "body." + e.offsetBytes(), "JSON decode error: " + e.getMessage());
        }
        if (!(node instanceof ObjectNode tree)) {
            throw invalid("model_attributes_type", "body", "Input should be a valid dictionary or object");
        }
        boolean changed = false;
        for (String field : INTERNAL_FIELDS) {
            changed |= tree.remove(field) != null;
        }
        return new GenerationRequest(endpoint, tree, changed ? write(tree) : body);
    }

    private static ApiFailureException invalid(String type, String location, String message) {
        return new ApiFailureException(ApiFailure.badRequest(
                "1 validation error:\n  {'type': '" + type + "', 'loc': '" + location + "', 'msg': '" + message + "'}",
                Optional.of(location)));
    }

    private static byte[] write(ObjectNode tree) {
        try {
            return Json.bytes(tree);
        } catch (JacksonException e) { // half of a surrogate pair: legal JSON, no Unicode text
            throw invalid("string_unicode", "body", "Input should be valid Unicode: " + e.getOriginalMessage());
        }
    }

    Endpoint endpoint() {
        return endpoint;
    }

    ObjectNode tree() {
        return tree;
    }

    /// Why this request has to go to a decoder alone.
    ///
    /// A prefiller's answer describes the KV cache of one prompt and one sequence; what needs the logits of the
    /// prompt can only come from the engine that computes it; and what an engine will refuse it refuses better
    /// without a prefill before it.
    ///
    /// @return empty if it can be handed off
    Optional<String> handoffObstacle() {
        if (isOver(tree.path("n"), 1) || isOver(tree.path("best_of"), 1)) {
            return Optional.of("several sequences");
        }
        if (tree.path("use_beam_search").asBoolean(false)) {
            return Optional.of("beam search");
        }
        if (hasSeveralPrompts(tree.path("prompt")) || tree.hasNonNull("prompt_embeds")) {
            return Optional.of("several prompts or embeddings");
        }
        if (tree.path("echo").asBoolean(false) || tree.hasNonNull("prompt_logprobs")) {
            return Optional.of("log probabilities or text of the prompt");
        }
        if (isUnder(tree.path("max_tokens"), 1) || isUnder(tree.path("max_completion_tokens"), 1)) {
            return Optional.of("a token limit that an engine refuses");
        }
        return Optional.empty();
    }

    private static boolean isOver(JsonNode node, int limit) {
        return node.isNumber() && node.doubleValue() > limit;
    }

    private static boolean isUnder(JsonNode node, int limit) {
        return node.isNumber() && node.doubleValue() < limit;
    }

    private static boolean hasSeveralPrompts(JsonNode prompt) {
        return prompt.isArray()
                && prompt.size() > 1
                && (prompt.get(0).isString() || prompt.get(0).isArray());
    }

    /// The prefill leg's body.
    ///
    /// @throws ApiFailureException 400 if the request holds text that is not Unicode
    byte[] prefillJson(Backend backend) {
        return write(backend.prefillBody(tree, endpoint.chat()));
    }

    /// The decode leg's body: the client's bytes, and the given members appended.
    byte[] decodeJson(ObjectNode members) {
        if (members.isEmpty()) {
            return json;
        }
        byte[] added = Json.bytes(members); // {...}
        int close = json.length - 1;
        while (json[close] != '}') { // only white space can follow the object
            close--;
        }
        byte[] separator = tree.isEmpty() ? new byte[0] : ",".getBytes(StandardCharsets.US_ASCII);
        byte[] result = Arrays.copyOf(json, close + separator.length + added.length - 1);
        System.arraycopy(separator, 0, result, close, separator.length);
        System.arraycopy(added, 1, result, close + separator.length, added.length - 1);
        return result;
    }
}
