package dev.baton.cli;

import java.util.Optional;

/// The key that clients show to a server, by the variable of OpenAI's own clients.
final class ApiKeyVariable {
    private ApiKeyVariable() {}

    static Optional<String> read() {
        return Optional.ofNullable(System.getenv("OPENAI_API_KEY")).filter(key -> !key.isEmpty());
    }
}
