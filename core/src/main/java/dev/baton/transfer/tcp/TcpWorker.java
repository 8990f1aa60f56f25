package dev.baton.transfer.tcp;

import dev.baton.transfer.KvConnector;
import dev.baton.transfer.KvEvent;
import dev.baton.transfer.KvLeases;
import dev.baton.transfer.KvPeer;
import dev.baton.transfer.KvTransferParams;
import dev.baton.transfer.RemotePrefill;
import dev.baton.transfer.TransferException;
import dev.baton.wire.Threads;
import java.io.IOException;
import java.net.ConnectException;
import java.security.SecureRandom;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Consumer;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// The worker side over TCP: loads, heartbeats and releases, on threads of its own.
///
/// Fairness: up to `kv_connections_per_peer` loads at a time from each prefiller, each on a connection of its own,
/// so that the kernel shares the link among them and no load waits for a slow peer that is not its own; the others
/// wait in order. A large load that comes while there is no other may take a second connection. Connections are
/// kept and used again.
final class TcpWorker implements KvConnector.WorkerSide {
    private static final Logger LOG = LoggerFactory.getLogger(TcpWorker.class);

    /// How long a new request may wait before its prefiller hears of this decoder. Most are loaded by then.
    private static final Duration CLAIM_AFTER = Duration.ofMillis(100);

    private static final String CLOSED = "the connector was closed";

    private final Hello self;
    private final TcpOptions options;
    private final long blockBytes;
    private final boolean isOnDevice;
    private final KvLeases leases;
    private final PushedPrompts pushed;
    private final Counters counters;
    private final Consumer<KvEvent> sink;
    private final Peer.Dialler dialler;
    private final ScheduledThreadPoolExecutor timer;
    private final AtomicBoolean claiming = new AtomicBoolean();
    private final AtomicLong epochs = new AtomicLong(new SecureRandom().nextLong());
    private final Map<PeerAddress, Peer> peers = new ConcurrentHashMap<>();
    private final Map<String, BlockLoad> loads = new ConcurrentHashMap<>();
    /// Bounded by the peers and their connections.
    private final ExecutorService threads = Threads.perTask("baton-kv-load-");
    private volatile boolean closed;

    TcpWorker(
            Hello self,
            TcpOptions options,
            LocalPool pool,
            KvLeases leases,
            PushedPrompts pushed,
            Counters counters,
            Transport transport,
            ScheduledThreadPoolExecutor timer,
            Consumer<KvEvent> sink) {
        this.self = self;
        this.options = options;
        this.blockBytes = pool.blockBytes();
        this.isOnDevice = pool.isOnDevice();
        this.leases = leases;
        this.pushed = pushed;
        this.counters = counters;
        this.sink = sink;
        this.timer = timer;
        PeerPools pools = new PeerPools(pool);
        this.dialler = address -> new PeerConnection(address, self, options, pool, pools, counters, transport.dial());
    }

    void startLoad(TcpLoad load) {
        if (load.localBlockIds().length == 0) {
            release(load.source());
            return;
        }
        BlockLoad begun = new BlockLoad(load, blockBytes, counters, epochs, sink);
        if (loads.putIfAbsent(load.requestId(), begun) != null) {
            throw new TransferException("request %s is loading already".formatted(load.requestId()));
        }
        boolean underWay = load.source().isUnderWay();
        Optional<Peer> peer = peer(load.source(), it -> {
            it.watch(load.source().requestId());
            if (!underWay) {
                it.enqueue(begun);
            }
        });
        if (peer.isEmpty()) {
            report(begun, Optional.of("more than %d prefillers at a time".formatted(Limits.MAX_PEERS)));
        } else if (underWay) {
            // It waits for its prefill, and others must not wait with it.
            execute(() -> run(peer.get(), begun), () -> end(peer.get(), begun, Optional.of(CLOSED)));
        } else if (closed) {
            begun.cancel(CLOSED);
            if (peer.get().remove(begun)) {
                end(peer.get(), begun, Optional.of(CLOSED));
            }
        } else if (peer.get().beginRunning()) {
            execute(
                    () -> runLoads(peer.get()),
                    () -> peer.get().close().forEach(it -> end(peer.get(), it, Optional.of(CLOSED))));
        }
    }

    @Override
    public void cancelLoad(String requestId) {
        BlockLoad load = loads.get(requestId);
        if (load == null) {
            return;
        }
        load.cancel("cancelled");
        Peer peer = peers.get(PeerAddress.of(load.source()));
        if (peer != null && peer.remove(load)) {
            Runnable end = () -> end(peer, load, Optional.of("cancelled"));
            execute(end, end);
        }
    }

    @Override
    public void release(KvTransferParams params) {
        if (params.doRemotePrefill()) {
            try {
                release(
                        RemotePrefill.isUnderWay(params)
                                ? RemotePrefill.underWay(params, 1) // however long it is
                                : RemotePrefill.of(params));
            } catch (IllegalArgumentException e) {
                LOG.warn("kv_transfer_params not used: {}", e.getMessage());
            }
        }
    }

    void release(RemotePrefill source) {
        if (source.engineId().equals(self.engineId())) {
            pushed.release(source.requestId());
            return;
        }
        Optional<String> problem = problem(source);
        if (problem.isPresent()) {
            LOG.warn("kv_transfer_params not used: {}", problem.get());
            return;
        }
        peer(source, it -> it.addRelease(source.requestId())).ifPresent(this::deliverSoon);
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
        return loads.size();
    }

    /// Why the prefiller that the parameters name cannot or may not even be told anything, if so.
    Optional<String> problem(RemotePrefill source) {
        return PeerAddress.problem(source).or(() -> forbidden(source.host()));
    }

    private Optional<String> forbidden(String host) {
        boolean allowed =
                options.allowedHosts().isEmpty() || options.allowedHosts().contains(host);
        return allowed ? Optional.empty() : Optional.of("remote_host %s is not among kv_allowed_hosts".formatted(host));
    }

    @Override
    public void connect(KvPeer peer) {
        if (peer.port() == 0 || peer.engineId().equals(self.engineId())) {
            return;
        }
        PeerAddress address = PeerAddress.of(peer);
        Optional<String> problem = address.problem().or(() -> forbidden(peer.host()));
        if (problem.isPresent()) {
            LOG.warn("not connected to a KV peer: {}", problem.get());
            return;
        }
        if (peers.size() < Limits.MAX_ACQUAINTANCES || peers.containsKey(address)) {
            peer(address, Peer::stayConnected).ifPresent(this::deliverSoon);
        }
    }

    /// Renews the lease of a request that waits here, from now until it is released or lost.
    void watch(RemotePrefill source) {
        peer(source, it -> it.watch(source.requestId()));
        if (!timer.isShutdown() && claiming.compareAndSet(false, true)) {
            ScheduledFuture<?> _ = timer.schedule(
                    Threads.surviving("claims", this::claim), CLAIM_AFTER.toNanos(), TimeUnit.NANOSECONDS);
        }
    }

    /// Lets prefillers know whose leases are watched here now: those end if this decoder does.
    private void claim() {
        claiming.set(false);
        peers.values().forEach(peer -> {
            peer.claimDue();
            deliverSoon(peer);
        });
    }

    /// Sends heartbeats and tidies up; to be called once a heartbeat interval.
    void tick() {
        for (PeerAddress address : peers.keySet()) {
            peers.computeIfPresent(address, (key, peer) -> {
                peer.closeIdle(options.idleTimeout().dividedBy(2));
                peer.heartbeatDue(options.idleTimeout().dividedBy(2));
                return peer.isForgettable() ? null : peer;
            });
        }
        peers.values().forEach(this::deliverSoon);
    }

    /// Fails the loads in flight; returns when no thread of this worker runs any more.
    void close() {
        closed = true;
        loads.values().forEach(load -> load.cancel(CLOSED));
        for (Peer peer : peers.values()) {
            peer.close().forEach(load -> end(peer, load, Optional.of(CLOSED)));
        }
        threads.shutdown();
        Threads.awaitEnd(threads);
    }

    /// Finds or makes the peer and changes it, so that [#tick] cannot forget it in between.
    private Optional<Peer> peer(RemotePrefill source, Consumer<Peer> change) {
        return peer(PeerAddress.of(source), change);
    }

    private Optional<Peer> peer(PeerAddress address, Consumer<Peer> change) {
        if (peers.size() >= Limits.MAX_PEERS && !peers.containsKey(address)) {
            LOG.warn("{} is not dealt with: {} prefillers are known already", address, Limits.MAX_PEERS);
            return Optional.empty();
        }
        return Optional.of(peers.compute(address, (key, known) -> {
            Peer peer = known == null ? new Peer(key, dialler, options.connectionsPerPeer()) : known;
            change.accept(peer);
            return peer;
        }));
    }

    private void runLoads(Peer peer) {
        for (Optional<BlockLoad> next = peer.next(); next.isPresent(); next = peer.next()) {
            run(peer, next.get());
        }
    }

    private void run(Peer peer, BlockLoad load) {
        if (closed) {
            load.cancel(CLOSED);
        }
        Optional<String> failure;
        try {
            failure = load.run(peer, !isOnDevice && peer.hasOneLoad(), task -> execute(task, task));
        } catch (RuntimeException | OutOfMemoryError e) {
            LOG.error("load of {} failed", load.requestId(), e);
            failure = Optional.of("internal error: " + e);
        }
        end(peer, load, failure);
    }

    /// Reports first, then lets the prefiller know: nothing writes into the blocks any more.
    private void end(Peer peer, BlockLoad load, Optional<String> failure) {
        peer.addRelease(load.source().requestId());
        report(load, failure);
        deliverSoon(peer);
    }

    private void report(BlockLoad load, Optional<String> failure) {
        loads.remove(load.requestId(), load);
        if (failure.isPresent()) {
            if (load.isOverEarly()) {
                LOG.debug("KV load of {} is not needed any more", load.requestId());
            } else {
                counters.failedTransfers.increment();
                LOG.info("KV load of {} failed: {}", load.requestId(), failure.get());
            }
            sink.accept(new KvEvent.KvFailed(load.requestId(), failure.get()));
        } else {
            counters.loaded(load.elapsedNanos(), load.numBytes(), load.numBlocks());
            counters.pushedTransfers.add(load.source().isUnderWay() ? 1 : 0);
            sink.accept(new KvEvent.KvArrived(load.requestId(), load.numTokens(), load.numBytes()));
        }
    }

    private void deliverSoon(Peer peer) {
        if (peer.beginDelivery()) {
            execute(() -> deliver(peer), peer::endDelivery);
        }
    }

    /// Delivers releases and heartbeats to one peer.
    private void deliver(Peer peer) {
        while (true) {
            boolean reused = false;
            try {
                PeerConnection connection = peer.borrow();
                boolean keep = false;
                try {
                    reused = connection.isOpen();
                    if (!reused) {
                        connection.open();
                    }
                    deliverOver(connection, peer);
                    keep = true;
                } finally {
                    peer.giveBack(connection, keep);
                }
                peer.endDelivery();
                deliverSoon(peer); // what came after the last look
                return;
            } catch (IOException e) {
                if (!reused) {
                    boolean hopeless = e instanceof PeerRefusedException || e instanceof ConnectException;
                    LOG.debug("releases and heartbeats to {} failed: {}", peer.address(), e.toString());
                    counters.failedNotifications.increment();
                    peer.deliveryFailed(hopeless);
                    return;
                }
            } catch (RuntimeException e) {
                LOG.error("releases and heartbeats to {} failed", peer.address(), e);
                counters.failedNotifications.increment();
                peer.deliveryFailed(true);
                return;
            }
        }
    }

    private static void deliverOver(PeerConnection connection, Peer peer) throws IOException {
        boolean used = false;
        for (Optional<String> next = peer.firstRelease(); next.isPresent(); next = peer.firstRelease()) {
            connection.release(next.get());
            peer.delivered(next.get());
            used = true;
        }
        List<String> handles = peer.takeHeartbeats();
        for (int from = 0; from < handles.size(); from += Limits.MAX_HEARTBEAT_IDS) {
            int to = Math.min(handles.size(), from + Limits.MAX_HEARTBEAT_IDS);
            peer.unwatch(connection.heartbeat(handles.subList(from, to)));
            used = true;
        }
        if (!used) {
            connection.ping(); // all that was wanted is a connection
        }
    }

    /// Runs a task on a thread of this worker, or, if it has been closed meanwhile, what is left to do then.
    private void execute(Runnable task, Runnable ifClosed) {
        try {
            threads.execute(task);
        } catch (RejectedExecutionException e) {
            ifClosed.run();
        }
    }
}
