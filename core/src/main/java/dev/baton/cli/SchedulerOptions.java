package dev.baton.cli;

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
}
