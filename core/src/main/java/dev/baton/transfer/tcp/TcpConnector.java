package dev.baton.transfer.tcp;

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
import dev.baton.wire.Threads;
import java.nio.charset.StandardCharsets;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;

/// The connector that comes with Baton: a decoder pulls the blocks that it misses over TCP, each one checksummed,
/// straight from and into the off-heap pools. Pools on GPUs go through pinned host memory, or, between processes
/// of one host, from GPU to GPU. `docs/tcp-connector.md` describes the protocol.
///
/// A producer listens; a consumer dials; `kv_both` does both. Semantics (leases, heartbeats, release) are those of
/// vLLM's NIXL connector. Thread-safe as its interfaces say; its threads are platform threads named `baton-kv-...`.
public final class TcpConnector implements KvConnector {
    /// Its `kv_connector`.
    public static final String NAME = "TcpConnector";

    private final KvTransferConfig config;
    private final LocalPool pool;
    private final Counters counters = new Counters();
    private final KvLeases leases;
    private final PushedPrompts pushed;
    private final TcpWorker worker;
    private final TcpScheduler scheduler;
    private final Optional<Transport.Listener> server;
    private final ScheduledThreadPoolExecutor timer = new ScheduledThreadPoolExecutor(
            1, Thread.ofPlatform().daemon().name("baton-kv-timer").factory());

    private TcpConnector(
            KvTransferConfig config,
            KvCacheSpec spec,
            LocalPool pool,
            Hello self,
            TcpOptions options,
            Transport transport,
            Consumer<KvEvent> sink) {
        this.config = config;
        this.pool = pool;
        this.leases = new KvLeases(options.leaseDuration(), options.leaseExtension(), System::nanoTime, event -> {
            leaseEnded(event);
            sink.accept(event);
        });
        this.pushed = new PushedPrompts(spec, leases);
        this.worker = new TcpWorker(self, options, pool, leases, pushed, counters, transport, timer, sink);
        LeaseHolders holders = new LeaseHolders(pushed, timer);
        this.server = config.role() == KvRole.KV_CONSUMER
                ? Optional.empty()
                : Optional.of(transport.listen(
                        config.ip(),
                        config.port(),
                        options.maxConnections(),
                        wire -> new ServedConnection(wire, self, pool, leases, pushed, holders, options, counters)));
        int port = server.map(Transport.Listener::port).orElse(0);
        ExpiryTimer expiry = new ExpiryTimer(timer, leases::expireDue);
        this.scheduler = new TcpScheduler(
                self, config.role(), spec, config.ip(), port, leases, pushed, worker, expiry::schedule);
        this.timer.setRemoveOnCancelPolicy(true);
    }

    /// Starts the connector; see [dev.baton.transfer.KvConnectorFactory#create].
    public static TcpConnector start(
            KvTransferConfig config,
            KvCacheSpec spec,
            PagedKv pool,
            Map<String, String> compatibility,
            Consumer<KvEvent> sink) {
        return start(config, spec, pool, compatibility, sink, Hello.OLDEST_VERSION, Hello.VERSION, Transport.SOCKETS);
    }

    /// Starts a connector that speaks these protocol versions over that transport.
    static TcpConnector start(
            KvTransferConfig config,
            KvCacheSpec spec,
            PagedKv pool,
            Map<String, String> compatibility,
            Consumer<KvEvent> sink,
            int minVersion,
            int maxVersion,
            Transport transport) {
        BlockShape.checkForMessages(spec, pool);
        TcpOptions options = TcpOptions.from(config.extra());
        if (config.role() != KvRole.KV_CONSUMER
                && transport.equals(Transport.SOCKETS)
                && options.key().isEmpty()) {
            Exposure.check(
                    NAME,
                    config.ip(),
                    options.trustedNetwork(),
                    "give %s, or set %s to true".formatted(TcpOptions.KEY_FILE, Exposure.TRUSTED_NETWORK));
        }
        LocalPool local = new LocalPool(pool, options.cudaIpc(), options.sharedMemory());
        try {
            Hello self = new Hello(
                    minVersion,
                    maxVersion,
                    config.engineId(),
                    "",
                    BlockShape.fields(spec, compatibility),
                    local.offer());
            checkLengths(self);
            TcpConnector connector = new TcpConnector(config, spec, local, self, options, transport, sink);
            connector.startHeartbeats(options);
            return connector;
        } catch (RuntimeException | Error e) {
            local.close();
            throw e;
        }
    }

    /// Whether other processes of this host are to map the pool of an instance that is configured so.
    public static boolean sharesMemory(KvTransferConfig config) {
        return config.role() != KvRole.KV_CONSUMER
                && TcpOptions.from(config.extra()).sharedMemory();
    }

    private void leaseEnded(KvEvent event) {
        pushed.take(event);
    }

    private static void checkLengths(Hello self) {
        int total = 0;
        for (Map.Entry<String, String> field : self.compatibility().entrySet()) {
            int name = field.getKey().getBytes(StandardCharsets.UTF_8).length;
            int value = field.getValue().getBytes(StandardCharsets.UTF_8).length;
            total += name + value + 2 * Short.BYTES;
            if (FrameChannel.hasControls(field.getKey() + field.getValue())) {
                throw new TransferException(
                        "compatibility field \"%s\" has control characters; use a digest".formatted(field.getKey()));
            }
            if (name > Limits.MAX_FIELD_NAME_BYTES || value > Limits.MAX_FIELD_VALUE_BYTES) {
                throw new TransferException(
                        "compatibility field \"%s\" is too long: name %d bytes of %d, value %d of %d"
                                .formatted(
                                        field.getKey(),
                                        name,
                                        Limits.MAX_FIELD_NAME_BYTES,
                                        value,
                                        Limits.MAX_FIELD_VALUE_BYTES));
            }
        }
        if (!Limits.isId(self.engineId())) {
            throw new TransferException("engine_id \"%s\": needed are 1 to %d bytes without control characters"
                    .formatted(self.engineId(), Limits.MAX_ID_BYTES));
        }
        if (self.compatibility().size() > Limits.MAX_FIELDS
                || total > FrameType.HELLO.maxBodyBytes() - 3 * (Limits.MAX_ID_BYTES + Limits.MAX_OFFER_BYTES)) {
            throw new TransferException("the compatibility map is too long: %d fields, %d bytes"
                    .formatted(self.compatibility().size(), total));
        }
    }

    private void startHeartbeats(TcpOptions options) {
        long interval = options.heartbeatInterval().toNanos();
        ScheduledFuture<?> _ = timer.scheduleWithFixedDelay(
                Threads.surviving("heartbeats", worker::tick), interval, interval, TimeUnit.NANOSECONDS);
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
        int port = server.map(Transport.Listener::port).orElse(0);
        return Optional.of(new KvPeer(config.engineId(), config.ip(), port, true));
    }

    @Override
    public KvTransferStats stats() {
        return counters.snapshot(leases.numExpired());
    }

    /// Bytes of blocks that arrived before the prefill of their prompt had ended.
    public long bytesBeforeFirstToken() {
        return counters.bytesBeforeFirstToken.sum();
    }

    @Override
    public void addTo(Metrics metrics) {
        counters.addTo(metrics);
        metrics.counter(
                "baton:kv_pushed_transfers",
                "Loads that took a prompt while its prefiller computed it, and ended well.",
                counters.pushedTransfers::sum);
        metrics.counter(
                "baton:kv_bytes_before_first_token",
                "Bytes of blocks that arrived before the prefill of their prompt had ended.",
                this::bytesBeforeFirstToken);
    }

    @Override
    public String describe() {
        String role = config.role().name().toLowerCase(Locale.ROOT);
        return server.map(it -> "%s %s on %s:%d".formatted(NAME, role, config.ip(), it.port()))
                .orElse("%s %s, dials only".formatted(NAME, role));
    }

    @Override
    public void close() {
        timer.shutdownNow();
        worker.close();
        pushed.close();
        server.ifPresent(Transport.Listener::close);
        leases.expireAll();
        pool.close();
        Threads.awaitEnd(timer);
    }
}
