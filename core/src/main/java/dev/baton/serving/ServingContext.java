package dev.baton.serving;

import dev.baton.engine.Engine;
import dev.baton.tokenizer.Tokenizer;

/// What all requests of one instance share. Thread-safe, as each of its parts is.
///
/// @param prompts turns requests into what the engine takes
/// @param registry finds the sequences of a request id
/// @param promptTokensDetails whether `usage` shows cached tokens
record ServingContext(
        Engine engine,
        Tokenizer tokenizer,
        Prompts prompts,
        RequestRegistry registry,
        ServingMetrics metrics,
        boolean promptTokensDetails) {}
