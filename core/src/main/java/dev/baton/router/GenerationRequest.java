package dev.baton.router;

import dev.baton.http.Json;
import dev.baton.openai.ApiError;
import dev.baton.openai.ApiException;
import dev.baton.openai.Continuation;
import dev.baton.openai.Text;
import dev.baton.openai.TokenIds;
import dev.baton.router.backend.Backend;
import dev.baton.router.backend.Handoff;
import dev.baton.router.policy.PolicyRequest;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/// A client's request body, parsed once, without the fields that only the router may send to engines.
///
/// The decode leg gets the client's own bytes with members appended, so numbers and unknown fields arrive as they
/// were written. Immutable; the tree is not to be changed.
final class GenerationRequest {
    /// A client that could set these could make an engine read another request's KV cache or call any host.
    private static final List<String> INTERNAL_FIELDS = List.of(
            Backend.KV_TRANSFER_PARAMS,
            "ec_transfer_params",
            "bootstrap_host",
            "bootstrap_port",
            "bootstrap_room",
            Continuation.FIELD);

    /// vLLM copies what is in here to where its connectors look for their own fields, and never looks at who
    /// wrote it.
    private static final String EXTRA_ARGS = "vllm_xargs";

    private static final int BYTES_PER_TOKEN = 4;

    private final Endpoint endpoint;
    private final ObjectNode tree;
    private final byte[] json;
    private final PolicyRequest facts;

    private GenerationRequest(Endpoint endpoint, ObjectNode tree, byte[] json, PolicyRequest facts) {
        this.endpoint = endpoint;
        this.tree = tree;
        this.json = json;
        this.facts = facts;
    }

    /// Reads a body.
    ///
    /// @param session what the client calls its session, empty if it has none
    /// @throws ApiException 400 in vLLM's form if it is not a JSON object in UTF-8
    static GenerationRequest parse(Endpoint endpoint, byte[] body, String session) {
        if (body.length == 0) {
            throw new ApiException(ApiError.missingBody());
        }
        JsonNode node;
        try {
            node = TokenIds.parse(body, Json::parse);
        } catch (Json.MalformedException e) {
            throw new ApiException(ApiError.invalidJson(e.offsetBytes(), String.valueOf(e.getMessage())));
        }
        if (!(node instanceof ObjectNode tree)) {
            throw invalid("Input should be a valid dictionary or object to extract fields from");
        }
        refuseHalfPairs(body, tree);
        boolean changed = false;
        for (String field : INTERNAL_FIELDS) {
            changed |= tree.remove(field) != null;
        }
        if (tree.path(EXTRA_ARGS) instanceof ObjectNode extra) {
            for (String field : INTERNAL_FIELDS) {
                changed |= extra.remove(field) != null;
            }
        }
        return new GenerationRequest(
                endpoint,
                tree,
                changed ? TokenIds.bytes(tree, Json::bytes) : body,
                new PolicyRequest(tree, endpoint.chat(), session));
    }

    private static ApiException invalid(String reason) {
        return new ApiException(
                new ApiError(400, "1 validation error:\n  " + reason, "Bad Request", Optional.of("body")));
    }

    /// Half of a surrogate pair is legal JSON and no Unicode text: no engine could tokenise it.
    private static void refuseHalfPairs(byte[] body, ObjectNode tree) {
        boolean mayHold = tree.get("prompt") instanceof TokenIds ids
                ? mayHoldHalfPairs(body, 0, ids.from()) || mayHoldHalfPairs(body, ids.to(), body.length)
                : mayHoldHalfPairs(body, 0, body.length);
        if (mayHold && holdsHalfPair(tree)) {
            throw invalid("Input should be valid Unicode text: half of a surrogate pair is not");
        }
    }

    /// Only an escape can write one, because the bytes are known to be UTF-8.
    private static boolean mayHoldHalfPairs(byte[] body, int from, int to) {
        for (int i = from + 2; i < to; i++) {
            if ((body[i] == 'd' || body[i] == 'D') && body[i - 1] == 'u' && body[i - 2] == '\\') {
                return true;
            }
        }
        return false;
    }

    private static boolean holdsHalfPair(JsonNode node) {
        if (node.isString()) {
            return isHalved(node.stringValue());
        }
        if (node instanceof ObjectNode object && object.propertyNames().stream().anyMatch(name -> isHalved(name))) {
            return true;
        }
        return node.valueStream().anyMatch(child -> holdsHalfPair(child));
    }

    private static boolean isHalved(String text) {
        return Text.indexOfLoneSurrogate(text) >= 0;
    }

    Endpoint endpoint() {
        return endpoint;
    }

    ObjectNode tree() {
        return tree;
    }

    /// What policies see of it.
    PolicyRequest facts() {
        return facts;
    }

    /// The client's body, without internal fields.
    byte[] json() {
        return json;
    }

    /// Why this request has to go to a decoder alone.
    ///
    /// A prefiller's answer describes the KV cache of one prompt and one sequence; what needs the logits of the
    /// prompt can only come from the engine that computes it; and what an engine will refuse it refuses better
    /// without a prefill before it.
    ///
    /// @param batches whether the fleet hands over several prompts and sequences as well
    /// @return empty if it can be handed off
    Optional<String> handoffObstacle(boolean batches) {
        if (!batches && (isOver(tree.path("n"), 1) || hasSeveralPrompts(tree.path("prompt")))) {
            return Optional.of("several prompts or sequences");
        }
        if (isOver(tree.path("best_of"), 1)) {
            return Optional.of("the best of several sequences");
        }
        if (tree.path("use_beam_search").asBoolean(false)) {
            return Optional.of("beam search");
        }
        if (tree.hasNonNull("prompt_embeds")) {
            return Optional.of("embeddings");
        }
        if (tree.path("echo").asBoolean(false) || tree.hasNonNull("prompt_logprobs")) {
            return Optional.of("log probabilities or text of the prompt");
        }
        if (isUnder(tree.path("max_tokens"), 1) || isUnder(tree.path("max_completion_tokens"), 1)) {
            return Optional.of("a token limit that an engine refuses");
        }
        if (isUnder(tree.path("truncate_prompt_tokens"), 0)) {
            // Cut to what max_tokens leaves of the context, which differs on the two legs.
            return Optional.of("a prompt cut to the length that is left");
        }
        return Optional.empty();
    }

    /// How many tokens its prompt may have, before an engine has counted them: what is in a body besides is little.
    int estimatedPromptTokens() {
        return Math.max(1, json.length / BYTES_PER_TOKEN);
    }

    /// Whether its answer is to come as a stream.
    boolean isStreamed() {
        return tree.path("stream").asBoolean(false);
    }

    /// Whether another engine could go on with its answer in the middle: a stream of one choice.
    boolean isContinuable() {
        return isStreamed() && handoffObstacle(false).isEmpty();
    }

    /// Whether its stream ends with an event that has the usage.
    boolean wantsUsageEvent() {
        return tree.path("stream_options").path("include_usage").asBoolean(false);
    }

    /// The request for the rest of its answer.
    GenerationRequest continued(Continuation from) {
        ObjectNode member = JsonNodeFactory.instance.objectNode();
        member.set(Continuation.FIELD, from.toJson());
        ObjectNode whole = JsonNodeFactory.instance.objectNode();
        whole.setAll(tree);
        whole.setAll(member);
        return new GenerationRequest(endpoint, whole, decodeJson(member), facts);
    }

    /// The request for the rest of its answer at an engine that knows no [Continuation].
    ///
    /// @param body with the tokens so far as its prompt
    GenerationRequest afterPrompt(ObjectNode body) {
        return new GenerationRequest(Endpoint.COMPLETIONS, body, Json.bytes(body), facts);
    }

    private static boolean isOver(JsonNode node, int limit) {
        return number(node) > limit;
    }

    private static boolean isUnder(JsonNode node, int limit) {
        return number(node) < limit;
    }

    /// NaN for what is no number; infinite where `doubleValue()` would throw.
    private static double number(JsonNode node) {
        return node.isNumber() ? Double.parseDouble(node.asString()) : Double.NaN;
    }

    private static boolean hasSeveralPrompts(JsonNode prompt) {
        return prompt.isArray()
                && prompt.size() > 1
                && (prompt.get(0).isString() || prompt.get(0).isArray());
    }

    /// The prefill leg's body.
    byte[] prefillJson(Handoff handoff) {
        return TokenIds.bytes(handoff.prefillBody(tree, endpoint.chat()), Json::bytes);
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
