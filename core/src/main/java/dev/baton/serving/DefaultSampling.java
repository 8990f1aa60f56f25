package dev.baton.serving;

import java.util.OptionalDouble;
import java.util.OptionalInt;

/// What `generation_config.json` of a model says about sampling; holds for fields that a request leaves out.
///
/// @param maxTokens `max_new_tokens`
public record DefaultSampling(
        OptionalDouble temperature,
        OptionalDouble topP,
        OptionalInt topK,
        OptionalDouble minP,
        OptionalDouble repetitionPenalty,
        OptionalInt maxTokens) {

    /// vLLM's own defaults, as with `--generation-config vllm`.
    public static final DefaultSampling VLLM = new DefaultSampling(
            OptionalDouble.empty(),
            OptionalDouble.empty(),
            OptionalInt.empty(),
            OptionalDouble.empty(),
            OptionalDouble.empty(),
            OptionalInt.empty());
}
