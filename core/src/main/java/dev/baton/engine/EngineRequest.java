package dev.baton.engine;

import dev.baton.transfer.KvTransferParams;
import java.util.Arrays;

/// One sequence to generate.
///
/// @param requestId unique among the requests in flight
/// @param externalId the id that its client or a router gave it, in vLLM's form: equal on both sides of a hand-off
/// @param promptTokenIds at least one token; not changed by the engine, and not to be changed by the caller
///     afterwards
/// @param outputTokenIds output that another engine has made already: it counts as this request's own for limits,
///     penalties, constraint and generator, and is not reported again; none of it may end the request; not to be
///     changed afterwards
/// @param priority lower comes first, where the engine schedules by priority; 0 if it does not matter
/// @param tenant whose request it is: within one priority, tenants take turns, so that the long queue of one does
///     not hold up another; empty for all that name none
/// @param kvTransferParams what it says about a hand-off
public record EngineRequest(
        String requestId,
        String externalId,
        int[] promptTokenIds,
        int[] outputTokenIds,
        SamplingParams sampling,
        int priority,
        String tenant,
        KvTransferParams kvTransferParams) {

    /// The tenant of requests that name none.
    public static final String NO_TENANT = "";

    private static final int[] NO_OUTPUT = {};

    /// A request of which nobody has made any output yet.
    public EngineRequest(
            String requestId,
            int[] promptTokenIds,
            SamplingParams sampling,
            int priority,
            String tenant,
            KvTransferParams kvTransferParams) {
        this(requestId, requestId, promptTokenIds, NO_OUTPUT, sampling, priority, tenant, kvTransferParams);
    }

    /// A request of priority 0 and of no tenant, without a hand-off.
    public EngineRequest(String requestId, int[] promptTokenIds, SamplingParams sampling) {
        this(requestId, promptTokenIds, sampling, 0, NO_TENANT, KvTransferParams.NONE);
    }

    /// A request of priority 0 and of no tenant.
    public EngineRequest(
            String requestId, int[] promptTokenIds, SamplingParams sampling, KvTransferParams kvTransferParams) {
        this(requestId, promptTokenIds, sampling, 0, NO_TENANT, kvTransferParams);
    }

    /// The same request without its hand-off.
    EngineRequest withoutHandOff() {
        return new EngineRequest(
                requestId,
                externalId,
                promptTokenIds,
                outputTokenIds,
                sampling,
                priority,
                tenant,
                KvTransferParams.NONE);
    }

    /// Prompt and output, as they are to be computed.
    int[] givenTokenIds() {
        if (outputTokenIds.length == 0) {
            return promptTokenIds;
        }
        int[] all = Arrays.copyOf(promptTokenIds, promptTokenIds.length + outputTokenIds.length);
        System.arraycopy(outputTokenIds, 0, all, promptTokenIds.length, outputTokenIds.length);
        return all;
    }
}
