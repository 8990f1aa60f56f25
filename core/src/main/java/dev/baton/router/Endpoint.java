package dev.baton.router;

import java.util.Optional;

/// The generating endpoints that are served over two legs.
enum Endpoint {
    COMPLETIONS("/v1/completions", false),
    CHAT_COMPLETIONS("/v1/chat/completions", true);

    private final String path;
    private final boolean chat;

    Endpoint(String path, boolean chat) {
        this.path = path;
        this.chat = chat;
    }

    String path() {
        return path;
    }

    boolean chat() {
        return chat;
    }

    static Optional<Endpoint> of(String path) {
        for (Endpoint endpoint : values()) {
            if (endpoint.path.equals(path)) {
                return Optional.of(endpoint);
            }
        }
        return Optional.empty();
    }
}
