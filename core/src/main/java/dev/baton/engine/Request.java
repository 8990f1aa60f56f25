package dev.baton.engine;

import dev.baton.kvcache.BlockTable;
import dev.baton.transfer.KvTransferParams;
import java.util.Arrays;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// The state of one request inside the engine. Made by the submitting thread, from then on the engine thread's
/// alone.
final class Request {
    private static final Logger LOG = LoggerFactory.getLogger(Request.class);

    /// `WAITING -> (WAITING_FOR_REMOTE_KVS) -> RUNNING <-> PREEMPTED -> (HELD) -> FINISHED`.
    enum Status {
        WAITING,
        WAITING_FOR_REMOTE_KVS,
        RUNNING,
        PREEMPTED,
        /// Finished for its client; the blocks wait for a decoder.
        HELD,
        FINISHED
    }

    final String id;
    final SamplingParams sampling;
    final long seed;
    final @Nullable KvTransferParams kvTransferParams;
    final BlockTable blocks;
    final int promptTokens;
    final int[] stopTokenIds;
    final int[] eosTokenIds;
    final int[] biasedTokenIds;
    final float[] biases;

    Status status = Status.WAITING;
    /// Whether the last output went out.
    boolean answered;
    /// Whether the request has not yet had its first turn.
    boolean queued = true;
    /// Whether it was decided what to load for this request; it is decided once, and not after a preemption.
    boolean loadDecided;
    /// Tokens whose keys and values are in the blocks.
    int numComputedTokens;
    /// Tokens that are being loaded, beyond the computed ones.
    int loadingTokens;
    int cachedTokens;
    int externalTokens;

    private final RequestListener listener;
    private int[] tokens;
    private int numTokens;

    /// @param seed key of the generator, for a request that brings none
    /// @param eosTokenIds the model's end-of-sequence tokens
    Request(EngineRequest request, RequestListener listener, BlockTable blocks, long seed, int[] eosTokenIds) {
        this.id = request.requestId();
        this.sampling = request.sampling();
        this.seed = sampling.seed().orElse(seed);
        this.kvTransferParams = request.kvTransferParams().orElse(null);
        this.blocks = blocks;
        this.listener = listener;
        this.promptTokens = request.promptTokenIds().length;
        this.tokens = Arrays.copyOf(request.promptTokenIds(), promptTokens + Math.min(sampling.maxTokens(), 64));
        this.numTokens = promptTokens;
        this.eosTokenIds = sampling.ignoreEos() ? new int[0] : eosTokenIds;
        this.stopTokenIds =
                sampling.stopTokenIds().stream().mapToInt(Integer::intValue).toArray();
        this.biasedTokenIds = new int[sampling.logitBias().size()];
        this.biases = new float[biasedTokenIds.length];
        int i = 0;
        for (Map.Entry<Integer, Float> bias : sampling.logitBias().entrySet()) {
            biasedTokenIds[i] = bias.getKey();
            biases[i++] = bias.getValue();
        }
    }

    /// Prompt and output, in the first [#numTokens()] places.
    int[] tokens() {
        return tokens;
    }

    int numTokens() {
        return numTokens;
    }

    int numOutputTokens() {
        return numTokens - promptTokens;
    }

    void append(int token) {
        if (numTokens == tokens.length) {
            tokens = Arrays.copyOf(tokens, 2 * numTokens);
        }
        tokens[numTokens++] = token;
    }

    /// Whether and why the last token, just appended, ends the request. Stop tokens do not before `minTokens`.
    ///
    /// @param maxSequenceTokens longest prompt plus output that this engine allows
    @Nullable
    FinishReason finishReason(int maxSequenceTokens) {
        int last = tokens[numTokens - 1];
        if (numOutputTokens() >= sampling.minTokens()
                && (contains(eosTokenIds, last) || contains(stopTokenIds, last))) {
            return FinishReason.STOP;
        }
        boolean full = numOutputTokens() >= sampling.maxTokens() || numTokens >= maxSequenceTokens;
        return full ? FinishReason.LENGTH : null;
    }

    /// The stop token that ended the request, unless it was end-of-sequence.
    OptionalInt stopTokenId(FinishReason reason) {
        int last = tokens[numTokens - 1];
        return reason == FinishReason.STOP && !contains(eosTokenIds, last) ? OptionalInt.of(last) : OptionalInt.empty();
    }

    /// Hands an output to the listener.
    ///
    /// @return false if the listener threw: the request is over then, and the others are not concerned
    boolean emit(RequestOutput output) {
        answered = output.finish().isPresent();
        try {
            listener.onOutput(output);
            return true;
        } catch (RuntimeException | Error e) {
            LOG.warn("request {}: its listener threw, so it is aborted", id, e);
            answered = true;
            return false;
        }
    }

    /// The end of this request as its client is told.
    RequestOutput.Finish finish(
            FinishReason reason, Optional<KvTransferParams.RemotePrefill> held, @Nullable String error) {
        return new RequestOutput.Finish(
                reason,
                stopTokenId(reason),
                promptTokens,
                cachedTokens,
                externalTokens,
                held,
                RequestOutput.Timings.NONE,
                Optional.ofNullable(error));
    }

    private static boolean contains(int[] ids, int token) {
        for (int id : ids) {
            if (id == token) {
                return true;
            }
        }
        return false;
    }
}
