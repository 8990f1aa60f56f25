package dev.baton.engine;

import dev.baton.transfer.KvTransferParams;
import java.util.Optional;

/// One sequence to generate.
///
/// @param requestId unique among the requests in flight
/// @param promptTokenIds at least one token; not changed by the engine, and not to be changed by the caller
///     afterwards
/// @param kvTransferParams the hand-off that this request takes part in, if any
public record EngineRequest(
        String requestId, int[] promptTokenIds, SamplingParams sampling, Optional<KvTransferParams> kvTransferParams) {}
