package dev.baton.transfer.mooncake;

import dev.baton.kvcache.KvCacheSpec;
import dev.baton.metrics.Metrics;
import dev.baton.tensor.PagedKv;
import dev.baton.transfer.BlockShape;
import dev.baton.transfer.Exposure;
import dev.baton.transfer.KvConnector;
import dev.baton.transfer.KvEvent;
import dev.baton.transfer.KvLeases;
import dev.baton.transfer.KvRole;
import dev.baton.transfer.KvTransferConfig;
import dev.baton.transfer.KvTransferParams;
import dev.baton.transfer.KvTransferStats;
import dev.baton.transfer.TransferException;
import dev.baton.transfer.mooncake.BootstrapServer.Registration;
import dev.baton.transfer.tcp.Counters;
import dev.baton.transfer.tcp.ExpiryTimer;
import dev.baton.wire.Threads;
import java.net.ProtocolException;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.SortedMap;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.function.Consumer;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// vLLM's `MooncakeConnector`: a decoder asks, and the prefiller pushes its blocks into the decoder's memory over
/// Mooncake's TCP protocol. `docs/mooncake-connector.md` describes it.
///
/// A producer has a bootstrap server and a side channel; a consumer has a Transfer Engine that is written to;
/// `kv_both` has all. Semantics are those of vLLM 0.32. Thread-safe as its interfaces say; its threads are platform
/// threads named `baton-kv-...`.
public final class MooncakeConnector implements KvConnector {
    /// Its `kv_connector`.
    public static final String NAME = "MooncakeConnector";

    /// Names blocks that travel as Baton has them.
    static final String LAYOUT = "baton" + BlockShape.LAYOUT;

    private static final Logger LOG = LoggerFactory.getLogger(MooncakeConnector.class);

    private final KvTransferConfig config;
    private final MooncakeOptions options;
    private final Counters counters = new Counters();
    private final KvLeases leases;
    private final Optional<Pusher> pusher;
    private final Optional<Receiver> receiver;
    private final Optional<BootstrapServer> bootstrap;
    private final MooncakeScheduler scheduler;
    private final Worker worker = new Worker();
    private final ScheduledThreadPoolExecutor timer = new ScheduledThreadPoolExecutor(
            1, Thread.ofPlatform().daemon().name("baton-kv-timer").factory());
    private final ExpiryTimer expiry = new ExpiryTimer(timer, this::expireDue);

    private MooncakeConnector(
            KvTransferConfig config,
            KvCacheSpec spec,
            PagedKv pool,
            SortedMap<String, String> compatibility,
            MooncakeOptions options,
            Consumer<KvEvent> sink) {
        Exposure.check(NAME, config.ip(), options.trustedNetwork());
        this.config = config;
        this.options = options;
        this.leases = new KvLeases(
                options.abortTimeout(), options.abortTimeout(), System::nanoTime, event -> leaseEnded(event, sink));
        this.timer.setRemoveOnCancelPolicy(true);
        Optional<Pusher> startedPusher = Optional.empty();
        Optional<Receiver> startedReceiver = Optional.empty();
        try {
            if (config.role() != KvRole.KV_CONSUMER) {
                startedPusher = Optional.of(
                        new Pusher(pool, compatibility, config.ip(), options, leases, counters, expiry::schedule));
            }
            if (config.role() != KvRole.KV_PRODUCER) {
                startedReceiver = Optional.of(new Receiver(pool, compatibility, config.ip(), options, counters, sink));
            }
            bootstrap = startedPusher.map(started -> startBootstrap(started.address()));
        } catch (RuntimeException e) {
            startedPusher.ifPresent(Pusher::close);
            startedReceiver.ifPresent(Receiver::close);
            timer.shutdownNow();
            throw e;
        }
        this.pusher = startedPusher;
        this.receiver = startedReceiver;
        this.scheduler = new MooncakeScheduler(
                config.engineId(),
                config.role(),
                spec,
                options,
                leases,
                pusher.map(Pusher::rendezvous),
                load -> receiver.ifPresent(it -> it.start(load)),
                this::release,
                expiry::schedule);
    }

    /// Starts the connector; see [dev.baton.transfer.KvConnectorFactory#create].
    public static MooncakeConnector start(
            KvTransferConfig config,
            KvCacheSpec spec,
            PagedKv pool,
            Map<String, String> compatibility,
            Consumer<KvEvent> sink) {
        BlockShape.checkForMessages(spec, pool);
        if (!XferMetadata.isId(config.engineId())) {
            throw new TransferException("engine_id is empty, too long or has control characters");
        }
        MooncakeOptions options = MooncakeOptions.from(config.extra(), System.getenv());
        if (options.vllmLayout().isPresent() && pool.layers() > Receiver.MAX_VLLM_LAYERS) {
            throw new TransferException("vllm_kv_layout: at most %d layers can be exchanged with vLLM, the model has %d"
                    .formatted(Receiver.MAX_VLLM_LAYERS, pool.layers()));
        }
        SortedMap<String, String> fields = BlockShape.fields(spec, compatibility);
        fields.put("kv_cache_layout", LAYOUT);
        return new MooncakeConnector(config, spec, pool, fields, options, sink);
    }

    private BootstrapServer startBootstrap(String workerAddress) {
        BootstrapServer server = new BootstrapServer(config.ip(), options.bootstrapPort());
        try {
            server.register(new Registration(config.engineId(), 0, 0, 0, workerAddress, LAYOUT));
        } catch (ProtocolException e) {
            server.close();
            throw new TransferException("the bootstrap server refuses its own worker", e);
        }
        return server;
    }

    private void leaseEnded(KvEvent event, Consumer<KvEvent> sink) {
        String reason = event instanceof KvEvent.LeaseExpired
                ? "the prefiller's blocks expired before they were asked for"
                : "the prefiller's blocks are released already";
        pusher.ifPresent(it -> it.rendezvous().ended(event.requestId(), reason));
        sink.accept(event);
    }

    /// Ends leases and questions that have run out.
    private long expireDue() {
        long next = leases.expireDue();
        return pusher.map(it -> Math.min(next, it.rendezvous().expireDue(System.nanoTime())))
                .orElse(next);
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

    /// Where decoders find the workers of this instance; empty if it is a decoder only.
    public Optional<String> bootstrapAddress() {
        return bootstrap.map(it -> "http://%s:%d".formatted(config.ip(), it.port()));
    }

    /// Decoders' questions that wait for their prefill.
    int numQuestions() {
        return pusher.map(it -> it.rendezvous().numWaiting()).orElse(0);
    }

    @Override
    public void addTo(Metrics metrics) {
        counters.addTo(metrics);
    }

    @Override
    public String describe() {
        String role = config.role().name().toLowerCase(Locale.ROOT);
        return "%s %s over tcp%s%s"
                .formatted(
                        NAME,
                        role,
                        bootstrapAddress().map(it -> ", bootstrap server " + it).orElse(""),
                        receiver.map(it -> ", Transfer Engine on %s:%d".formatted(config.ip(), it.port()))
                                .orElse(""));
    }

    /// Nobody comes for what a request names; it may be this instance's own.
    private void release(MooncakeLoad.Source source) {
        if (source.engineId().equals(config.engineId())) {
            pusher.flatMap(it -> it.rendezvous().lease(source.transferId())).ifPresent(leases::release);
        } else {
            receiver.ifPresent(it -> it.release(source));
        }
    }

    @Override
    public void close() {
        timer.shutdownNow();
        bootstrap.ifPresent(BootstrapServer::close);
        pusher.ifPresent(Pusher::close);
        receiver.ifPresent(Receiver::close);
        leases.expireAll();
        Threads.awaitEnd(timer);
    }

    private final class Worker implements WorkerSide {
        @Override
        public void cancelLoad(String requestId) {
            receiver.ifPresent(it -> it.cancel(requestId));
        }

        @Override
        public void release(KvTransferParams params) {
            try {
                if (params.doRemotePrefill()) {
                    MooncakeConnector.this.release(MooncakeScheduler.source(params, options));
                } else if (params.doRemoteDecode()) {
                    String transferId = MooncakeScheduler.id(params, "transfer_id");
                    pusher.ifPresent(it -> it.rendezvous().notHeld(transferId, "the prefiller refused the request"));
                }
            } catch (IllegalArgumentException e) {
                LOG.warn("kv_transfer_params not used: {}", e.getMessage());
            }
        }

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
            return receiver.map(Receiver::numLoads).orElse(0);
        }
    }
}
