package dev.baton.serving;

import dev.baton.engine.Engine;
import dev.baton.tokenizer.Tokenizer;

/// What all requests of one instance share. Thread-safe, as each of its parts is.
///
/// @param prompts turns prompts into what the engine takes
/// @param sampling does the same with options
/// @param registry finds the sequences of a request id
/// @param usage adds up token counts
/// @param streaming what holds for every stream
record ServingContext(
        Engine engine,
        Tokenizer tokenizer,
        Prompts prompts,
        Sampling sampling,
        RequestRegistry registry,
        ServingMetrics metrics,
        UsageCounter usage,
        Streaming streaming) {}
