package dev.baton.transfer.tcp;

import dev.baton.kvcache.BlockHasher;
import dev.baton.transfer.KvEvent;
import dev.baton.transfer.RemotePrefill;
import java.io.IOException;
import java.net.SocketTimeoutException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.BitSet;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executor;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// One load: which blocks have arrived, and what to do when something goes wrong.
///
/// A block whose checksum is wrong is fetched a second time, once. A connection that breaks is replaced once, and
/// only what is missing is asked for again; a peer that is silent is given up at once. Each attempt is a new epoch.
///
/// A large load that has its prefiller for itself comes in two parts at a time, each on a connection of its own:
/// copying and checking take a core each more than memory or the network do. Each part recovers from faults by
/// itself; where one fails, both end.
///
/// Run by one thread, and a helper for the second part; [#cancel] may come from any.
final class BlockLoad {
    private static final Logger LOG = LoggerFactory.getLogger(BlockLoad.class);

    private static final int MAX_FAULTS = 1;
    /// A load of so many bytes takes milliseconds, against which a second thread and connection cost little.
    static final long SPLIT_BYTES = 16 << 20;
    private static final int MOST_PARTS = 2;
    /// A connection unused for longer is asked for a sign of life first.
    private static final Duration TRUSTED_IDLE = Duration.ofSeconds(1);

    private final TcpLoad load;
    private final RemotePrefill source;
    private final long blockBytes;
    private final Counters counters;
    private final AtomicLong epochs;
    private final Consumer<KvEvent> sink;
    private boolean hasFirstToken;
    private final long startNanos = System.nanoTime();
    private volatile Optional<String> cancelled = Optional.empty();
    private volatile Optional<String> failure = Optional.empty(); // of the first part that failed
    private List<Part> parts = List.of(); // guarded by this

    BlockLoad(TcpLoad load, long blockBytes, Counters counters, AtomicLong epochs, Consumer<KvEvent> sink) {
        this.load = load;
        this.source = load.source();
        this.blockBytes = blockBytes;
        this.counters = counters;
        this.epochs = epochs;
        this.sink = sink;
    }

    String requestId() {
        return load.requestId();
    }

    RemotePrefill source() {
        return source;
    }

    int numTokens() {
        return load.numTokens();
    }

    int numBlocks() {
        return load.localBlockIds().length;
    }

    long numBytes() {
        return numBlocks() * blockBytes;
    }

    long elapsedNanos() {
        return System.nanoTime() - startNanos;
    }

    /// Whether the request had its first token when the load was ended from here: all that it wanted, or its client
    /// has gone. Nothing has failed then.
    boolean isOverEarly() {
        return hasFirstToken && cancelled.isPresent();
    }

    /// Makes the load end soon, for the reason given.
    synchronized void cancel(String reason) {
        cancelled = Optional.of(reason);
        parts.forEach(Part::abort);
    }

    /// Fetches everything; returns only when nothing writes into the blocks any more.
    ///
    /// @param splits whether it may come in parts
    /// @param threads for all parts but the first
    /// @return empty if every block arrived intact, else why not
    Optional<String> run(Peer peer, boolean splits, Executor threads) {
        int most = splits && numBytes() >= SPLIT_BYTES && !source.isUnderWay() ? MOST_PARTS : 1;
        List<Part> all = split(Math.min(most, numBlocks()));
        synchronized (this) {
            parts = all;
        }
        CompletableFuture<?>[] others = all.stream()
                .skip(1)
                .map(part -> CompletableFuture.runAsync(() -> part.runOrEndAll(peer), threads))
                .toArray(CompletableFuture<?>[]::new);
        try {
            all.getFirst().runOrEndAll(peer);
        } finally {
            CompletableFuture.allOf(others).join();
        }
        all.forEach(part -> part.finish(peer));
        return failure;
    }

    /// Why nothing more is to be fetched, if so.
    private Optional<String> over() {
        return cancelled.or(() -> failure);
    }

    private synchronized void fail(String reason) {
        if (failure.isEmpty()) {
            failure = Optional.of(reason);
            parts.forEach(Part::abort);
        }
    }

    private List<Part> split(int count) {
        List<Part> split = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            int first = load.firstBlock() + (int) ((long) numBlocks() * i / count);
            split.add(new Part(first, load.firstBlock() + (int) ((long) numBlocks() * (i + 1) / count), count > 1));
        }
        return split;
    }

    private void firstToken(int token) {
        if (!hasFirstToken) {
            hasFirstToken = true;
            sink.accept(new KvEvent.KvFirstToken(requestId(), token));
        }
    }

    private static void ready(PeerConnection connection) throws IOException {
        if (!connection.isOpen()) {
            connection.open();
        } else if (connection.idleFor(System.nanoTime()).compareTo(TRUSTED_IDLE) > 0) {
            connection.ping();
        }
    }

    /// Blocks that come one after the other.
    private final class Part {
        private final BitSet missing = new BitSet();
        private final BitSet corruptOnce = new BitSet();
        private @Nullable PeerConnection active; // guarded by the load
        private boolean mayLeave;

        /// @param mayLeave whether a connection that cannot be had is no fault: a prefiller may have room for
        ///     one, but not for one more
        Part(int first, int end, boolean mayLeave) {
            missing.set(first, end);
            this.mayLeave = mayLeave;
        }

        /// Called by who has the load's lock.
        void abort() {
            if (active != null) {
                active.abort();
            }
        }

        /// Fetches the part's blocks, and ends the other parts if that cannot be.
        void runOrEndAll(Peer peer) {
            try {
                run(peer).ifPresent(BlockLoad.this::fail);
            } catch (RuntimeException | Error e) {
                fail("internal error: " + e);
                throw e;
            }
        }

        /// Fetches what was left for want of a connection, once those of the other parts are free.
        void finish(Peer peer) {
            mayLeave = false;
            runOrEndAll(peer);
        }

        private Optional<String> run(Peer peer) {
            int faults = 0;
            while (true) {
                if (over().isPresent()) {
                    return over();
                }
                if (missing.isEmpty()) {
                    return Optional.empty();
                }
                boolean reused = false;
                boolean isReady = false;
                BitSet before = (BitSet) missing.clone();
                try {
                    PeerConnection connection = peer.borrow();
                    reused = connection.isOpen();
                    boolean keep = false;
                    try {
                        use(connection);
                        ready(connection);
                        isReady = true;
                        if (source.isUnderWay()) {
                            takeMissing(connection);
                        } else {
                            pullMissing(connection);
                        }
                        keep = true;
                    } catch (PeerRefusedException e) {
                        keep = !e.code().endsConnection();
                        return Optional.of("%s refused: %s".formatted(peer.address(), e.getMessage()));
                    } finally {
                        stopUsing();
                        peer.giveBack(connection, keep && over().isEmpty());
                    }
                } catch (IOException e) {
                    if (mayLeave && !reused && !isReady && over().isEmpty()) {
                        return Optional.empty();
                    }
                    boolean stale = reused && before.equals(missing);
                    boolean silent = e instanceof SocketTimeoutException;
                    if (over().isEmpty() && !stale && (silent || ++faults > MAX_FAULTS)) {
                        return Optional.of("loading from %s failed: %s".formatted(peer.address(), e));
                    }
                    LOG.debug("load of {} from {} goes on after: {}", requestId(), peer.address(), e.toString());
                } catch (CorruptBlockException e) {
                    return Optional.of(String.valueOf(e.getMessage()));
                }
            }
        }

        private void use(PeerConnection connection) {
            synchronized (BlockLoad.this) {
                active = connection;
                if (over().isPresent()) {
                    connection.abort();
                }
            }
        }

        /// After this no [#cancel] touches the connection: it may go to another load.
        private void stopUsing() {
            synchronized (BlockLoad.this) {
                active = null;
            }
        }

        private void pullMissing(PeerConnection connection) throws IOException, CorruptBlockException {
            while (!missing.isEmpty()) {
                int[] indexes = missing.stream().limit(Limits.MAX_PULL_BLOCKS).toArray();
                int[] remote = new int[indexes.length];
                int[] local = new int[indexes.length];
                for (int i = 0; i < indexes.length; i++) {
                    remote[i] = source.blockIds().get(indexes[i]);
                    local[i] = load.localBlockIds()[indexes[i] - load.firstBlock()];
                }
                Arrivals arrivals = new Arrivals();
                connection.pull(
                        source.requestId(),
                        epochs.incrementAndGet(),
                        source.numTokens(),
                        indexes,
                        remote,
                        local,
                        arrivals);
                arrivals.check();
            }
        }

        /// Takes a prompt that is computed at this moment. What is missing is asked for in one piece, also where
        /// blocks in its midst have arrived.
        private void takeMissing(PeerConnection connection) throws IOException, CorruptBlockException {
            String digest = BlockHasher.digest(load.promptTokenIds(), source.numTokens());
            while (!missing.isEmpty()) {
                int first = missing.nextSetBit(0);
                int end = missing.length();
                missing.set(first, end);
                int[] local =
                        Arrays.copyOfRange(load.localBlockIds(), first - load.firstBlock(), end - load.firstBlock());
                Arrivals arrivals = new Arrivals();
                connection.take(
                        new Push(
                                source.requestId(),
                                epochs.incrementAndGet(),
                                digest,
                                source.numTokens(),
                                first,
                                end,
                                Push.Way.SENT),
                        local,
                        arrivals,
                        BlockLoad.this::firstToken);
                arrivals.check();
            }
        }

        /// What became of the blocks of one question.
        private final class Arrivals implements PeerConnection.BlockSink {
            private final BitSet corruptTwice = new BitSet();

            @Override
            public void block(int index, boolean intact) {
                if (intact) {
                    missing.clear(index);
                } else {
                    counters.checksumErrors.increment();
                    (corruptOnce.get(index) ? corruptTwice : corruptOnce).set(index);
                }
            }

            void check() throws CorruptBlockException {
                if (!corruptTwice.isEmpty()) {
                    throw new CorruptBlockException("block %d of %s arrived twice with a wrong checksum"
                            .formatted(corruptTwice.nextSetBit(0), source.requestId()));
                }
            }
        }
    }

    /// A block was damaged again when it was fetched again.
    private static final class CorruptBlockException extends Exception {
        CorruptBlockException(String message) {
            super(message);
        }
    }
}
