package dev.baton.transfer.p2p;

import dev.baton.kvcache.KvCacheSpec;
import dev.baton.metrics.Metrics;
import dev.baton.tensor.DeviceBlocks;
import dev.baton.tensor.PagedKv;
import dev.baton.transfer.BlockShape;
import dev.baton.transfer.Exposure;
import dev.baton.transfer.KvConnector;
import dev.baton.transfer.KvEvent;
import dev.baton.transfer.KvLeases;
import dev.baton.transfer.KvTransferConfig;
import dev.baton.transfer.KvTransferParams;
import dev.baton.transfer.KvTransferStats;
import dev.baton.transfer.TransferException;
import dev.baton.transfer.tcp.Counters;
import dev.baton.transfer.tcp.ExpiryTimer;
import dev.baton.wire.Threads;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.SortedMap;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/// vLLM's `P2pNcclConnector` by its registration, its ids and its control messages: works behind vLLM's own
/// proxy for it, behind that of PPD, and behind the router. Between Batons blocks go over NCCL if they are on
/// GPUs, and else over TCP; a vLLM is refused. `docs/p2p-nccl-connector.md` describes it.
///
/// Thread-safe as its interfaces say; its threads are platform threads named `baton-kv-...`.
public final class P2pNcclConnector implements KvConnector {
    /// Its `kv_connector`.
    public static final String NAME = "P2pNcclConnector";

    private final KvTransferConfig config;
    private final P2pOptions options;
    private final @Nullable DeviceBlocks device;
    private final Endpoint self;
    private final Counters counters = new Counters();
    private final KvLeases leases;
    private final Arrivals arrivals;
    private final Offers offers;
    private final Refusals refusals = new Refusals();
    private final Peers peers;
    private final PeerServer server;
    private final Pushes pushes;
    private final Loads loads;
    private final P2pScheduler scheduler;
    private final Optional<ProxyPing> ping;
    private final Worker worker = new Worker();
    private final ScheduledThreadPoolExecutor timer = new ScheduledThreadPoolExecutor(
            1, Thread.ofPlatform().daemon().name("baton-kv-timer").factory());
    private final ExpiryTimer expiry = new ExpiryTimer(timer, this::expireDue);

    private P2pNcclConnector(
            KvTransferConfig config,
            KvCacheSpec spec,
            PagedKv pool,
            Compatibility compatibility,
            P2pOptions options,
            @Nullable DeviceBlocks device,
            Consumer<KvEvent> sink) {
        this.config = config;
        this.options = options;
        this.device = device;
        this.offers = new Offers(options.bufferBytes());
        this.leases = new KvLeases(options.leaseDuration(), options.leaseDuration(), System::nanoTime, event -> {
            offers.ended(event.requestId());
            sink.accept(event);
        });
        this.arrivals = new Arrivals(
                pool.blockBytes(),
                options.bufferBytes() + options.poolBytes(),
                options.leaseDuration().toNanos(),
                device);
        this.timer.setRemoveOnCancelPolicy(true);
        try {
            this.server = new PeerServer(
                    new Endpoint(config.ip(), config.port()),
                    pool,
                    compatibility,
                    options,
                    leases,
                    arrivals,
                    offers,
                    refusals,
                    counters,
                    expiry::schedule,
                    device);
        } catch (RuntimeException | Error e) {
            timer.shutdownNow();
            throw e;
        }
        this.self = new Endpoint(config.ip(), server.port());
        this.peers = new Peers(peer -> new PeerConnection(peer, self, compatibility, options, device));
        this.pushes = new Pushes(pool, options.sendType(), leases, peers, refusals, counters);
        this.loads = new Loads(pool, options, arrivals, peers, server::isForeign, counters, sink);
        this.scheduler = new P2pScheduler(
                self,
                config.role(),
                spec,
                options,
                leases,
                new P2pScheduler.Actions(loads::start, loads::release, pushes, offers),
                expiry::schedule);
        try {
            this.ping = options.proxy().map(proxy -> new ProxyPing(proxy, config.role(), self, options.httpPort()));
        } catch (RuntimeException | Error e) {
            closeParts();
            throw e;
        }
    }

    /// Starts the connector; see [dev.baton.transfer.KvConnectorFactory#create].
    public static P2pNcclConnector start(
            KvTransferConfig config,
            KvCacheSpec spec,
            PagedKv pool,
            Map<String, String> compatibility,
            Consumer<KvEvent> sink) {
        BlockShape.checkForMessages(spec, pool);
        P2pOptions options = P2pOptions.from(config.extra());
        Exposure.check(NAME, config.ip(), options.trustedNetwork());
        SortedMap<String, String> fields = BlockShape.fields(spec, compatibility);
        fields.put("send_type", options.fetches() ? "GET" : "PUT or PUT_ASYNC");
        fields.put("data", pool.isOnDevice() ? "nccl" : "tcp");
        DeviceBlocks device = pool.isOnDevice() ? openDevice(pool) : null;
        try {
            return new P2pNcclConnector(config, spec, pool, Compatibility.of(fields), options, device, sink);
        } catch (RuntimeException | Error e) {
            if (device != null) {
                device.close();
            }
            throw e;
        }
    }

    private static DeviceBlocks openDevice(PagedKv pool) {
        DeviceBlocks device = pool.openDeviceBlocks();
        Optional<String> obstacle = device.linkObstacle();
        if (obstacle.isPresent()) {
            device.close();
            throw new TransferException("%s: %s".formatted(NAME, obstacle.get()));
        }
        return device;
    }

    /// Ends leases, and drops what nobody came for.
    private long expireDue() {
        return Math.min(leases.expireDue(), arrivals.expireDue(System.nanoTime()));
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
        return counters.snapshot(leases.numExpired());
    }

    /// Where others reach this instance: what it registers as its `zmq_address`.
    public String zmqAddress() {
        return self.toString();
    }

    /// Memory taken by what was pushed and waits for its request.
    long numArrivedBytes() {
        return arrivals.numBytes();
    }

    @Override
    public void addTo(Metrics metrics) {
        counters.addTo(metrics);
    }

    @Override
    public String describe() {
        return "%s %s, %s over %s on %s%s"
                .formatted(
                        NAME,
                        config.role().name().toLowerCase(Locale.ROOT),
                        options.sendType(),
                        device == null ? "tcp" : "nccl",
                        self,
                        options.proxy().map(it -> ", registers at " + it).orElse(""));
    }

    @Override
    public void close() {
        ping.ifPresent(ProxyPing::close);
        closeParts();
        if (device != null) {
            device.close();
        }
    }

    /// All that is begun before the pings, and ends after them.
    private void closeParts() {
        timer.shutdownNow();
        peers.close();
        pushes.close();
        loads.close();
        server.close();
        leases.expireAll();
        arrivals.close();
        Threads.awaitEnd(timer);
    }

    private final class Worker implements WorkerSide {
        @Override
        public void cancelLoad(String requestId) {
            loads.cancel(requestId);
        }

        /// Parameters name no hand-off here: ids do.
        @Override
        public void release(KvTransferParams params) {}

        @Override
        public void dropLease(String requestId) {
            leases.drop(requestId);
        }

        @Override
        public int numLeases() {
            return leases.size();
        }

        @Override
        public int numLoads() {
            return loads.size();
        }
    }
}
