package dev.baton.engine;

import dev.baton.kvcache.BlockHasher;
import dev.baton.kvcache.KvCacheManager;
import dev.baton.kvcache.KvCacheSpec;
import dev.baton.metrics.Metrics;
import dev.baton.metrics.SingleWriterHistogram;
import dev.baton.model.CausalLm;
import dev.baton.model.ModelConfig;
import dev.baton.tensor.PagedKv;
import dev.baton.transfer.KvConnector;
import dev.baton.transfer.KvConnectorFactory;
import dev.baton.transfer.KvConnectors;
import dev.baton.transfer.KvEvent;
import dev.baton.transfer.KvPeer;
import dev.baton.transfer.KvTransferParams;
import dev.baton.transfer.KvTransferStats;
import java.security.SecureRandom;
import java.time.Duration;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentMap;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// An inference engine over one model: takes requests, batches them continuously, and reports their tokens.
///
/// Thread-safe: any thread may submit and abort; one platform thread, the engine's, does the work and calls the
/// listeners. Owns the model and the KV cache's memory and closes both.
public final class Engine implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(Engine.class);

    /// How much longer than a step's deadline [#close] waits for the engine's thread.
    private static final Duration CLOSE_GRACE = Duration.ofSeconds(10);

    private final EngineConfig config;
    private final int vocabSize;
    private final int[] eosTokenIds;
    private final int maxSequenceTokens;
    private final String description;
    private final KvCacheManager kvCache;
    private final @Nullable KvConnector connector;
    private final PeerTransfers transfers;
    private final ConcurrentMap<String, Request> requests;
    private final EngineCounters counters;
    private final EngineLoop loop;
    private final SecureRandom seeds = new SecureRandom();

    private Engine(
            EngineConfig config,
            CausalLm model,
            KvCacheSpec spec,
            PagedKv kv,
            Inbox inbox,
            @Nullable KvConnector connector) {
        this.config = config;
        this.vocabSize = model.config().vocabSize();
        this.eosTokenIds = eosTokenIds(config, model.config());
        this.maxSequenceTokens = (int) Math.min(config.maxModelLen(), (long) config.numBlocks() * config.blockTokens());
        this.kvCache = new KvCacheManager(spec, config.enablePrefixCaching(), BlockHasher.DEFAULT_SEED);
        this.connector = connector;
        this.requests = new ConcurrentHashMap<>();
        this.counters = new EngineCounters();
        KvTransfers transfers = new KvTransfers(connector, spec);
        this.transfers = transfers.peers();
        if (connector != null) {
            model.onLayerWritten(transfers::layerComputed, transfers::isPushing);
        }
        this.loop = new EngineLoop(
                config,
                inbox,
                new Scheduler(
                        config,
                        maxSequenceTokens,
                        ModelRunner.maxPromptLogitsRows(vocabSize),
                        kvCache,
                        transfers,
                        counters,
                        requests),
                new ModelRunner(config, model, kv),
                kvCache,
                transfers,
                counters,
                () -> closeAll(connector, kv, model));
        this.description = describe(config, model, spec, connector);
    }

    /// Starts an engine with the connector that its configuration names, if any.
    ///
    /// @param model the model; closed with the engine, but not if this throws
    /// @throws IllegalArgumentException if the configuration does not fit the model
    public static Engine start(EngineConfig config, CausalLm model) {
        return start(config, model, KvConnectors::create);
    }

    /// Starts an engine with a connector of the caller's.
    ///
    /// @param model the model; closed with the engine, but not if this throws
    /// @param connectors makes the connector if `config` asks for one
    /// @throws IllegalArgumentException if the configuration does not fit the model
    public static Engine start(EngineConfig config, CausalLm model, KvConnectorFactory connectors) {
        ModelConfig shape = model.config();
        if (config.maxModelLen() > shape.maxPositionEmbeddings()) {
            throw new IllegalArgumentException("maxModelLen is " + config.maxModelLen() + ", but the model has only "
                    + shape.maxPositionEmbeddings() + " positions");
        }
        KvCacheSpec spec = new KvCacheSpec(
                config.modelId(),
                config.kvCacheDtype().torchName(),
                config.kvCacheDtype().bytes(),
                shape.numLayers(),
                shape.numKvHeads(),
                shape.headDim(),
                config.blockTokens(),
                config.numBlocks());
        PagedKv kv = config.kvTransfer().filter(KvConnectors::sharesMemory).isPresent()
                ? model.allocateSharedKv(spec.numBlocks(), spec.blockTokens(), config.kvCacheDtype())
                : model.allocateKv(spec.numBlocks(), spec.blockTokens(), config.kvCacheDtype());
        KvConnector connector = null;
        try {
            Inbox inbox = new Inbox();
            model.deviceSteps().ifPresent(steps -> steps.prepare(kv));
            if (config.kvTransfer().isPresent()) {
                connector =
                        connectors.create(config.kvTransfer().get(), spec, kv, compatibility(config, model), event -> {
                            if (isOfVocabulary(event, shape.vocabSize())) {
                                inbox.post(new EngineMessage.Transferred(event));
                            }
                        });
            }
            Engine engine = new Engine(config, model, spec, kv, inbox, connector);
            engine.loop.start();
            return engine;
        } catch (RuntimeException | Error e) {
            if (connector != null) {
                connector.close();
            }
            kv.close();
            throw e;
        }
    }

    /// Whether a token that another instance drew, if it is about one, can be one of this model's.
    private static boolean isOfVocabulary(KvEvent event, int vocabSize) {
        return !(event instanceof KvEvent.KvFirstToken(String _, int token)) || (token >= 0 && token < vocabSize);
    }

    /// The model's end-of-sequence tokens and the caller's, each once.
    private static int[] eosTokenIds(EngineConfig config, ModelConfig shape) {
        for (int token : config.eosTokenIds()) {
            if (token < 0 || token >= shape.vocabSize()) {
                throw new IllegalArgumentException("eosTokenIds has token id " + token
                        + ", which is not in the model's vocabulary of " + shape.vocabSize());
            }
        }
        return Stream.concat(shape.eosTokenIds().stream(), config.eosTokenIds().stream())
                .mapToInt(Integer::intValue)
                .distinct()
                .toArray();
    }

    /// What both sides of a transfer must share: the model's facts and the caller's. The shape of a block is the
    /// connector's to compare.
    private static Map<String, String> compatibility(EngineConfig config, CausalLm model) {
        Map<String, String> facts = new TreeMap<>(config.compatibility());
        facts.putAll(model.fingerprint());
        return facts;
    }

    private static void closeAll(@Nullable KvConnector connector, PagedKv kv, CausalLm model) {
        // In this order: the connector's threads and the model read and write the pool.
        try (kv;
                model) {
            if (connector != null) {
                connector.close();
            }
        }
    }

    private static String describe(
            EngineConfig config, CausalLm model, KvCacheSpec spec, @Nullable KvConnector connector) {
        long tokens = (long) spec.numBlocks() * spec.blockTokens();
        // The words before the colons of the second and third line are vLLM's, for those who search logs.
        return String.format(
                Locale.ROOT,
                """
                Model: %s, %s, context %,d tokens
                GPU KV cache size: %,d tokens (%.2f GiB %s, %,d blocks of %d, prefix caching %s)
                Maximum concurrency for %,d tokens per request: %.2fx (at most %,d sequences, %,d tokens a step)
                Computes: %s
                Connector: %s""",
                config.modelId(),
                model.config().architecture(),
                config.maxModelLen(),
                tokens,
                spec.numBlocks() * spec.blockBytes() / (double) (1L << 30),
                spec.dtype(),
                spec.numBlocks(),
                spec.blockTokens(),
                config.enablePrefixCaching() ? "on" : "off",
                config.maxModelLen(),
                tokens / (double) config.maxModelLen(),
                config.maxNumSeqs(),
                config.maxNumBatchedTokens(),
                model.backend(),
                connector == null ? "none" : connector.describe());
    }

    public EngineConfig config() {
        return config;
    }

    /// The tokens that end an output: the model's and [EngineConfig#eosTokenIds()], each once.
    /// Empty if neither names one.
    public List<Integer> eosTokenIds() {
        return IntStream.of(eosTokenIds).boxed().toList();
    }

    /// Begins to generate, for a caller that waits for the tokens; the rest is as with [#submit].
    public Generation generate(int[] promptTokenIds, SamplingParams sampling) {
        String requestId = UUID.randomUUID().toString();
        Generation generation = new Generation(this, requestId);
        submit(new EngineRequest(requestId, promptTokenIds, sampling), generation::add);
        return generation;
    }

    /// Takes a request; its outputs go to `listener` until one with a finish.
    ///
    /// A request that is refused for what it is lets go of the prefiller's blocks that it names; one that is
    /// refused for the moment does not, so that another try may use them.
    ///
    /// @throws EngineException.QueueFull if too many requests or prompt tokens wait
    /// @throws EngineException.Dead if the engine has stopped
    /// @throws IllegalArgumentException if the prompt is empty or, with one token of output, longer than the
    ///     context or than the pool, if a token id is not in the vocabulary, or if the id is that of a request
    ///     in flight
    public void submit(EngineRequest request, RequestListener listener) {
        if (loop.hasEnded()) {
            throw loop.dead();
        }
        try {
            check(request);
        } catch (IllegalArgumentException e) {
            releaseRemote(request.kvTransferParams());
            throw e;
        }
        int promptTokens = request.promptTokenIds().length;
        int queueLength = enqueue(promptTokens);
        Request state;
        try {
            state = new Request(
                    withoutForeignBlocks(request), listener, kvCache.newTable(), seeds.nextLong(), eosTokenIds);
            state.queueLength = queueLength;
            // Here rather than at the first look-up: the engine's thread has better things to do.
            state.blocks.hashes().extend(request.promptTokenIds(), promptTokens);
        } catch (RuntimeException | Error e) {
            counters.gaveUp(promptTokens); // the request's constraint is the caller's code
            if (e instanceof IllegalArgumentException) {
                releaseRemote(request.kvTransferParams());
            }
            throw e;
        }
        if (requests.putIfAbsent(state.id, state) != null) {
            counters.gaveUp(promptTokens);
            throw new IllegalArgumentException("request id " + state.id + " is in flight already");
        }
        loop.post(new EngineMessage.Submit(state));
        // If the engine has ended meanwhile, either it has answered this request or nobody will.
        if (loop.hasEnded() && requests.remove(state.id, state)) {
            throw loop.dead();
        }
    }

    /// Has what [#submit] computes of a prompt compiled: the names of its blocks, some milliseconds for a
    /// long prompt until then. Nothing is left of it.
    ///
    /// @param promptTokenIds long
    public void warmUp(int[] promptTokenIds) {
        kvCache.newTable().hashes().extend(promptTokenIds, promptTokenIds.length);
    }

    /// Takes a place among the requests that wait, if there is one.
    ///
    /// @return how many wait then
    private int enqueue(int promptTokens) {
        int length = counters.joinedQueue(promptTokens);
        long tokens = counters.queuedTokens.get();
        String full = null;
        if (length > config.maxWaiting()) {
            full = config.maxWaiting() + " requests wait already, no more may";
        } else if (config.maxWaitingTokens() > 0 && length > 1 && tokens > config.maxWaitingTokens()) {
            full = "the requests that wait would have %d prompt tokens together, and may have %d"
                    .formatted(tokens, config.maxWaitingTokens());
        }
        if (full != null) {
            counters.gaveUp(promptTokens);
            throw new EngineException.QueueFull(
                    length > config.maxWaiting()
                            ? EngineException.QueueFull.Limit.REQUESTS
                            : EngineException.QueueFull.Limit.PROMPT_TOKENS,
                    full,
                    counters.halfOfQueue(length));
        }
        return length;
    }

    /// The request without its hand-off if that is one of another prompt: template, tokenizer or router differ from
    /// what the prefiller had. The prompt is computed here then, and the prefiller may let go of its blocks.
    private EngineRequest withoutForeignBlocks(EngineRequest request) {
        Object expected = request.kvTransferParams().fields().get(KvTransfers.PROMPT_DIGEST);
        if (connector == null || expected == null) {
            return request;
        }
        int[] prompt = request.givenTokenIds();
        String digest = BlockHasher.digest(prompt, prompt.length);
        if (digest.equals(expected)) {
            return request;
        }
        LOG.warn(
                "request {}: the prefiller's blocks are those of another prompt, computing it here:"
                        + " remote_prompt_digest is {} ({} tokens), the prompt's is {} ({} tokens)",
                request.requestId(),
                expected,
                request.kvTransferParams().fields().get("remote_num_tokens"),
                digest,
                prompt.length);
        releaseRemote(request.kvTransferParams());
        return request.withoutHandOff();
    }

    private void check(EngineRequest request) {
        if (request.promptTokenIds().length == 0) {
            throw new IllegalArgumentException("the prompt is empty; it needs at least one token");
        }
        int[] prompt = request.givenTokenIds();
        if (prompt.length >= maxSequenceTokens) {
            throw new IllegalArgumentException("the prompt has " + prompt.length
                    + " tokens; with one token of output it must fit into " + maxSequenceTokens
                    + " (the smaller of maxModelLen and the KV cache, numBlocks x blockTokens)");
        }
        for (int token : prompt) {
            checkToken("the prompt", token);
        }
        for (int token : request.sampling().stopTokenIds()) {
            checkToken("stopTokenIds", token);
        }
        for (int token : request.sampling().logitBias().keySet()) {
            checkToken("logitBias", token);
        }
        for (int token : request.sampling().allowedTokenIds()) {
            checkToken("allowedTokenIds", token);
        }
        for (List<Integer> word : request.sampling().badWords()) {
            for (int token : word) {
                checkToken("badWords", token);
            }
        }
    }

    private void checkToken(String where, int token) {
        if (token < 0 || token >= vocabSize) {
            throw new IllegalArgumentException(
                    where + " has token id " + token + "; the vocabulary ends at " + (vocabSize - 1));
        }
    }

    /// Ends a request early: its listener gets a finish with [FinishReason#ABORT]; blocks held for a decoder
    /// are let go. Does nothing if there is no such request.
    public void abort(String requestId) {
        loop.post(new EngineMessage.Abort(requestId));
    }

    /// Ends a request whose output is complete, as a stop text makes it: its listener gets a finish with
    /// [FinishReason#STOP], and what was computed may be kept as that of any request that is complete. One that has
    /// no output yet is aborted; one that has ended, and perhaps holds its blocks, is left as it is.
    public void stop(String requestId) {
        loop.post(new EngineMessage.Stop(requestId));
    }

    /// Whether there is a request of this id: one in flight, or one whose blocks are held for a decoder.
    public boolean isKnown(String requestId) {
        return requests.containsKey(requestId);
    }

    /// Tells a prefiller that nobody will come for its blocks: for a request that was refused before it got
    /// here. Does nothing without a connector.
    public void releaseRemote(KvTransferParams params) {
        if (connector != null) {
            connector.worker().release(params);
        }
    }

    /// A snapshot of gauges and counters.
    public EngineStats stats() {
        return counters.snapshot(config.numBlocks());
    }

    /// Tokens computed a step, of prompts and outputs together (vLLM's `iteration_tokens_total`).
    public SingleWriterHistogram iterationTokens() {
        return counters.iterationTokens;
    }

    /// Where the connector waits for others before any request names it; empty if it does not.
    public Optional<KvPeer> kvPeer() {
        return Optional.ofNullable(connector).flatMap(KvConnector::peer);
    }

    /// Has the connector get to know an instance that will give blocks; does nothing without a connector.
    public void connect(KvPeer peer) {
        if (connector != null) {
            connector.worker().connect(peer);
        }
    }

    /// What the connector has counted; all zero if there is none.
    public KvTransferStats transferStats() {
        return connector == null ? KvTransferStats.ZERO : connector.stats();
    }

    /// Adds what the connector counts besides, under the names that the field has for it.
    public void addTransferMetrics(Metrics metrics) {
        if (connector != null) {
            connector.addTo(metrics);
            transfers.addTo(metrics);
        }
    }

    /// Checks, on the engine's thread, that every block is accounted for.
    ///
    /// @return the usage; completes exceptionally with an [IllegalStateException] that names what is wrong
    public CompletableFuture<BlockUsage> checkIntegrity() {
        CompletableFuture<BlockUsage> answer = new CompletableFuture<>();
        loop.post(new EngineMessage.CheckIntegrity(answer));
        return answer;
    }

    /// Forgets every cached block that no request uses.
    ///
    /// @return false if a request is running, in which case nothing happens
    public CompletableFuture<Boolean> resetPrefixCache() {
        CompletableFuture<Boolean> answer = new CompletableFuture<>();
        loop.post(new EngineMessage.ResetPrefixCache(answer));
        return answer;
    }

    /// Whether the engine makes progress: false once its thread has ended, and while a step has overrun its
    /// deadline. An engine whose process was only paused is healthy again when that step is done.
    public boolean isHealthy() {
        return loop.isHealthy();
    }

    /// What runs and on what, for the start banner, a line each: model, KV cache, concurrency, backend, connector.
    public String describe() {
        return description;
    }

    /// Stops: requests in flight end with [FinishReason#ABORT], the connector, the model and the pool are
    /// closed.
    ///
    /// @throws EngineException if a step hangs, so that the engine's thread does not end; nothing is closed
    ///     then
    @Override
    public void close() {
        loop.post(new EngineMessage.Close());
        if (!loop.awaitEnd(config.stepDeadline().plus(CLOSE_GRACE))) {
            throw new EngineException("the engine's thread has not ended " + CLOSE_GRACE.toSeconds()
                    + " s after the deadline of its step: the model hangs");
        }
    }
}
