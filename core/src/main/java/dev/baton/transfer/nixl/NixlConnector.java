package dev.baton.transfer.nixl;

import dev.baton.kvcache.KvCacheSpec;
import dev.baton.metrics.Metrics;
import dev.baton.tensor.PagedKv;
import dev.baton.transfer.BlockShape;
import dev.baton.transfer.Exposure;
import dev.baton.transfer.KvConnector;
import dev.baton.transfer.KvEvent;
import dev.baton.transfer.KvLeases;
import dev.baton.transfer.KvPeer;
import dev.baton.transfer.KvRole;
import dev.baton.transfer.KvTransferConfig;
import dev.baton.transfer.KvTransferStats;
import dev.baton.transfer.TransferException;
import dev.baton.transfer.tcp.Counters;
import dev.baton.wire.MsgPack;
import java.util.Arrays;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.SortedMap;
import java.util.concurrent.CompletableFuture;
import java.util.function.Consumer;
import java.util.function.Function;

/// The connector that speaks the protocol of vLLM 0.32's `NixlConnector` (pull) over the real NIXL library: a
/// decoder, Baton or vLLM, reads a finished prompt's blocks from the prefiller's memory. Semantics (side channel,
/// compatibility hash, leases, heartbeats, completion notices) are vLLM's; `docs/nixl-connector.md` describes them.
/// Pools may be in the memory of GPUs.
///
/// Thread-safe as its interfaces say; its threads are platform threads named `baton-nixl...`.
public final class NixlConnector implements KvConnector {
    /// Its `kv_connector`.
    public static final String NAME = "NixlConnector";

    /// What the metadata call the attention backend: none of vLLM's, so that a vLLM decoder on a CPU packs the
    /// blocks for its own.
    private static final String ATTENTION_BACKEND = "BATON";

    private static final int MAX_PORT = 65_535;

    private final KvRole role;
    private final String engineId;
    private final NixlHome home;
    private final Counters counters = new Counters();
    private final LocalPool local;
    private final KvLeases leases;
    private final Optional<Mirror> mirror;
    private final NixlWorker worker;
    private final Optional<SideChannel> sideChannel;
    private final String host;
    private final NixlScheduler scheduler;

    private NixlConnector(
            KvTransferConfig config,
            KvCacheSpec spec,
            PagedKv pool,
            SortedMap<String, String> fields,
            NixlOptions options,
            Map<String, String> environment,
            Function<PagedKv, LocalPool> locals,
            Consumer<KvEvent> sink) {
        this.role = config.role();
        this.engineId = config.engineId();
        this.host = environment.getOrDefault("VLLM_NIXL_SIDE_CHANNEL_HOST", config.ip());
        if (role != KvRole.KV_CONSUMER) {
            Exposure.check("the side channel of " + NAME, host, options.trustedNetwork());
        }
        this.home = NixlHome.find(options.nixlHome(), environment);
        NixlLibrary library = NixlLibrary.load(home);
        boolean gives = role != KvRole.KV_CONSUMER;
        this.local = locals.apply(pool);
        this.mirror = gives && options.vllmPeers() ? Optional.of(mirror(pool, options)) : Optional.empty();
        this.leases = new KvLeases(
                options.leaseDuration(), options.leaseExtension(), System::nanoTime, event -> ended(event, sink));
        CompletableFuture<byte[]> agent = new CompletableFuture<>();
        this.worker = new NixlWorker(
                config.engineId(), options, library, local, mirror, fields, leases, counters, sink, agent);
        try {
            byte[] metadata = NixlWorker.await(agent);
            this.sideChannel = gives
                    ? Optional.of(new SideChannel(
                            host,
                            port(config, environment),
                            payload(config.engineId(), metadata, pool, fields, options),
                            local,
                            leases))
                    : Optional.empty();
        } catch (RuntimeException e) {
            worker.close();
            mirror.ifPresent(Mirror::close);
            local.close();
            throw e;
        }
        PeerAddress self = new PeerAddress(
                config.engineId(), host, sideChannel.map(SideChannel::port).orElse(0));
        this.scheduler = new NixlScheduler(
                self,
                role,
                spec,
                leases,
                worker,
                mirror,
                (requestId, source, first, blocks, end) ->
                        new Load(requestId, source, first, blocks, end, local, options.checksum()));
    }

    /// Why the connector cannot start on this machine, in a sentence; empty if nothing is in the way.
    ///
    /// @param environment like [System#getenv()]
    public static Optional<String> missing(Map<String, String> environment) {
        try {
            NixlHome _ = NixlHome.find(Optional.empty(), environment);
            return Optional.empty();
        } catch (TransferException e) {
            return Optional.of(String.valueOf(e.getMessage()));
        }
    }

    /// Starts the connector; see [dev.baton.transfer.KvConnectorFactory#create].
    public static NixlConnector start(
            KvTransferConfig config,
            KvCacheSpec spec,
            PagedKv pool,
            Map<String, String> compatibility,
            Consumer<KvEvent> sink) {
        return start(config, spec, pool, compatibility, sink, System.getenv(), LocalPool::new);
    }

    static NixlConnector start(
            KvTransferConfig config,
            KvCacheSpec spec,
            PagedKv pool,
            Map<String, String> compatibility,
            Consumer<KvEvent> sink,
            Map<String, String> environment,
            Function<PagedKv, LocalPool> locals) {
        BlockShape.check(spec, pool);
        NixlOptions options = NixlOptions.from(config.extra(), spec, pool.isOnDevice());
        return new NixlConnector(
                config, spec, pool, BlockShape.fields(spec, compatibility), options, environment, locals, sink);
    }

    /// As many blocks as the pool has, because each prompt begins one, within `vllm_mirror_bytes`.
    private static Mirror mirror(PagedKv pool, NixlOptions options) {
        long blockBytes = Mirror.blockBytes(pool, options.vllmBlockTokens());
        long blocks = Math.min(pool.numBlocks(), options.mirrorBytes() / blockBytes);
        if (blocks == 0) {
            throw new TransferException("kv_connector_extra_config: %s is %d; needed: a block's %d at least"
                    .formatted(NixlOptions.MIRROR_BYTES, options.mirrorBytes(), blockBytes));
        }
        return new Mirror(pool, options.vllmBlockTokens(), (int) blocks);
    }

    private static int port(KvTransferConfig config, Map<String, String> environment) {
        String value = environment.get("VLLM_NIXL_SIDE_CHANNEL_PORT");
        if (value == null) {
            return config.port();
        }
        try {
            int port = Integer.parseInt(value);
            if (port >= 0 && port <= MAX_PORT) {
                return port;
            }
        } catch (NumberFormatException e) {
            // said below
        }
        throw new TransferException("VLLM_NIXL_SIDE_CHANNEL_PORT is \"%s\"; needed: a port".formatted(value));
    }

    private byte[] payload(
            String engineId, byte[] agent, PagedKv pool, SortedMap<String, String> fields, NixlOptions options) {
        int regions = pool.layers();
        long[] bases = new long[regions];
        long[] lengths = new long[regions];
        Optional<Mirror> shown = mirror;
        for (int layer = 0; layer < regions; layer++) {
            bases[layer] =
                    shown.isPresent() ? shown.get().base(layer) : local.address() + pool.keyOffsetBytes(0, layer, 0);
        }
        Arrays.fill(lengths, shown.map(Mirror::partBytes).orElse(pool.blockBytes() / regions));
        AgentMetadata metadata = new AgentMetadata(
                engineId,
                agent,
                bases,
                local.deviceId(),
                shown.map(Mirror::numBlocks).orElse(pool.numBlocks()),
                lengths,
                shown.isPresent() ? lengths : filled(regions, pool.blockBytes()),
                shown.isPresent() ? "LBHNC" : "BLKHN",
                shown.isPresent() ? options.vllmBlockTokens() : pool.blockTokens(),
                ATTENTION_BACKEND,
                1,
                Collections.nCopies(
                        regions, local.memory() == NixlAgent.VRAM ? AgentMetadata.VRAM : AgentMetadata.DRAM),
                1,
                Optional.of(new AgentMetadata.BatonPool(
                        local.address(), pool.blockBytes(), pool.numBlocks(), fields, local.sums())));
        Map<String, Object> payload = new LinkedHashMap<>();
        // Without a mirror no vLLM engine can read here: it refuses a hash that is not its own.
        payload.put(
                "compatibility_hash",
                shown.isPresent() ? options.compatibility().hash() : "baton, vllm_peers is false");
        payload.put("agent_metadata_bytes", metadata.encode());
        return MsgPack.write(payload);
    }

    private static long[] filled(int size, long value) {
        long[] values = new long[size];
        Arrays.fill(values, value);
        return values;
    }

    /// Ends what the connector holds for a lease beside the pool's blocks, then tells the engine.
    private void ended(KvEvent event, Consumer<KvEvent> sink) {
        mirror.ifPresent(it -> it.free(event.requestId()));
        sink.accept(event);
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
    public Optional<KvPeer> peer() {
        return Optional.of(
                new KvPeer(engineId, host, sideChannel.map(SideChannel::port).orElse(0), false));
    }

    @Override
    public KvTransferStats stats() {
        return counters.snapshot(leases.numExpired());
    }

    @Override
    public void addTo(Metrics metrics) {
        worker.addTo(metrics);
    }

    @Override
    public String describe() {
        String name = role.name().toLowerCase(Locale.ROOT);
        String channel = sideChannel
                .map(it -> "side channel %s:%d%s"
                        .formatted(
                                host,
                                it.port(),
                                mirror.map(m -> ", mirror of %d MiB for vLLM"
                                                .formatted(m.segment().byteSize() >> 20))
                                        .orElse("")))
                .orElse("reads only");
        return "%s %s, %s, NIXL of %s"
                .formatted(NAME, name, channel, home.sharedObject().getParent());
    }

    @Override
    public void close() {
        sideChannel.ifPresent(SideChannel::close);
        worker.close();
        leases.expireAll();
        mirror.ifPresent(Mirror::close);
        local.close();
    }
}
