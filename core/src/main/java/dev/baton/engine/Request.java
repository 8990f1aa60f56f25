package dev.baton.engine;

import dev.baton.engine.RequestOutput.TokenLogprobs;
import dev.baton.kvcache.BlockTable;
import dev.baton.metrics.KvLeaseEvent;
import dev.baton.metrics.KvTransferEvent;
import dev.baton.model.TokenChoices;
import dev.baton.transfer.KvHold;
import dev.baton.transfer.KvRequest;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.BitSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.concurrent.atomic.AtomicLong;
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

    private static final AtomicLong NUMBERS = new AtomicLong();

    /// A moment that has not come.
    private static final long NEVER = Long.MIN_VALUE;

    final String id;
    final int priority;
    final String tenant;
    final SamplingParams sampling;
    final long seed;
    /// The request as a connector sees it.
    final KvRequest kv;
    final BlockTable blocks;
    final int promptTokens;
    /// Tokens that it came with: the prompt, and what another engine had made of the output.
    final int givenTokens;
    final int[] stopTokenIds;
    /// Empty if they are ordinary tokens to this request.
    final int[] eosTokenIds;

    /// How its tokens are drawn, and what is penalised.
    final TokenChoices.Draw draw;

    final TokenChoices.Penalties penalties;
    /// Another one for each request of this process.
    final long number = NUMBERS.getAndIncrement();

    final int[] biasedTokenIds;
    final float[] biases;
    /// One bit a token that may be drawn, as far as the array reaches; null if all may.
    final long @Nullable [] allowedTokens;

    final int[][] badWords;
    /// What the output may be; it stands behind the last output token, also over a preemption.
    final TokenConstraint.@Nullable Matcher matcher;
    /// Whether the constraint allows nothing more, and no end-of-sequence token can say so.
    private boolean complete;

    Status status = Status.WAITING;
    /// Whether its end is decided, and waits for a step that still writes to its blocks.
    boolean isOver;
    /// Whether the last output went out.
    boolean answered;
    /// Whether the request has not yet had its first turn.
    boolean queued = true;
    /// How often this request was preempted.
    int numPreemptions;
    /// Whether it was decided what to load for this request; it is decided once, and not after a preemption.
    boolean loadDecided;
    /// Tokens whose keys and values are in the blocks.
    int numComputedTokens;
    /// Tokens of the prompt that were there when it was admitted last, from the cache or from elsewhere: they
    /// need not be computed.
    int foundTokens;
    /// Whether it was admitted without a token to compute: others may compute some of its blocks before it.
    boolean mayFindMore;
    /// Tokens that are being loaded, beyond the computed ones.
    int loadingTokens;
    long loadStartNanos;
    int cachedTokens;
    int externalTokens;

    /// The record of the load that is under way, if it is recorded.
    @Nullable
    KvTransferEvent transferEvent;

    /// The record of the lease on its blocks, if it is recorded.
    @Nullable
    KvLeaseEvent leaseEvent;

    /// Requests that waited when this one came, itself included.
    int queueLength;

    /// By [System#nanoTime()].
    final long submittedNanos = System.nanoTime();

    private long firstTurnNanos = NEVER;
    private long firstTokenNanos = NEVER;
    private long loadEndedNanos = NEVER;

    private final RequestListener listener;
    private int[] tokens;
    private int numTokens;
    private List<TokenLogprobs> promptLogprobs = List.of();
    /// Tokens of the prompt, from the first on, whose logits have been looked at.
    private int numPromptLogprobs;

    /// @param seed key of the generator, for a request that brings none
    /// @param eosTokenIds the model's end-of-sequence tokens
    Request(EngineRequest request, RequestListener listener, BlockTable blocks, long seed, int[] eosTokenIds) {
        this.id = request.requestId();
        this.priority = request.priority();
        this.tenant = request.tenant();
        this.sampling = request.sampling();
        this.seed = sampling.seed().orElse(seed);
        this.blocks = blocks;
        this.listener = listener;
        this.promptTokens = request.promptTokenIds().length;
        int[] given = request.givenTokenIds();
        this.givenTokens = given.length;
        this.kv = new KvRequest(id, request.externalId(), given, request.kvTransferParams());
        this.tokens = Arrays.copyOf(given, givenTokens + Math.min(sampling.maxTokens(), 64));
        this.numTokens = givenTokens;
        // An output that has to look like something is over when it does: there is nothing behind its end.
        this.eosTokenIds = sampling.ignoreEos() && sampling.constraint().isEmpty() ? new int[0] : eosTokenIds;
        this.stopTokenIds = toArray(sampling.stopTokenIds());
        this.allowedTokens = sampling.allowedTokenIds().isEmpty() ? null : bits(toArray(sampling.allowedTokenIds()));
        this.badWords = sampling.badWords().stream().map(Request::toArray).toArray(int[][]::new);
        this.matcher = sampling.constraint().map(TokenConstraint::start).orElse(null);
        this.draw = new TokenChoices.Draw(
                sampling.temperature() < Sampler.GREEDY_BELOW ? 0 : sampling.temperature(),
                sampling.topK(),
                sampling.topP(),
                sampling.minP());
        this.penalties = new TokenChoices.Penalties(
                sampling.repetitionPenalty(), sampling.frequencyPenalty(), sampling.presencePenalty());
        this.biasedTokenIds = new int[sampling.logitBias().size()];
        this.biases = new float[biasedTokenIds.length];
        for (int token : request.outputTokenIds()) {
            if (!accept(token)) {
                throw new IllegalArgumentException(
                        "the output that request " + id + " came with is not what its constraint allows");
            }
        }
        int i = 0;
        for (Map.Entry<Integer, Float> bias : sampling.logitBias().entrySet()) {
            biasedTokenIds[i] = bias.getKey();
            biases[i++] = bias.getValue();
        }
    }

    private static int[] toArray(List<Integer> ids) {
        return ids.stream().mapToInt(Integer::intValue).toArray();
    }

    private static long[] bits(int[] tokens) {
        BitSet set = new BitSet();
        for (int token : tokens) {
            set.set(token);
        }
        return set.toLongArray();
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

    /// Lets the constraint, if there is one, go on by a token that was drawn.
    ///
    /// @return false if it refused the token, which the mask should have done, or threw
    boolean accept(int token) {
        if (matcher == null) {
            return true;
        }
        try {
            if (matcher.accept(token)) {
                complete = eosTokenIds.length == 0 && matcher.isComplete();
                return true;
            }
            LOG.error("request {}: the constraint of its output refused token {}, which it had allowed", id, token);
        } catch (RuntimeException | StackOverflowError e) {
            LOG.error("request {}: the constraint of its output failed", id, e);
        }
        return false;
    }

    /// Whether and why the last token, just appended, ends the request. Stop tokens do not before `minTokens`;
    /// end-of-sequence does if it was drawn at all, which before `minTokens` only a constraint can bring about.
    /// Where there is no end-of-sequence token, a constraint that is fulfilled ends the request itself.
    ///
    /// @param maxSequenceTokens longest prompt plus output that this engine allows
    @Nullable
    FinishReason finishReason(int maxSequenceTokens) {
        if (complete || endsWithEndToken()) {
            return FinishReason.STOP;
        }
        boolean full = numOutputTokens() >= sampling.maxTokens() || numTokens >= maxSequenceTokens;
        return full ? FinishReason.LENGTH : null;
    }

    /// Whether a step can be launched before the token of the one that is under way is known: nothing but that
    /// token itself depends on it, and it does not end the request by its number.
    ///
    /// @param maxSequenceTokens longest prompt plus output that this engine allows
    boolean canRunAhead(int maxSequenceTokens) {
        return !isOver
                && matcher == null
                && badWords.length == 0
                && canBeChosenOnDevice()
                && numOutputTokens() >= sampling.minTokens()
                && numOutputTokens() + 1 < sampling.maxTokens()
                && numTokens + 1 < maxSequenceTokens;
    }

    /// Whether a device can choose its tokens. Log-probabilities are computed on the host, from rows that are
    /// copied.
    boolean canBeChosenOnDevice() {
        return sampling.logprobs().isEmpty() && biases.length <= TokenChoices.MAX_BIASES;
    }

    private boolean endsWithEndToken() {
        int last = tokens[numTokens - 1];
        return contains(eosTokenIds, last)
                || (numOutputTokens() >= sampling.minTokens() && contains(stopTokenIds, last));
    }

    /// Whether the token can end the request.
    boolean isEnd(int token) {
        return contains(eosTokenIds, token) || contains(stopTokenIds, token);
    }

    /* Log-probabilities of the prompt. They need the logits of each of its tokens, which no cache holds. */

    /// Whether logits of the prompt are still to be looked at. As long as they are, blocks that others computed
    /// are of no use.
    boolean wantsPromptLogits() {
        return sampling.promptLogprobs().isPresent() && numPromptLogprobs < promptTokens - 1;
    }

    /// How many of the tokens up to `numTokens` that are to be computed next need logits for the prompt's
    /// log-probabilities; they are the last ones, but for the prompt's last token.
    int promptLogitsRows(int numTokens) {
        if (!wantsPromptLogits()) {
            return 0;
        }
        int end = Math.min(numComputedTokens + numTokens, promptTokens - 1);
        return Math.max(0, end - Math.max(numComputedTokens, numPromptLogprobs));
    }

    /// The most tokens that can be computed next with no more than `rows` of [#promptLogitsRows].
    int tokensWithinPromptRows(int rows) {
        return Math.max(0, numPromptLogprobs - numComputedTokens) + rows;
    }

    /// The token whose log-probability is wanted next; it comes after the next row of logits.
    int nextPromptToken() {
        return tokens[numPromptLogprobs + 1];
    }

    void addPromptLogprobs(TokenLogprobs next) {
        if (numPromptLogprobs == 0) {
            promptLogprobs = new ArrayList<>(promptTokens - 1);
        }
        promptLogprobs.add(next);
        numPromptLogprobs++;
    }

    /// The prompt's log-probabilities, once.
    List<TokenLogprobs> takePromptLogprobs() {
        List<TokenLogprobs> all = promptLogprobs;
        promptLogprobs = List.of();
        return all;
    }

    /* Time. */

    void noteFirstTurn(long nanos) {
        firstTurnNanos = nanos;
    }

    /// Its first load is over, well or not.
    void noteLoadEnded() {
        if (loadEndedNanos == NEVER) {
            loadEndedNanos = System.nanoTime();
        }
    }

    void noteFirstToken() {
        firstTokenNanos = System.nanoTime();
    }

    long firstTokenNanos() {
        return firstTokenNanos;
    }

    private RequestOutput.Timings timings() {
        long end = System.nanoTime();
        long turn = firstTurnNanos == NEVER ? end : firstTurnNanos;
        long token = firstTokenNanos == NEVER ? end : firstTokenNanos;
        long transfer = loadEndedNanos == NEVER ? 0 : loadEndedNanos - turn;
        return new RequestOutput.Timings(turn - submittedNanos, transfer, token - turn, end - token, numPreemptions);
    }

    /// The stop token that ended the request, unless it was end-of-sequence.
    OptionalInt stopTokenId(FinishReason reason) {
        int last = tokens[numTokens - 1];
        return reason == FinishReason.STOP && endsWithEndToken() && !contains(eosTokenIds, last)
                ? OptionalInt.of(last)
                : OptionalInt.empty();
    }

    /// Whether a first token that another instance drew by its own parameters is as good as one that is drawn here.
    boolean takesFirstToken() {
        return isFresh()
                && sampling.minTokens() == 0
                && sampling.logprobs().isEmpty()
                && sampling.promptLogprobs().isEmpty();
    }

    /// Whether no token has been drawn for it here.
    boolean isFresh() {
        return numTokens == givenTokens;
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
    RequestOutput.Finish finish(FinishReason reason, KvHold hold, @Nullable String error) {
        return new RequestOutput.Finish(
                reason,
                stopTokenId(reason),
                reason == FinishReason.STOP && endsWithEndToken(),
                givenTokens,
                cachedTokens,
                externalTokens,
                hold instanceof KvHold.UnderLease,
                hold.answer(),
                timings(),
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
