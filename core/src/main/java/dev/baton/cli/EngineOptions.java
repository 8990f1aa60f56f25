package dev.baton.cli;

import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.OptionalInt;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Model.OptionSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParseResult;

/// The engine's flags, under vLLM's names; `serve` reads them and `up` passes them on to every engine.
@Command
final class EngineOptions {
    /// Name of the field that mixes these options in.
    private static final String MIXIN = "engine";

    @Option(
            names = "--served-model-name",
            paramLabel = "NAME",
            arity = "1..*",
            description = "Names that requests may use for the model; answers carry the first one.")
    List<String> servedModelNames = new ArrayList<>();

    @Option(
            names = "--max-model-len",
            paramLabel = "TOKENS",
            converter = HumanReadableInt.class,
            description = "Longest prompt plus output (default: what the model allows).")
    @Nullable
    Long maxModelLen;

    @Option(
            names = "--block-size",
            paramLabel = "TOKENS",
            defaultValue = "16",
            description = "Tokens a KV block (default: ${DEFAULT-VALUE}).")
    int blockSize;

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
            names = "--num-gpu-blocks-override",
            paramLabel = "BLOCKS",
            description = "KV blocks in the pool; wins over --kv-cache-memory-bytes.")
    @Nullable
    Integer numBlocksOverride;

    @Option(
            names = "--kv-cache-memory-bytes",
            paramLabel = "BYTES",
            defaultValue = "1GiB",
            converter = HumanReadableInt.class,
            description = "Memory of the KV cache (default: ${DEFAULT-VALUE}).")
    long kvCacheMemoryBytes;

    @Option(
            names = "--enable-prefix-caching",
            negatable = true,
            defaultValue = "true",
            fallbackValue = "true",
            description = "Whether prompts that begin alike share their KV blocks (default: on).")
    boolean enablePrefixCaching;

    @Option(
            names = "--max-waiting",
            paramLabel = "N",
            defaultValue = "1024",
            description = "Most requests that wait; further ones are refused with 503 (default: ${DEFAULT-VALUE}).")
    int maxWaiting;

    @Option(
            names = "--step-deadline",
            paramLabel = "SECONDS",
            defaultValue = "300",
            description = "An engine whose step takes longer ends itself (default: ${DEFAULT-VALUE}).")
    int stepDeadlineSeconds;

    @Option(
            names = "--dtype",
            paramLabel = "TYPE",
            defaultValue = "auto",
            description = "Type to compute in: auto or float32, which is what the CPU path computes in.")
    String dtype = "";

    @Option(
            names = "--enable-prompt-tokens-details",
            description = "Report cached prompt tokens in usage.prompt_tokens_details.")
    boolean enablePromptTokensDetails;

    @Option(names = "--threads", paramLabel = "N", description = "Threads that compute (default: one a core).")
    @Nullable
    Integer threads;

    /// The flags of the command line that belong to a mixin of this type, as they have to be given to another
    /// process.
    static List<String> given(CommandSpec command, ParseResult parsed) {
        CommandSpec mixin = Objects.requireNonNull(command.mixins().get(MIXIN));
        List<String> flags = new ArrayList<>();
        for (OptionSpec option : mixin.options()) {
            if (!parsed.hasMatchedOption(option)) {
                continue;
            }
            if (option.arity().max() == 0) {
                boolean isOn = option.getValue();
                flags.add(
                        isOn
                                ? option.longestName()
                                : "--no-" + option.longestName().substring(2));
            } else {
                flags.add(option.longestName());
                flags.addAll(parsed.matchedOption(option.longestName()).stringValues());
            }
        }
        return flags;
    }

    OptionalInt threads() {
        return threads == null ? OptionalInt.empty() : OptionalInt.of(threads);
    }
}
