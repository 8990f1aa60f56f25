package dev.baton.transfer.offload;

import dev.baton.kvcache.BlockHash;
import dev.baton.kvcache.BlockHasher;
import dev.baton.kvcache.KvCacheSpec;
import dev.baton.tensor.PagedKv;
import dev.baton.transfer.KvConnector;
import dev.baton.transfer.KvEvent;
import dev.baton.transfer.KvSaves;
import dev.baton.transfer.KvTransferConfig;
import dev.baton.transfer.KvTransferStats;
import dev.baton.transfer.TransferException;
import dev.baton.transfer.store.BlockStoreScheduler;
import dev.baton.transfer.store.BlockStoreWorker;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.time.Duration;
import java.util.HexFormat;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.function.Consumer;

/// Keeps the blocks of prompts in memory and in files beside the pool, so that they come back when the pool has
/// long evicted them, also after a restart: vLLM's `OffloadingConnector`.
///
/// Full blocks are saved while their request still runs, each once, and loaded as a request's longest known
/// prefix. It speaks to no other instance, and reads no `kv_transfer_params`. Thread-safe as its interfaces
/// say; its threads are named `baton-kv-offload-...`.
public final class OffloadingConnector implements KvConnector {
    /// Its `kv_connector`.
    public static final String NAME = "OffloadingConnector";

    private static final int DIGEST_BYTES = 8;
    /// Longest that a load takes, or that blocks are held to be saved.
    private static final Duration LIMIT = Duration.ofSeconds(10);

    private final OffloadOptions options;
    private final Optional<MemoryTier> memory;
    private final OffloadStore store;
    private final BlockStoreScheduler<BlockHash> scheduler;
    private final BlockStoreWorker<BlockHash> worker;

    private OffloadingConnector(
            OffloadOptions options, KvCacheSpec spec, PagedKv pool, String directory, Consumer<KvEvent> sink) {
        this.options = options;
        long slots = options.cpuBytes() / pool.blockBytes();
        if (options.cpuBytes() > 0 && (slots == 0 || slots > Integer.MAX_VALUE)) {
            throw new TransferException("kv_connector_extra_config: cpu_bytes_to_use is %d, a block has %d bytes"
                    .formatted(options.cpuBytes(), pool.blockBytes()));
        }
        Optional<FileTier> files =
                options.files().map(tier -> new FileTier(tier.root(), directory, pool.blockBytes(), tier.maxBytes()));
        this.memory = slots == 0
                ? Optional.empty()
                : Optional.of(new MemoryTier(
                        pool.blockBytes(),
                        (int) slots,
                        EvictionPolicy.of(options.evictionPolicy(), (int) slots).orElseThrow()));
        KvSaves saves = new KvSaves(sink);
        this.store = new OffloadStore(pool, new BlockHasher(spec, BlockHasher.DEFAULT_SEED), memory, files);
        this.worker = new BlockStoreWorker<>(
                new BlockStoreWorker.Settings(
                        NAME,
                        "the store of " + NAME,
                        "baton-kv-offload-",
                        options.files().map(OffloadOptions.Files::readThreads).orElse(1),
                        options.files().map(OffloadOptions.Files::writeThreads).orElse(1),
                        LIMIT),
                pool,
                store,
                saves,
                sink);
        this.scheduler = new BlockStoreScheduler<>(
                store, spec.blockTokens(), new BlockStoreScheduler.Use(true, true, false), saves, worker);
    }

    /// Starts the connector; see [dev.baton.transfer.KvConnectorFactory#create].
    public static OffloadingConnector start(
            KvTransferConfig config,
            KvCacheSpec spec,
            PagedKv pool,
            Map<String, String> compatibility,
            Consumer<KvEvent> sink) {
        return new OffloadingConnector(
                OffloadOptions.from(config.extra()), spec, pool, directory(spec, compatibility), sink);
    }

    /// Blocks of models, shapes or tokenizers that differ never lie in one directory.
    private static String directory(KvCacheSpec spec, Map<String, String> compatibility) {
        Map<String, String> facts = new TreeMap<>(compatibility);
        facts.put(
                "spec",
                "%s %d %d %d %d"
                        .formatted(spec.dtype(), spec.layers(), spec.kvHeads(), spec.headDim(), spec.blockTokens()));
        try {
            byte[] digest =
                    MessageDigest.getInstance("SHA-256").digest(facts.toString().getBytes(StandardCharsets.UTF_8));
            String name = spec.modelId().replaceAll("[^A-Za-z0-9._-]+", "_");
            return "%s_%s_r0"
                    .formatted(
                            name.substring(Math.max(0, name.length() - 100)),
                            HexFormat.of().formatHex(digest, 0, DIGEST_BYTES));
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException(e); // every Java has it
        }
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
        StringBuilder text = new StringBuilder(NAME);
        if (memory.isPresent()) {
            text.append(", %,d MiB of memory (%s)".formatted(options.cpuBytes() >> 20, options.evictionPolicy()));
        }
        options.files().ifPresent(tier -> text.append(", files in ").append(tier.root()));
        return text.toString();
    }

    @Override
    public void close() {
        if (worker.close(() -> {})) {
            store.close();
        }
    }
}
