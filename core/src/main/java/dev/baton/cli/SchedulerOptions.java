package dev.baton.cli;

import dev.baton.engine.SchedulingPolicy;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/// Flags about who computes next.
@Command
final class SchedulerOptions {
    @Option(
            names = "--max-num-seqs",
            paramLabel = "N",
            defaultValue = "256",
            description = "Most sequences in one step (default: ${DEFAULT-VALUE}).")
    int maxNumSeqs;

    @Option(
            names = "--max-num-batched-tokens",
            paramLabel = "TOKENS",
            defaultValue = "2048",
            converter = HumanReadableInt.class,
            description = "Most tokens in one step, prefill and decode together (default: ${DEFAULT-VALUE}).")
    long maxNumBatchedTokens;

    @Option(
            names = "--scheduling-policy",
            paramLabel = "POLICY",
            defaultValue = "fcfs",
            description = "Who comes next: fcfs, in the order of arrival; priority, by the requests' field priority,"
                    + " lower numbers first (default: ${DEFAULT-VALUE}).")
    SchedulingPolicy schedulingPolicy = SchedulingPolicy.FCFS;

    @Option(
            names = "--long-prefill-token-threshold",
            paramLabel = "TOKENS",
            defaultValue = "0",
            description = "Most tokens of one prompt in one step; 0: no limit but the step's (default:"
                    + " ${DEFAULT-VALUE}).")
    int longPrefillTokenThreshold;

    @Option(
            names = "--prefill-tokens-beside-decodes",
            paramLabel = "TOKENS",
            description = "Most prompt tokens in a step in which others decode, so that it lasts little longer than"
                    + " theirs; of a long prompt a 16th; 0: no limit but the step's (default: 64 where a GPU decodes"
                    + " for prefillers, kv_role kv_consumer, else 0).")
    @Nullable
    Integer prefillTokensBesideDecodes;

    @Option(
            names = "--max-waiting",
            paramLabel = "N",
            defaultValue = "1024",
            description = "Most requests that wait; further ones are refused with 503 (default: ${DEFAULT-VALUE}).")
    int maxWaiting;

    @Option(
            names = "--max-num-queued-reqs",
            paramLabel = "N",
            defaultValue = "4096",
            description = "Most sequences that run or wait, counted by the server; further requests are refused with"
                    + " 503 (default: ${DEFAULT-VALUE}).")
    int maxNumQueuedReqs;

    @Option(
            names = "--max-num-queued-tokens",
            paramLabel = "TOKENS",
            defaultValue = "0",
            converter = HumanReadableInt.class,
            description = "Most prompt tokens that waiting requests may have together; further requests are refused; 0:"
                    + " no limit (default: ${DEFAULT-VALUE}).")
    long maxNumQueuedTokens;
}
