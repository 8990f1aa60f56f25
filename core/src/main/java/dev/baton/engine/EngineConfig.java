package dev.baton.engine;

import dev.baton.tensor.DType;
import dev.baton.transfer.KvTransferConfig;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;

/// How an engine is set up, under vLLM's names.
///
/// @param modelId name that is mixed into block hashes
/// @param maxModelLen longest prompt plus output, in tokens
/// @param blockTokens tokens a KV block (`--block-size`)
/// @param numBlocks KV blocks in the pool (`--num-gpu-blocks-override`, or derived from
///     `--kv-cache-memory-bytes`)
/// @param maxNumSeqs most sequences in one step (`--max-num-seqs`)
/// @param maxNumBatchedTokens tokens a step, prefill and decode together (`--max-num-batched-tokens`)
/// @param maxWaiting most requests that wait for their turn; further ones are refused
/// @param maxWaitingTokens most prompt tokens that the waiting requests may have together; 0 for no such limit. A
///     request is taken whatever its length if no other waits
/// @param schedulingPolicy which waiting request comes next, and which running one gives way
///     (`--scheduling-policy`)
/// @param longPrefillTokenThreshold most tokens of one prompt in one step (`--long-prefill-token-threshold`); 0
///     for no limit but the step's
/// @param prefillTokensBesideDecodes most prompt tokens in a step in which others decode
///     (`--prefill-tokens-beside-decodes`), so that such a step lasts little longer than theirs; a 16th of a longer
///     prompt; 0 for no limit but the step's
/// @param enablePrefixCaching whether blocks are found again by the hash of their tokens
///     (`--enable-prefix-caching`)
/// @param kvCacheDtype what keys and values are kept as (`--kv-cache-dtype`)
/// @param stepDeadline a step that takes longer makes the engine unhealthy for as long as it lasts
/// @param eosTokenIds tokens that end an output, such as the tokenizer's, besides those that the model names
/// @param kvTransfer how KV blocks are exchanged, if at all
/// @param compatibility further facts that both sides of a transfer must share (tokenizer digest, ...), name to
///     value
public record EngineConfig(
        String modelId,
        int maxModelLen,
        int blockTokens,
        int numBlocks,
        int maxNumSeqs,
        int maxNumBatchedTokens,
        int maxWaiting,
        long maxWaitingTokens,
        SchedulingPolicy schedulingPolicy,
        int longPrefillTokenThreshold,
        int prefillTokensBesideDecodes,
        boolean enablePrefixCaching,
        DType kvCacheDtype,
        Duration stepDeadline,
        List<Integer> eosTokenIds,
        Optional<KvTransferConfig> kvTransfer,
        Map<String, String> compatibility) {

    /// @throws IllegalArgumentException if a number is not positive, or if the token budget has no room for one
    ///     token of each sequence
    public EngineConfig {
        requirePositive("maxModelLen", maxModelLen);
        requirePositive("blockTokens", blockTokens);
        requirePositive("numBlocks", numBlocks);
        requirePositive("maxNumSeqs", maxNumSeqs);
        requirePositive("maxWaiting", maxWaiting);
        requireNotNegative("maxWaitingTokens", maxWaitingTokens);
        requireNotNegative("longPrefillTokenThreshold", longPrefillTokenThreshold);
        requireNotNegative("prefillTokensBesideDecodes", prefillTokensBesideDecodes);
        if (maxNumBatchedTokens < maxNumSeqs) {
            throw new IllegalArgumentException(
                    "maxNumBatchedTokens is " + maxNumBatchedTokens + "; it must be at least maxNumSeqs, " + maxNumSeqs
                            + ", so that each sequence gets on in each step");
        }
        if (!stepDeadline.isPositive()) {
            throw new IllegalArgumentException("stepDeadline is " + stepDeadline + "; it must be positive");
        }
        eosTokenIds = List.copyOf(eosTokenIds);
        compatibility = Map.copyOf(compatibility);
    }

    /// A configuration for a model of this name and context with everything else at its default: 16-token blocks
    /// for one sequence of full length, 8 sequences, 2,048 tokens a step.
    public static Builder builder(String modelId, int maxModelLen) {
        return new Builder(modelId, maxModelLen);
    }

    /// Collects a configuration; each method is named after the record's component that it sets. Not thread-safe.
    public static final class Builder {
        private final String modelId;
        private final int maxModelLen;
        private int blockTokens = 16;
        private OptionalInt numBlocks = OptionalInt.empty();
        private int maxNumSeqs = 8;
        private int maxNumBatchedTokens = 2048;
        private int maxWaiting = 1024;
        private long maxWaitingTokens;
        private SchedulingPolicy schedulingPolicy = SchedulingPolicy.FCFS;
        private int longPrefillTokenThreshold;
        private int prefillTokensBesideDecodes;
        private boolean enablePrefixCaching = true;
        private DType kvCacheDtype = DType.F32;
        private Duration stepDeadline = Duration.ofMinutes(5);
        private List<Integer> eosTokenIds = List.of();
        private Optional<KvTransferConfig> kvTransfer = Optional.empty();
        private Map<String, String> compatibility = Map.of();

        private Builder(String modelId, int maxModelLen) {
            this.modelId = modelId;
            this.maxModelLen = maxModelLen;
        }

        public Builder blockTokens(int value) {
            this.blockTokens = value;
            return this;
        }

        public Builder numBlocks(int value) {
            this.numBlocks = OptionalInt.of(value);
            return this;
        }

        public Builder maxNumSeqs(int value) {
            this.maxNumSeqs = value;
            return this;
        }

        public Builder maxNumBatchedTokens(int value) {
            this.maxNumBatchedTokens = value;
            return this;
        }

        public Builder maxWaiting(int value) {
            this.maxWaiting = value;
            return this;
        }

        public Builder maxWaitingTokens(long value) {
            this.maxWaitingTokens = value;
            return this;
        }

        public Builder schedulingPolicy(SchedulingPolicy value) {
            this.schedulingPolicy = value;
            return this;
        }

        public Builder longPrefillTokenThreshold(int value) {
            this.longPrefillTokenThreshold = value;
            return this;
        }

        public Builder prefillTokensBesideDecodes(int value) {
            this.prefillTokensBesideDecodes = value;
            return this;
        }

        public Builder enablePrefixCaching(boolean value) {
            this.enablePrefixCaching = value;
            return this;
        }

        public Builder kvCacheDtype(DType value) {
            this.kvCacheDtype = value;
            return this;
        }

        public Builder stepDeadline(Duration value) {
            this.stepDeadline = value;
            return this;
        }

        public Builder eosTokenIds(List<Integer> value) {
            this.eosTokenIds = value;
            return this;
        }

        public Builder kvTransfer(Optional<KvTransferConfig> value) {
            this.kvTransfer = value;
            return this;
        }

        public Builder compatibility(Map<String, String> value) {
            this.compatibility = value;
            return this;
        }

        /// The configuration.
        ///
        /// @throws IllegalArgumentException that names the field that is out of its range
        public EngineConfig build() {
            int oneSequence = Math.ceilDiv(maxModelLen, Math.max(1, blockTokens));
            return new EngineConfig(
                    modelId,
                    maxModelLen,
                    blockTokens,
                    numBlocks.orElse(oneSequence),
                    maxNumSeqs,
                    maxNumBatchedTokens,
                    maxWaiting,
                    maxWaitingTokens,
                    schedulingPolicy,
                    longPrefillTokenThreshold,
                    prefillTokensBesideDecodes,
                    enablePrefixCaching,
                    kvCacheDtype,
                    stepDeadline,
                    eosTokenIds,
                    kvTransfer,
                    compatibility);
        }
    }

    private static void requirePositive(String field, int value) {
        if (value <= 0) {
            throw new IllegalArgumentException(field + " is " + value + "; it must be positive");
        }
    }

    private static void requireNotNegative(String field, long value) {
        if (value < 0) {
            throw new IllegalArgumentException(
                    field + " is " + value + "; it must be at least 0, which means no limit");
        }
    }
}
