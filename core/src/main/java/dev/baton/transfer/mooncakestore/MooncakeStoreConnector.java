package dev.baton.transfer.mooncakestore;

import dev.baton.kvcache.KvCacheSpec;
import dev.baton.tensor.PagedKv;
import dev.baton.transfer.BlockShape;
import dev.baton.transfer.CborHash;
import dev.baton.transfer.KvConnector;
import dev.baton.transfer.KvEvent;
import dev.baton.transfer.KvRole;
import dev.baton.transfer.KvSaves;
import dev.baton.transfer.KvTransferConfig;
import dev.baton.transfer.KvTransferStats;
import dev.baton.transfer.store.BlockStoreScheduler;
import dev.baton.transfer.store.BlockStoreWorker;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.Locale;
import java.util.Map;
import java.util.function.Consumer;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// Keeps the blocks of prompts in a Mooncake cluster, where other engines find them: vLLM's
/// `MooncakeStoreConnector`.
///
/// Full blocks are saved while their request still runs, unless `kv_role` is `kv_consumer`, and loaded as a
/// request's longest known prefix. A cluster that fails costs what would have been saved or loaded, never a
/// request. `docs/mooncake-store-connector.md` describes settings and formats.
///
/// Thread-safe as its interfaces say; its threads are named `baton-kv-mooncake-...`.
public final class MooncakeStoreConnector implements KvConnector {
    /// Its `kv_connector`.
    public static final String NAME = "MooncakeStoreConnector";

    private static final Logger LOG = LoggerFactory.getLogger(MooncakeStoreConnector.class);

    private static final int READ_THREADS = 2;
    private static final int WRITE_THREADS = 1;
    private static final int THREADS = READ_THREADS + WRITE_THREADS;

    private final KvTransferConfig config;
    private final MooncakeStoreOptions options;
    private final ObjectStore.Opener opener;
    private final MooncakeStore store;
    private final BlockStoreWorker<String> worker;
    private final BlockStoreScheduler<String> scheduler;

    private MooncakeStoreConnector(
            KvTransferConfig config,
            MooncakeStoreOptions options,
            KvCacheSpec spec,
            PagedKv pool,
            long model,
            Consumer<KvEvent> sink) {
        this.config = config;
        this.options = options;
        boolean writes = config.role() != KvRole.KV_CONSUMER || options.saveDecodeCache();
        this.opener = MooncakeHome.find(NAME, options.access(config.ip()), writes, THREADS);
        this.store = new MooncakeStore(
                opener,
                pool,
                options.vllmLayout(),
                prefix(options, model),
                VllmNames.root(options.hashSeed()),
                model,
                THREADS,
                options.stagingBytes());
        try {
            store.connect();
        } catch (IOException e) {
            LOG.warn("{}: prompts are computed until the cluster can be reached: {}", NAME, e.getMessage());
        }
        KvSaves saves = new KvSaves(sink);
        this.worker = new BlockStoreWorker<>(
                new BlockStoreWorker.Settings(
                        NAME,
                        "the Mooncake store",
                        "baton-kv-mooncake-",
                        READ_THREADS,
                        WRITE_THREADS,
                        options.loadTimeout()),
                pool,
                store,
                saves,
                sink);
        boolean savesPrompts = opener.writes() && config.role() != KvRole.KV_CONSUMER;
        this.scheduler = new BlockStoreScheduler<>(
                store,
                spec.blockTokens(),
                new BlockStoreScheduler.Use(options.lookup(), savesPrompts, options.saveDecodeCache()),
                saves,
                worker);
    }

    /// Starts the connector, with the settings of this process's environment; see
    /// [dev.baton.transfer.KvConnectorFactory#create].
    public static MooncakeStoreConnector start(
            KvTransferConfig config,
            KvCacheSpec spec,
            PagedKv pool,
            Map<String, String> compatibility,
            Consumer<KvEvent> sink) {
        BlockShape.checkForMessages(spec, pool);
        MooncakeStoreOptions options = MooncakeStoreOptions.from(config.extra(), spec.modelId(), System.getenv());
        CborHash facts = new CborHash();
        BlockShape.fields(spec, compatibility)
                .forEach((field, value) -> facts.text(field).text(value));
        return new MooncakeStoreConnector(
                config, options, spec, pool, ByteBuffer.wrap(facts.digest()).getLong(), sink);
    }

    /// What stands before a block's hash: vLLM's words for one rank and one group of layers, and, if nothing is
    /// shared with vLLM, behind the model's name, in the form that vLLM has for formats, that the blocks are
    /// Baton's.
    static String prefix(MooncakeStoreOptions options, long model) {
        String namespace = options.vllmLayout().isPresent() ? "" : "@store_format:baton_%016x".formatted(model);
        return (options.cachePrefix().isEmpty() ? "" : options.cachePrefix() + "@")
                + options.modelName()
                + namespace
                + "@tp_rank:0@pcp0@dcp0@pp_rank:0@group:0";
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
        return worker.stats();
    }

    @Override
    public String describe() {
        return "%s %s, blocks of \"%s\"%s at %s (%s)"
                .formatted(
                        NAME,
                        config.role().name().toLowerCase(Locale.ROOT),
                        options.modelName(),
                        options.vllmLayout()
                                .map(layout -> " as vLLM has them (%s)"
                                        .formatted(layout.name().toLowerCase(Locale.ROOT)))
                                .orElse(""),
                        options.cluster().masterAddress(),
                        opener.describe());
    }

    @Override
    public void close() {
        boolean _ = worker.close(store::close);
    }
}
