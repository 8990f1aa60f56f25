package dev.baton.transfer.nixl;

import dev.baton.metrics.Metrics;
import dev.baton.metrics.SharedHistogram;
import dev.baton.transfer.KvConnector;
import dev.baton.transfer.KvEvent;
import dev.baton.transfer.KvLeases;
import dev.baton.transfer.KvPeer;
import dev.baton.transfer.KvTransferParams;
import dev.baton.transfer.TransferException;
import dev.baton.transfer.tcp.Counters;
import dev.baton.wire.Threads;
import dev.baton.wire.ZmtpRequests;
import java.net.ProtocolException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.Iterator;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.SortedMap;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// The worker side: one thread, `baton-nixl`, that owns the NIXL agent and does everything with it: reads blocks,
/// takes and sends notifications, ends leases that have run out. Others hand it tasks. Questions to side channels,
/// which wait, are asked by threads named `baton-nixl-ask-...`.
final class NixlWorker implements KvConnector.WorkerSide {
    private static final Logger LOG = LoggerFactory.getLogger(NixlWorker.class);

    private static final String CLOSED = "the connector was closed";
    private static final long BUSY_NANOS = 50_000;
    private static final long LEASED_NANOS = 1_000_000;
    private static final long IDLE_NANOS = 20_000_000;
    private static final long CLOSE_NANOS = Duration.ofSeconds(10).toNanos();
    private static final int MAX_PEERS = 1_024;
    /// How often a peer is asked in vain before it is not told any more that nobody comes for its blocks.
    private static final int MAX_GREETINGS = 3;

    private final String engineId;
    private final NixlOptions options;
    private final LocalPool pool;
    private final SortedMap<String, String> fields;
    private final KvLeases leases;
    private final Counters counters;
    private final SharedHistogram postSeconds =
            new SharedHistogram(0.001, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 5);
    private final Consumer<KvEvent> sink;
    private final ZmtpRequests requests = new ZmtpRequests();
    private final BlockingQueue<Runnable> tasks = new LinkedBlockingQueue<>();
    private final Map<String, Load> loads = new ConcurrentHashMap<>();
    /// Bounded by the peers and their loads.
    private final ExecutorService askers = Threads.perTask("baton-nixl-ask-");
    private final Thread thread;
    private volatile boolean closed;

    // Of the worker's thread alone.
    private final Map<PeerAddress, Peer> peers = new HashMap<>();
    private final List<Load> reading = new ArrayList<>();
    private final Map<String, Integer> consumers = new HashMap<>();
    private long nextHeartbeatNanos;

    /// A prefiller that this instance deals with.
    private static final class Peer {
        final PeerAddress address;
        final Set<String> watched = new LinkedHashSet<>(); // leases to renew
        final Set<String> releases = new LinkedHashSet<>(); // leases to end
        final List<Load> waiting = new ArrayList<>(); // for the handshake
        boolean asked;
        boolean lost; // to be greeted anew once nothing is read from it
        int numReading;
        int failedGreetings;
        String agent = "";

        @Nullable
        RemotePool pool;

        Peer(PeerAddress address) {
            this.address = address;
        }
    }

    /// Starts the agent.
    ///
    /// @param mirror what vLLM engines may read, if they may
    /// @param metadata completed with the agent's metadata, or with why there is no agent
    NixlWorker(
            String engineId,
            NixlOptions options,
            NixlLibrary library,
            LocalPool pool,
            Optional<Mirror> mirror,
            SortedMap<String, String> fields,
            KvLeases leases,
            Counters counters,
            Consumer<KvEvent> sink,
            CompletableFuture<byte[]> metadata) {
        this.engineId = engineId;
        this.options = options;
        this.pool = pool;
        this.fields = fields;
        this.leases = leases;
        this.counters = counters;
        this.sink = sink;
        thread = Thread.ofPlatform().daemon().name("baton-nixl").start(() -> run(library, mirror, metadata));
    }

    /// Waits for the agent.
    ///
    /// @throws TransferException if it did not start
    static byte[] await(CompletableFuture<byte[]> metadata) {
        try {
            return metadata.join();
        } catch (CompletionException e) {
            throw e.getCause() instanceof TransferException cause
                    ? cause
                    : new TransferException(NixlConnector.NAME + " cannot start: " + e.getCause(), e);
        }
    }

    private void run(NixlLibrary library, Optional<Mirror> mirror, CompletableFuture<byte[]> metadata) {
        try (Stagings stagings = new Stagings(options.stagingBytes());
                NixlAgent agent = agent(library)) {
            agent.register(pool.address(), pool.numBytes(), pool.memory(), pool.deviceId());
            mirror.ifPresent(it -> agent.register(it.segment()));
            metadata.complete(agent.metadata());
            loop(agent, stagings);
        } catch (RuntimeException e) {
            if (!metadata.completeExceptionally(e)) {
                LOG.error("NIXL has ended: no blocks are loaded or given any more", e);
            }
        }
        closed = true;
        runTasks(0);
        List.copyOf(loads.values()).forEach(load -> report(load, Optional.of(CLOSED)));
    }

    private NixlAgent agent(NixlLibrary library) {
        pool.makeCurrent(); // UCX looks for the device as it starts
        return new NixlAgent(library, engineId);
    }

    private void loop(NixlAgent agent, Stagings stagings) {
        nextHeartbeatNanos = System.nanoTime() + options.heartbeatInterval().toNanos();
        long closeBy = Long.MAX_VALUE;
        while (!closed || (!reading.isEmpty() && System.nanoTime() - closeBy < 0)) {
            if (closed && closeBy == Long.MAX_VALUE) {
                closeBy = System.nanoTime() + CLOSE_NANOS;
                reading.forEach(load -> load.fail(CLOSED));
            }
            runTasks(pauseNanos());
            try {
                peers.values().forEach(peer -> tend(agent, peer)); // begins loads
                progress(agent, stagings);
                agent.notifications().forEach(it -> notified(it.message()));
                peers.values().forEach(peer -> tend(agent, peer)); // ends leases
                heartbeats(agent);
            } catch (TransferException e) {
                LOG.error("NIXL: {}", e.getMessage());
            }
            leases.expireDue();
        }
    }

    private long pauseNanos() {
        if (reading.stream().anyMatch(Load::hasToRead)) {
            return BUSY_NANOS;
        }
        return leases.size() > 0 || !reading.isEmpty() ? LEASED_NANOS : IDLE_NANOS;
    }

    private void runTasks(long waitNanos) {
        try {
            Runnable task = tasks.poll(waitNanos, TimeUnit.NANOSECONDS);
            while (task != null) {
                task.run();
                task = tasks.poll();
            }
        } catch (InterruptedException e) {
            closed = true; // nobody else interrupts this thread
        }
    }

    // Loads.

    /// Begins a load; returns at once.
    void start(Load load) {
        if (loads.putIfAbsent(load.requestId, load) != null) {
            throw new TransferException("request %s is loading already".formatted(load.requestId));
        }
        post(() -> {
            Optional<Peer> peer = peer(load.source);
            if (peer.isEmpty()) {
                report(load, Optional.of("more than %d prefillers at a time".formatted(MAX_PEERS)));
                return;
            }
            peer.get().watched.add(load.source.requestId());
            begin(peer.get(), load);
        });
        if (closed && loads.containsKey(load.requestId)) {
            report(load, Optional.of(CLOSED));
        }
    }

    private void begin(Peer peer, Load load) {
        if (peer.pool == null || peer.agent.isEmpty() || peer.lost) {
            peer.waiting.add(load); // tend() asks the peer, or gives the agent what it answered
            return;
        }
        load.begin(peer.pool, peer.agent);
        peer.numReading++;
        reading.add(load);
        Optional<BlockSums> kind = load.wantedSums();
        if (kind.isPresent()) {
            ask(() -> {
                try {
                    long[] sums = SideChannel.askSums(
                            requests,
                            peer.address,
                            kind.get(),
                            load.source.requestId(),
                            load.firstBlock(),
                            load.numBlocks(),
                            options.peerTimeout());
                    post(() -> load.sums(sums));
                } catch (ProtocolException | RuntimeException e) {
                    post(() -> load.fail(String.valueOf(e.getMessage())));
                }
            });
        }
    }

    private void progress(NixlAgent agent, Stagings stagings) {
        for (Iterator<Load> it = reading.iterator(); it.hasNext(); ) {
            Load load = it.next();
            if (load.step(agent, stagings, options.peerTimeout().toNanos())) {
                it.remove();
                Peer peer = peers.get(load.source.peer());
                if (peer != null) {
                    peer.numReading--;
                    peer.lost |= load.lostPeer();
                    end(peer, load.source.requestId());
                }
                report(load, load.failure());
            }
        }
    }

    private static void end(Peer peer, String lease) {
        peer.watched.remove(lease);
        peer.releases.add(lease);
    }

    private void report(Load load, Optional<String> failure) {
        if (!loads.remove(load.requestId, load)) {
            return;
        }
        counters.checksumErrors.add(load.wrongSums());
        if (failure.isPresent()) {
            counters.failedTransfers.increment();
            LOG.info("KV load of {} failed: {}", load.requestId, failure.get());
            sink.accept(new KvEvent.KvFailed(load.requestId, failure.get()));
        } else {
            counters.loaded(load.elapsedNanos(), load.numBytes(), load.numDescriptors());
            postSeconds.observe(load.postNanos() / 1e9);
            sink.accept(new KvEvent.KvArrived(load.requestId, load.numTokens, load.numBytes()));
        }
    }

    /// Adds what loads take.
    void addTo(Metrics metrics) {
        counters.addTo(metrics);
        metrics.histogram("vllm:nixl_post_time_seconds", "Seconds to hand a load to NIXL.", postSeconds);
    }

    @Override
    public void cancelLoad(String requestId) {
        post(() -> {
            Load load = loads.get(requestId);
            if (load == null) {
                return;
            }
            load.fail("cancelled");
            Peer peer = peers.get(load.source.peer());
            if (peer != null && peer.waiting.remove(load)) {
                end(peer, load.source.requestId());
                report(load, load.failure());
            }
        });
    }

    // Prefillers.

    private Optional<Peer> peer(NixlSource source) {
        return peer(source.peer());
    }

    private Optional<Peer> peer(PeerAddress address) {
        Peer known = peers.get(address);
        if (known == null) {
            if (peers.size() >= MAX_PEERS) {
                LOG.warn("{} is not dealt with: {} prefillers are known already", address, MAX_PEERS);
                return Optional.empty();
            }
            known = new Peer(address);
            peers.put(address, known);
        }
        return Optional.of(known);
    }

    /// Asks the peer for its metadata, unless that is under way.
    private void greet(Peer peer) {
        if (peer.asked) {
            return;
        }
        peer.asked = true;
        ask(() -> {
            try {
                byte[] payload = SideChannel.askMetadata(requests, peer.address, options.peerTimeout());
                RemotePool found = RemotePool.check(payload, peer.address, options, pool.kv(), fields);
                post(() -> greeted(peer, found));
            } catch (ProtocolException | RuntimeException e) {
                post(() -> refused(peer, String.valueOf(e.getMessage())));
            }
        });
    }

    private void greeted(Peer peer, RemotePool found) {
        peer.asked = false;
        peer.failedGreetings = 0;
        peer.pool = found;
        peer.agent = ""; // tend() loads its metadata, and begins what waits
    }

    private void refused(Peer peer, String reason) {
        peer.asked = false;
        List<Load> failed = List.copyOf(peer.waiting);
        peer.waiting.clear();
        failed.forEach(load -> {
            peer.watched.remove(load.source.requestId());
            load.fail(reason);
            report(load, load.failure());
        });
        if (failed.isEmpty()) {
            LOG.debug("{}", reason);
        }
        if (++peer.failedGreetings >= MAX_GREETINGS) {
            peer.failedGreetings = 0;
            counters.failedNotifications.add(peer.releases.size());
            peer.releases.clear(); // their leases run out
        }
    }

    @Override
    public void connect(KvPeer known) {
        PeerAddress address = new PeerAddress(known.engineId(), known.host(), known.port());
        if (known.port() > 0 && !known.engineId().equals(engineId)) {
            post(() -> peer(address).filter(peer -> peer.pool == null).ifPresent(this::greet));
        }
    }

    /// Does what has become possible for a peer.
    private void tend(NixlAgent agent, Peer peer) {
        if (peer.lost && peer.numReading == 0) {
            agent.forget(peer.agent);
            peer.lost = false;
            peer.pool = null;
            peer.agent = "";
        }
        if (peer.pool != null && peer.agent.isEmpty()) {
            try {
                peer.agent = agent.load(peer.pool.metadata().agent());
            } catch (TransferException e) {
                peer.pool = null;
                refused(peer, "%s: its NIXL metadata cannot be used: %s".formatted(peer.address, e.getMessage()));
                return;
            }
        }
        if (peer.pool != null && !peer.lost) {
            List<Load> ready = List.copyOf(peer.waiting);
            peer.waiting.clear();
            ready.forEach(load -> begin(peer, load));
            deliver(agent, peer);
        } else if (peer.pool == null && !(peer.releases.isEmpty() && peer.waiting.isEmpty())) {
            greet(peer);
        }
    }

    private void deliver(NixlAgent agent, Peer peer) {
        for (Iterator<String> it = peer.releases.iterator(); it.hasNext(); ) {
            String lease = it.next();
            it.remove();
            // The number of those who read and will say so: this one.
            send(agent, peer, lease + ":1");
        }
    }

    private void heartbeats(NixlAgent agent) {
        if (System.nanoTime() - nextHeartbeatNanos < 0) {
            return;
        }
        nextHeartbeatNanos = System.nanoTime() + options.heartbeatInterval().toNanos();
        peers.values().removeIf(peer -> forgettable(agent, peer));
        consumers.keySet().removeIf(lease -> leases.find(lease).isEmpty());
        for (Peer peer : peers.values()) {
            if (!peer.watched.isEmpty()) {
                if (peer.pool == null || peer.agent.isEmpty()) {
                    greet(peer);
                } else {
                    send(agent, peer, "HB:" + String.join(",", peer.watched));
                }
            }
        }
    }

    /// Peers stay known, so that the next load need not ask; but not in any number.
    private boolean forgettable(NixlAgent agent, Peer peer) {
        boolean idle = peer.numReading == 0
                && peer.waiting.isEmpty()
                && peer.watched.isEmpty()
                && peer.releases.isEmpty()
                && !peer.asked;
        if (!idle || (peer.pool != null && peers.size() < MAX_PEERS / 2)) {
            return false;
        }
        if (!peer.agent.isEmpty()) {
            agent.forget(peer.agent);
        }
        return true;
    }

    private void send(NixlAgent agent, Peer peer, String message) {
        try {
            agent.send(peer.agent, message.getBytes(StandardCharsets.UTF_8));
        } catch (TransferException e) {
            LOG.debug("notification to {} failed: {}", peer.address, e.getMessage());
            counters.failedNotifications.increment();
            peer.lost = true;
        }
    }

    // Decoders.

    /// A decoder renews leases (`HB:a,b`), or has read what it wanted (`a:n`, of `n` that each say so).
    private void notified(byte[] message) {
        String text = new String(message, StandardCharsets.UTF_8);
        if (text.startsWith("HB:")) {
            for (String lease : text.substring(3).split(",", -1)) {
                leases.renew(lease);
            }
            return;
        }
        int colon = text.lastIndexOf(':');
        int expected;
        try {
            expected = Integer.parseInt(text.substring(colon + 1));
        } catch (NumberFormatException e) {
            LOG.warn("a notification of {} bytes is none that is known here", message.length);
            return;
        }
        String lease = text.substring(0, Math.max(colon, 0));
        if (leases.find(lease).isEmpty()) {
            LOG.debug("a decoder has read the blocks of {}, whose lease had ended", lease);
            return;
        }
        if (consumers.merge(lease, 1, Integer::sum) >= expected) {
            consumers.remove(lease);
            leases.release(lease);
        }
    }

    // The rest of the worker's side.

    /// Renews the lease of a request that waits here, from now until it is loaded or released.
    void watch(NixlSource source) {
        post(() -> peer(source).ifPresent(peer -> {
            peer.watched.add(source.requestId());
            if (peer.pool == null) {
                greet(peer);
            }
        }));
    }

    /// Tells a prefiller that nobody reads the blocks (any more).
    void release(NixlSource source) {
        post(() -> peer(source).ifPresent(peer -> end(peer, source.requestId())));
    }

    @Override
    public void release(KvTransferParams params) {
        Optional<NixlSource> source = NixlSource.toRelease(params);
        if (source.isEmpty()) {
            return;
        }
        if (source.get().peer().engineId().equals(engineId)) {
            leases.release(source.get().requestId());
        } else if (problem(source.get()).isEmpty()) {
            release(source.get());
        }
    }

    /// Why the prefiller may not even be told anything, if so.
    Optional<String> problem(NixlSource source) {
        boolean allowed = options.allowedHosts().isEmpty()
                || options.allowedHosts().contains(source.peer().host());
        return allowed
                ? Optional.empty()
                : Optional.of("remote_host %s is not among kv_allowed_hosts"
                        .formatted(source.peer().host()));
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

    private void post(Runnable task) {
        tasks.add(task);
    }

    private void ask(Runnable question) {
        try {
            askers.execute(question);
        } catch (RejectedExecutionException e) {
            LOG.debug("not asked: {}", CLOSED);
        }
    }

    /// Fails the loads in flight; returns when no thread of this worker runs any more.
    void close() {
        closed = true;
        post(() -> {}); // wakes it
        requests.close();
        Threads.awaitEnd(thread);
        askers.shutdown();
        Threads.awaitEnd(askers);
    }
}
