package dev.baton.transfer.lmcache;

import dev.baton.kvcache.KvCacheSpec;
import dev.baton.metrics.Metrics;
import dev.baton.tensor.PagedKv;
import dev.baton.transfer.Exposure;
import dev.baton.transfer.KvConnector;
import dev.baton.transfer.KvEvent;
import dev.baton.transfer.KvTransferConfig;
import dev.baton.transfer.KvTransferStats;
import dev.baton.transfer.TransferException;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.function.Consumer;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// The connector of LMCache's chunks: what a prompt's tokens are names its keys and values, 256 tokens at a
/// time, in memory, on disk and on servers that other engines share, vLLM with LMCache among them.
///
/// Before a prompt is computed, its chunks are looked up and loaded; as soon as one is computed, it is saved,
/// unless `kv_role` is `kv_consumer`. A tier that fails is a miss. `docs/lmcache-connector.md` describes
/// settings and formats.
///
/// Thread-safe as its interfaces say; its threads are platform threads named `baton-kv-...`.
public final class LmCacheConnector implements KvConnector {
    /// Its `kv_connector`.
    public static final String NAME = "LMCacheConnectorV1";

    private static final Logger LOG = LoggerFactory.getLogger(LmCacheConnector.class);

    private final KvTransferConfig config;
    private final LmCacheOptions options;
    private final Counters counters = new Counters();
    private final Optional<PdReceiver> receiver;
    private final Tiers tiers;
    private final LmCacheWorker worker;
    private final ChunkSaver saver;
    private final LmCacheScheduler scheduler;

    private LmCacheConnector(
            KvTransferConfig config,
            LmCacheOptions options,
            Optional<PdOptions> pd,
            Optional<MooncakeTierOptions> mooncake,
            KvCacheSpec spec,
            PagedKv pool,
            Consumer<KvEvent> sink,
            Map<String, String> environment) {
        this.config = config;
        this.options = options;
        ChunkLayout layout = new ChunkLayout(spec, pool, options.chunkTokens());
        ChunkKeys keys = ChunkKeys.of(options.hasher(), options.chunkTokens(), options.modelName(), pool.dtype());
        Optional<PdSender> sender = pd.filter(PdOptions::isSender)
                .map(it -> new PdSender(it, environment, layout.chunkBytes(), keys.dtype(), options.blockingTimeout()));
        this.receiver = pd.filter(it -> !it.isSender())
                .map(it -> new PdReceiver(
                        it, environment, layout.head(options.chunkTokens()), keys.dtype(), options.blockingTimeout()));
        try {
            Optional<Tier> remote = mooncake.isPresent()
                    ? Optional.of(mooncake.get().open(config.role(), layout.chunkBytes()))
                    : Tiers.remote(options, keys.maxBytes());
            this.tiers = Tiers.of(options, counters, receiver.map(Tier.class::cast), remote, sender.isPresent());
        } catch (RuntimeException e) {
            sender.ifPresent(PdSender::close);
            receiver.ifPresent(PdReceiver::close);
            throw e;
        }
        this.worker = new LmCacheWorker(options, layout, keys, tiers, counters, sink);
        this.saver = new ChunkSaver(layout, keys, tiers, counters, sender);
        this.scheduler = new LmCacheScheduler(config.role(), options, !tiers.isNone(), worker, saver, counters, sink);
    }

    /// Starts the connector, with the settings of this process's environment; see
    /// [dev.baton.transfer.KvConnectorFactory#create].
    public static LmCacheConnector start(
            KvTransferConfig config,
            KvCacheSpec spec,
            PagedKv pool,
            Map<String, String> compatibility,
            Consumer<KvEvent> sink) {
        return start(config, spec, pool, sink, System.getenv());
    }

    /// Starts a connector in another environment.
    static LmCacheConnector start(
            KvTransferConfig config,
            KvCacheSpec spec,
            PagedKv pool,
            Consumer<KvEvent> sink,
            Map<String, String> environment) {
        if (spec.blockBytes() != pool.blockBytes() || spec.blockTokens() != pool.blockTokens()) {
            throw new TransferException("the pool's blocks have %d bytes and %d tokens, those of the spec %d and %d"
                    .formatted(pool.blockBytes(), pool.blockTokens(), spec.blockBytes(), spec.blockTokens()));
        }
        LmCacheSettings settings = LmCacheSettings.read(config.extra(), environment);
        Optional<String> hashSeed =
                Optional.ofNullable(environment.get("PYTHONHASHSEED")).filter(seed -> !seed.isBlank());
        LmCacheOptions options = LmCacheOptions.of(settings, spec.modelId(), hashSeed);
        Optional<MooncakeTierOptions> mooncake =
                MooncakeTierOptions.of(settings, config, options.blockingTimeout(), environment);
        settings.warnings().forEach(LOG::warn);
        mooncake.ifPresent(it -> it.warnings().forEach(LOG::warn));
        if (hashSeed.isEmpty()
                && options.hasher() instanceof ChunkHasher.Builtin
                && options.remoteUrl().isPresent()) {
            LOG.warn("PYTHONHASHSEED is not set and taken as 0; engines of LMCache must be given PYTHONHASHSEED=0, too,"
                    + " or pre_caching_hash_algorithm: sha256_cbor");
        }
        Optional<PdOptions> pd = PdOptions.of(settings);
        pd.filter(it -> !it.isSender())
                .ifPresent(it -> Exposure.check(
                        "the receiver of " + NAME, it.host(), settings.extraFlag(Exposure.TRUSTED_NETWORK)));
        return new LmCacheConnector(config, options, pd, mooncake, spec, pool, sink, environment);
    }

    @Override
    public SchedulerSide scheduler() {
        return scheduler;
    }

    @Override
    public WorkerSide worker() {
        return worker;
    }

    @Override
    public KvTransferStats stats() {
        return counters.snapshot();
    }

    @Override
    public void addTo(Metrics metrics) {
        counters.addTo(metrics);
        tiers.addTo(metrics);
    }

    /// Where prefillers write to, for tests.
    Optional<PdReceiver> receiver() {
        return receiver;
    }

    /// What was counted, for tests.
    Counters counters() {
        return counters;
    }

    @Override
    public String describe() {
        return "%s %s, chunks of %d tokens of \"%s\", in %s"
                .formatted(
                        NAME,
                        config.role().name().toLowerCase(Locale.ROOT),
                        options.chunkTokens(),
                        options.modelName(),
                        tiers.describe());
    }

    @Override
    public void close() {
        LOG.info("{}: {}", NAME, counters);
        worker.close();
        tiers.disconnect();
        worker.awaitEnd();
        saver.close();
        tiers.close();
    }
}
