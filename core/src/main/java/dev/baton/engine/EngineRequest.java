package dev.baton.engine;

import dev.baton.transfer.KvTransferParams;
import java.util.Optional;

/// One sequence to generate.
///
/// @param requestId unique among the requests in flight
/// @param promptTokenIds at least one token; not changed by the engine, and not to be changed by the caller
///     afterwards
/// @param priority lower comes first, where the engine schedules by priority; 0 if it does not matter
/// @param kvTransferParams the hand-off that this request takes part in, if any
public record EngineRequest(
        String requestId,
        int[] promptTokenIds,
        SamplingParams sampling,
        int priority,
        Optional<KvTransferParams> kvTransferParams) {

    /// A request of priority 0 without a hand-off.
    public EngineRequest(String requestId, int[] promptTokenIds, SamplingParams sampling) {
        this(requestId, promptTokenIds, sampling, 0, Optional.empty());
    }

    /// A request of priority 0.
    public EngineRequest(
            String requestId,
            int[] promptTokenIds,
            SamplingParams sampling,
            Optional<KvTransferParams> kvTransferParams) {
        this(requestId, promptTokenIds, sampling, 0, kvTransferParams);
    }
}
