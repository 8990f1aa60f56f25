package dev.baton.transfer.p2p;

import dev.baton.tensor.DeviceBlocks;
import dev.baton.tensor.PagedKv;
import dev.baton.transfer.KvEvent;
import dev.baton.transfer.TransferException;
import dev.baton.transfer.p2p.Arrivals.Outcome;
import dev.baton.transfer.p2p.Arrivals.Tensor;
import dev.baton.transfer.tcp.Counters;
import dev.baton.wire.Threads;
import java.io.Closeable;
import java.io.EOFException;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.net.SocketTimeoutException;
import java.time.Duration;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.Semaphore;
import java.util.function.Consumer;
import java.util.function.Predicate;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// A decoder's loads, a thread each: one that waits for a push holds a connection to the prefiller meanwhile,
/// so that it ends when the prefiller does. Thread-safe.
final class Loads implements Closeable {
    private static final Logger LOG = LoggerFactory.getLogger(Loads.class);

    private static final String CLOSED = "the connector was closed";
    private static final String CANCELLED = "cancelled";
    private static final int TRIES = 2;
    private static final int DEVICE_FETCHES = 2; // each has a communicator with its memory for each prefiller

    private final PagedKv pool;
    private final TensorShape shape;
    private final P2pOptions options;
    private final Arrivals arrivals;
    private final Peers peers;
    private final Predicate<Endpoint> isForeign;
    private final Counters counters;
    private final Consumer<KvEvent> sink;
    private final Map<String, Load> loads = new ConcurrentHashMap<>();
    /// Bounded by the loads, of which the engine starts as many as it runs requests.
    private final ExecutorService threads = Threads.perTask("baton-kv-load-");
    private final Semaphore fetching;
    private volatile boolean closed;

    /// @param isForeign whether tensors of a peer cannot come, because they go over NCCL
    Loads(
            PagedKv pool,
            P2pOptions options,
            Arrivals arrivals,
            Peers peers,
            Predicate<Endpoint> isForeign,
            Counters counters,
            Consumer<KvEvent> sink) {
        this.pool = pool;
        this.shape = new TensorShape(pool);
        this.options = options;
        this.arrivals = arrivals;
        this.peers = peers;
        this.isForeign = isForeign;
        this.counters = counters;
        this.sink = sink;
        this.fetching = new Semaphore(pool.isOnDevice() ? DEVICE_FETCHES : Integer.MAX_VALUE);
    }

    /// Begins a load; returns at once. One without blocks only lets go of the prompt.
    void start(P2pLoad decided) {
        if (decided.blockIds().length == 0) {
            release(decided.tensorId(), decided.prefiller());
            return;
        }
        Load load = new Load(decided);
        if (loads.putIfAbsent(decided.requestId(), load) != null) {
            throw new TransferException("request %s is loading already".formatted(decided.requestId()));
        }
        try {
            threads.execute(load::run);
        } catch (RejectedExecutionException e) {
            load.end(Optional.of(CLOSED), 0);
        }
    }

    /// Lets go of a prompt that nobody comes for.
    void release(String tensorId, Endpoint prefiller) {
        arrivals.drop(tensorId);
        if (!options.fetches()) {
            return;
        }
        try {
            threads.execute(() -> tellRelease(tensorId, prefiller));
        } catch (RejectedExecutionException e) {
            counters.failedNotifications.increment();
        }
    }

    private void tellRelease(String tensorId, Endpoint prefiller) {
        try {
            PeerConnection peer = peers.borrow(prefiller);
            boolean keep = false;
            try {
                peer.open();
                peer.release(tensorId);
                keep = true;
            } finally {
                peers.giveBack(prefiller, peer, keep);
            }
        } catch (IOException e) {
            LOG.debug("{} was not told to release {}: {}", prefiller, tensorId, e.toString());
            counters.failedNotifications.increment();
        }
    }

    void cancel(String requestId) {
        Load load = loads.get(requestId);
        if (load != null) {
            load.cancel();
        }
    }

    int size() {
        return loads.size();
    }

    /// Fails the loads under way; returns when nobody writes into the pool any more.
    @Override
    public void close() {
        closed = true;
        loads.values().forEach(Load::cancel);
        threads.shutdown();
        Threads.awaitEnd(threads);
    }

    /// One load under way: run by one thread; [#cancel] may come from any.
    private final class Load {
        private final P2pLoad decided;
        private final long startNanos = System.nanoTime();
        private long numBytes; // that have come
        private boolean known; // whether it was told what became of the tensor
        private @Nullable PeerConnection active; // guarded by this
        private boolean cancelled; // guarded by this

        Load(P2pLoad decided) {
            this.decided = decided;
        }

        /// Makes the load end soon.
        synchronized void cancel() {
            cancelled = true;
            if (active != null) {
                active.abort();
            }
        }

        private synchronized void use(@Nullable PeerConnection peer) {
            active = peer;
            if (peer != null && cancelled) {
                peer.abort();
            }
        }

        private synchronized Optional<String> cancelled() {
            if (closed) {
                return Optional.of(CLOSED);
            }
            return cancelled ? Optional.of(CANCELLED) : Optional.empty();
        }

        void run() {
            Optional<String> failure;
            try {
                failure = cancelled().or(this::transfer);
            } catch (RuntimeException | OutOfMemoryError e) {
                LOG.error("load of {} failed", decided.requestId(), e);
                failure = Optional.of("internal error: " + e);
            }
            Optional<String> reason = failure;
            end(failure.isPresent() ? cancelled().or(() -> reason) : failure, numBytes);
        }

        /// @return why the blocks cannot be used, if so
        private Optional<String> transfer() {
            try {
                if (options.fetches()) {
                    return fetch();
                }
                Optional<Outcome> outcome = arrivals.take(decided.tensorId());
                return place(outcome.isPresent() ? outcome.get() : await());
            } catch (EOFException e) {
                return Optional.of("the prefiller %s has ended the connection".formatted(decided.prefiller()));
            } catch (IOException e) {
                return Optional.of(
                        "%s: %s".formatted(decided.prefiller(), e.getMessage() == null ? e : e.getMessage()));
            }
        }

        /// Waits for a push, with a connection to who has to push.
        private Outcome await() throws IOException {
            if (isForeign.test(decided.prefiller())) {
                return new Outcome.Failed("the prefiller's tensors go over NCCL, as a vLLM's; here they go over TCP");
            }
            Duration timeout = options.loadTimeout();
            PeerConnection peer = peers.borrow(decided.prefiller());
            Runnable wake = peer::abort;
            use(peer);
            arrivals.await(decided.tensorId(), wake);
            try {
                peer.open();
                return new Outcome.Failed(
                        "the prefiller does not push the blocks: " + peer.awaitRefusal(decided.tensorId(), timeout));
            } catch (IOException e) {
                Optional<Outcome> outcome = arrivals.take(decided.tensorId());
                if (outcome.isPresent()) {
                    return outcome.get();
                }
                boolean late = System.nanoTime() - startNanos >= timeout.toNanos();
                if (late && e instanceof SocketTimeoutException) {
                    throw new SocketTimeoutException("it did not push the blocks within " + timeout);
                }
                throw e;
            } finally {
                arrivals.forget(decided.tensorId(), wake);
                use(null);
                peers.giveBack(decided.prefiller(), peer, false);
            }
        }

        private Optional<String> place(Outcome outcome) {
            known = true;
            return switch (outcome) {
                case Outcome.Failed(String reason) -> Optional.of(reason);
                case Outcome.Here(Tensor tensor) -> {
                    try (tensor) {
                        yield place(tensor);
                    }
                }
            };
        }

        private Optional<String> place(Tensor tensor) {
            numBytes = tensor.numBytes();
            if (!tensor.promptDigest().equals(decided.promptDigest()) || tensor.numTokens() != decided.promptTokens()) {
                return Optional.of("the prompt differs: %d tokens with digest %s on the prefiller, %d with %s here"
                        .formatted(
                                tensor.numTokens(),
                                tensor.promptDigest(),
                                decided.promptTokens(),
                                decided.promptDigest()));
            }
            int[] blockIds = decided.blockIds();
            Optional<DeviceBlocks.Buffer> onDevice = tensor.buffer();
            if (onDevice.isPresent()) {
                onDevice.get().place(decided.first(), blockIds);
                return cancelled();
            }
            for (int i = 0; i < blockIds.length; i++) {
                if (cancelled().isPresent()) {
                    return cancelled();
                }
                MemorySegment.copy(tensor.block(decided.first() + i), 0, pool.block(blockIds[i]), 0, pool.blockBytes());
            }
            return Optional.empty();
        }

        /// Asks for the blocks that are missing here.
        private Optional<String> fetch() throws IOException {
            fetching.acquireUninterruptibly();
            try {
                Optional<String> cancelled = cancelled();
                return cancelled.isPresent() ? cancelled : fetchNow();
            } finally {
                fetching.release();
            }
        }

        private Optional<String> fetchNow() throws IOException {
            PeerConnection peer = peers.borrow(decided.prefiller());
            boolean keep = false;
            use(peer);
            try {
                peer.open();
                int[] ids = decided.blockIds();
                int first = decided.first();
                for (int i = 0; i < TRIES; i++) {
                    Optional<Integer> wrong =
                            peer.get(decided.tensorId(), shape, decided.promptDigest(), first, pool, ids);
                    if (wrong.isEmpty()) {
                        keep = true;
                        return Optional.of("%s does not hold the prompt (any more)".formatted(decided.prefiller()));
                    }
                    counters.checksumErrors.add(wrong.get());
                    numBytes += ids.length * pool.blockBytes();
                    if (wrong.get() == 0) {
                        peer.release(decided.tensorId());
                        keep = true;
                        return Optional.empty();
                    }
                }
                return Optional.of(
                        "blocks came from %s with wrong checksums, %d times".formatted(decided.prefiller(), TRIES));
            } finally {
                use(null);
                peers.giveBack(decided.prefiller(), peer, keep);
            }
        }

        /// Reports what became of it.
        void end(Optional<String> failure, long received) {
            loads.remove(decided.requestId(), this);
            if (failure.isPresent()) {
                counters.failedTransfers.increment();
                LOG.info("KV load of {} failed: {}", decided.requestId(), failure.get());
                sink.accept(new KvEvent.KvFailed(decided.requestId(), failure.get()));
                if (!known) {
                    release(decided.tensorId(), decided.prefiller());
                }
            } else {
                counters.loaded(System.nanoTime() - startNanos, received, received / pool.blockBytes());
                sink.accept(new KvEvent.KvArrived(decided.requestId(), decided.numTokens(), received));
            }
        }
    }
}
