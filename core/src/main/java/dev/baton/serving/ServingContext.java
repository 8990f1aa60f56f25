package dev.baton.serving;

import dev.baton.engine.Engine;
import dev.baton.tokenizer.Tokenizer;

/// What all requests of one instance share. Thread-safe, as each of its parts is.
///
/// @param prompts turns prompts into what the engine takes
/// @param sampling does the same with options
/// @param registry finds the sequences of a request id
/// @param promptTokensDetails whether `usage` shows cached tokens
record ServingContext(
        Engine engine,
        Tokenizer tokenizer,
        Prompts prompts,
        Sampling sampling,
        RequestRegistry registry,
        ServingMetrics metrics,
        boolean promptTokensDetails) {}
