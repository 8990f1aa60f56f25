package dev.baton.router.backend;

import java.util.Map;
import java.util.Optional;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/// One hand-over of one request between two chosen engines: what goes into each leg. Immutable; used on any thread.
public interface Handoff {
    /// When the decode leg goes out.
    enum Order {
        /// After the prefiller has answered.
        PREFILL_FIRST,
        /// Together with the prefill leg: the engines meet by themselves, and a prefiller may not answer before the
        /// decoder has come. If the prefill leg fails, the decode leg has to be ended, for it would wait.
        CONCURRENT,
        /// There is no prefill leg: the decoder, or what stands before it, calls the prefiller that it is told.
        DECODER_LEADS
    }

    /// When the decode leg goes out.
    Order order();

    /// `X-Request-Id` of both legs; unique, because some connectors find the KV cache by it.
    String requestId();

    /// The prefill leg's path.
    ///
    /// @param path the client's
    default String prefillPath(String path) {
        return path;
    }

    /// The prefill leg's body.
    ///
    /// @param request the client's body; not changed
    ObjectNode prefillBody(ObjectNode request, boolean chat);

    /// Header fields that the prefill leg has besides the usual ones.
    default Map<String, String> prefillHeaders() {
        return Map.of();
    }

    /// Whether a prefiller's answer has to say where the KV cache is.
    default boolean handsOffInAnswers() {
        return false;
    }

    /// What the prefiller's answer says about where the KV cache is.
    ///
    /// @return empty if the decoder has to do without
    default Optional<JsonNode> found(JsonNode prefillAnswer) {
        return Optional.empty();
    }

    /// The id under which the prefiller announces, outside of HTTP, that the KV cache lies at the decoder; the
    /// decode leg waits for it (see [Announcements]). Empty if nothing is announced.
    default Optional<String> announcedAs() {
        return Optional.empty();
    }

    /// How often it is announced: once for each rank of the prefiller.
    default int numAnnouncements() {
        return 1;
    }

    /// Whether another decoder than the one that was named may take what the prefiller has made. If not, a decoder
    /// that fails costs another prefill.
    default boolean fitsAnyDecoder() {
        return false;
    }

    /// The members that the decode leg's body has more than the client's body.
    default ObjectNode decodeMembers(Optional<JsonNode> found) {
        return JsonNodeFactory.instance.objectNode();
    }

    /// Header fields that the decode leg has besides the usual ones.
    default Map<String, String> decodeHeaders() {
        return Map.of();
    }
}
