package dev.baton.router.policy;

import java.util.Optional;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;

/// What a policy may know of a request. One object a request, so that what is computed for one decision is
/// there for the next. Used on one thread at a time.
public final class PolicyRequest {
    private final ObjectNode body;
    private final boolean chat;
    private final String session;
    private @Nullable PromptBlocks blocks;

    /// What a [FleetPolicy] found out at the first decision; under its lock.
    Optional<Conversations.Continuation> continues = Optional.empty();

    /// What it gave the engines to do, until the request has ended; under its lock.
    @Nullable
    Assignment assignment;

    boolean looked;

    /// @param body the client's JSON; not changed
    /// @param chat whether it has `messages` rather than a `prompt`
    /// @param session `X-Session-ID`, empty if there is none
    public PolicyRequest(ObjectNode body, boolean chat, String session) {
        this.body = body;
        this.chat = chat;
        this.session = session;
    }

    /// The client's JSON.
    public ObjectNode body() {
        return body;
    }

    /// Whether it has `messages` rather than a `prompt`.
    public boolean chat() {
        return chat;
    }

    /// What the client calls its session, empty if it has none.
    public String session() {
        return session;
    }

    /// The prompt, hashed at the first call.
    ///
    /// @param key of the process
    PromptBlocks blocks(long key) {
        PromptBlocks known = blocks;
        if (known == null) {
            known = PromptBlocks.of(body, chat, key);
            blocks = known;
        }
        return known;
    }

    /// Most tokens that the answer may have; empty if it is not said.
    Optional<Integer> maxTokens() {
        JsonNode limit = body.path("max_completion_tokens");
        if (!limit.isInt()) {
            limit = body.path("max_tokens");
        }
        return limit.isInt() ? Optional.of(Math.max(1, limit.intValue())) : Optional.empty();
    }
}
