package dev.baton.engine;

import dev.baton.tensor.DType;
import dev.baton.transfer.KvTransferConfig;
import java.time.Duration;
import java.util.Map;
import java.util.Optional;

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
/// @param enablePrefixCaching whether blocks are found again by the hash of their tokens
///     (`--enable-prefix-caching`)
/// @param kvCacheDtype what keys and values are kept as (`--kv-cache-dtype`)
/// @param stepDeadline a step that takes longer makes the engine unhealthy for as long as it lasts
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
        boolean enablePrefixCaching,
        DType kvCacheDtype,
        Duration stepDeadline,
        Optional<KvTransferConfig> kvTransfer,
        Map<String, String> compatibility) {

    /// A set-up whose KV cache is f32.
    public EngineConfig(
            String modelId,
            int maxModelLen,
            int blockTokens,
            int numBlocks,
            int maxNumSeqs,
            int maxNumBatchedTokens,
            int maxWaiting,
            boolean enablePrefixCaching,
            Duration stepDeadline,
            Optional<KvTransferConfig> kvTransfer,
            Map<String, String> compatibility) {
        this(
                modelId,
                maxModelLen,
                blockTokens,
                numBlocks,
                maxNumSeqs,
                maxNumBatchedTokens,
                maxWaiting,
                enablePrefixCaching,
                DType.F32,
                stepDeadline,
                kvTransfer,
                compatibility);
    }

    /// The same set-up with another KV cache.
    public EngineConfig withKvCacheDtype(DType newKvCacheDtype) {
        return new EngineConfig(
                modelId,
                maxModelLen,
                blockTokens,
                numBlocks,
                maxNumSeqs,
                maxNumBatchedTokens,
                maxWaiting,
                enablePrefixCaching,
                newKvCacheDtype,
                stepDeadline,
                kvTransfer,
                compatibility);
    }

    /// @throws IllegalArgumentException if a number is not positive, or if the token budget has no room for one
    ///     token of each sequence
    public EngineConfig {
        requirePositive("maxModelLen", maxModelLen);
        requirePositive("blockTokens", blockTokens);
        requirePositive("numBlocks", numBlocks);
        requirePositive("maxNumSeqs", maxNumSeqs);
        requirePositive("maxWaiting", maxWaiting);
        if (maxNumBatchedTokens < maxNumSeqs) {
            throw new IllegalArgumentException(
                    "maxNumBatchedTokens is " + maxNumBatchedTokens + "; it must be at least maxNumSeqs, " + maxNumSeqs
                            + ", so that each sequence gets on in each step");
        }
        if (!stepDeadline.isPositive()) {
            throw new IllegalArgumentException("stepDeadline is " + stepDeadline + "; it must be positive");
        }
        compatibility = Map.copyOf(compatibility);
    }

    private static void requirePositive(String field, int value) {
        if (value <= 0) {
            throw new IllegalArgumentException(field + " is " + value + "; it must be positive");
        }
    }
}
