package dev.baton.router.policy;

import tools.jackson.databind.node.ObjectNode;

/// What a policy may know of a request. One object a request, so that what is computed for one decision is
/// there for the next. Used on one thread at a time.
public final class PolicyRequest {
    private final ObjectNode body;
    private final boolean chat;
    private final String session;

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
}
