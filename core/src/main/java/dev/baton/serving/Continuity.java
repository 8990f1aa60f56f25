package dev.baton.serving;

import dev.baton.http.HttpExchange;
import dev.baton.openai.Continuation;
import dev.baton.openai.GenerationOptions;
import java.util.Optional;
import java.util.OptionalLong;
import tools.jackson.databind.JsonNode;

/// What a router needs of a stream so that another engine can go on with it: what was asked for, and where this one
/// goes on.
///
/// @param tellsTokens whether the stream says which tokens its events show
/// @param seed for a request that has none
/// @param from what another engine has made already
record Continuity(boolean tellsTokens, OptionalLong seed, Optional<Continuation> from) {
    private static final int[] NO_TOKENS = {};

    /// Nobody will want to go on with the answer.
    static final Continuity NONE = new Continuity(false, OptionalLong.empty(), Optional.empty());

    /// What a request says.
    ///
    /// @param sequences that it asks for; only one can be continued
    /// @throws dev.baton.openai.ApiException if it cannot be continued from what it says
    static Continuity of(HttpExchange exchange, JsonNode body, GenerationOptions options, int sequences) {
        if (sequences != 1) {
            return NONE;
        }
        OptionalLong seed =
                exchange.header(Continuation.HEADER).map(Continuity::number).orElse(OptionalLong.empty());
        boolean tells = seed.isPresent() && options.output().stream();
        return new Continuity(tells, seed, Continuation.read(body));
    }

    private static OptionalLong number(String text) {
        try {
            return OptionalLong.of(Long.parseLong(text.strip()));
        } catch (NumberFormatException e) {
            return OptionalLong.empty();
        }
    }

    /// The output that another engine has made.
    int[] outputTokenIds() {
        return from.map(Continuation::outputTokenIds).orElse(NO_TOKENS);
    }

    /// Events of the stream that the client has already.
    int numEvents() {
        return from.map(Continuation::numEvents).orElse(0);
    }

    /// The options with the seed, if they have none.
    GenerationOptions withSeed(GenerationOptions options) {
        return seed.isPresent() && options.sampling().seed().isEmpty() ? options.withSeed(seed.getAsLong()) : options;
    }
}
