package dev.baton.transfer.mooncake;

import dev.baton.tensor.PagedKv;
import dev.baton.transfer.BlockSum;
import dev.baton.transfer.KvEvent;
import dev.baton.transfer.TransferException;
import dev.baton.transfer.mooncake.LandingZone.Window;
import dev.baton.transfer.mooncake.MooncakeLoad.Source;
import dev.baton.transfer.mooncake.XferMetadata.Baton;
import dev.baton.transfer.mooncake.XferMetadata.Region;
import dev.baton.transfer.mooncake.XferMetadata.Want;
import dev.baton.transfer.tcp.Counters;
import dev.baton.wire.Threads;
import dev.baton.wire.Wire;
import dev.baton.wire.Zmtp;
import java.io.Closeable;
import java.io.EOFException;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.net.SocketException;
import java.net.SocketTimeoutException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SortedMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// A decoder's loads: opens memory for the blocks, asks the prefiller to write them, and believes that they are
/// there only when every byte has arrived and, between Batons, every checksum is right.
///
/// Between Batons blocks land in the pool itself. What vLLM writes lands in memory of its own first, as vLLM lays
/// it out, and is converted from there. Thread-safe.
final class Receiver implements Closeable, TeMemory {
    private static final Logger LOG = LoggerFactory.getLogger(Receiver.class);

    private static final String CLOSED = "the connector was closed";
    private static final String CANCELLED = "cancelled";
    /// What a decoder waits longer than the prefiller, which says why.
    static final Duration EXTRA_PATIENCE = Duration.ofSeconds(60);

    private static final Range ADDRESSES = new Range(1L << 60, 1L << 60);
    private static final long VLLM_BASE = ADDRESSES.address() + ADDRESSES.length() / 2;
    /// Layers of a model that there are addresses for.
    static final int MAX_VLLM_LAYERS = (int) (ADDRESSES.length() / 2 / LandingZone.SPAN);

    private final PagedKv pool;
    private final SortedMap<String, String> compatibility;
    private final String ip;
    private final MooncakeOptions options;
    private final Counters counters;
    private final Consumer<KvEvent> sink;
    private final LandingZone batonZone;
    private final LandingZone vllmZone;
    private final TeServer server;
    private final Bootstraps bootstraps;
    private final AtomicLong stagedBytes = new AtomicLong();
    private final Map<String, Load> loads = new ConcurrentHashMap<>();
    /// Bounded by the loads, of which the engine starts as many as it runs requests.
    private final ExecutorService threads = Threads.perTask("baton-kv-load-");
    private volatile boolean closed;

    Receiver(
            PagedKv pool,
            SortedMap<String, String> compatibility,
            String ip,
            MooncakeOptions options,
            Counters counters,
            Consumer<KvEvent> sink) {
        this.pool = pool;
        this.compatibility = compatibility;
        this.ip = ip;
        this.options = options;
        this.counters = counters;
        this.sink = sink;
        this.batonZone = new LandingZone(ADDRESSES.address(), 1, pool.blockBytes());
        this.vllmZone = new LandingZone(VLLM_BASE, pool.layers(), VllmLayout.imageBytes(pool));
        this.bootstraps = new Bootstraps(options.connectTimeout(), options.peerTimeout());
        this.server = new TeServer(ip, this, options);
    }

    /// The port of the Transfer Engine's handshake.
    int port() {
        return server.port();
    }

    /// Begins a load; one without blocks only lets the prefiller know.
    void start(MooncakeLoad decided) {
        if (decided.blockIds().length == 0) {
            release(decided.source());
            return;
        }
        Load load = new Load(decided);
        if (loads.putIfAbsent(decided.requestId(), load) != null) {
            throw new TransferException("request %s is loading already".formatted(decided.requestId()));
        }
        execute(load::run, () -> load.end(Optional.of(CLOSED)));
    }

    void cancel(String requestId) {
        Load load = loads.get(requestId);
        if (load != null) {
            load.cancel(CANCELLED);
        }
    }

    int numLoads() {
        return loads.size();
    }

    /// Tells a prefiller that nobody will come.
    void release(Source source) {
        execute(() -> tellRelease(source), counters.failedNotifications::increment);
    }

    private void tellRelease(Source source) {
        try (Wire wire = Wire.unconnected()) {
            Bootstraps.Worker worker = worker(source);
            Zmtp channel = open(wire, worker);
            String id = "release-" + source.transferId();
            Map<String, Want> wants = Map.of(id, new Want(source.transferId(), new long[0]));
            channel.send(new XferMetadata(ip, port(), wants, List.of(), 1, 1, Optional.empty()).bytes());
            // It has heard it, whether or not it answers: it may do so only when the prefill has ended.
            channel.receive(options.peerTimeout());
        } catch (SocketTimeoutException e) {
            LOG.debug("transfer {} will be released: {}", source.transferId(), e.toString());
        } catch (IOException e) {
            LOG.debug("transfer {} was not released: {}", source.transferId(), e.toString());
            counters.failedNotifications.increment();
        }
    }

    private Bootstraps.Worker worker(Source source) throws IOException {
        Bootstraps.Worker worker = bootstraps.find(source.bootstrap(), source.engineId());
        if (!options.allows(worker.host())) {
            throw new IOException(
                    "the prefiller's worker at %s is not among kv_allowed_hosts".formatted(worker.address()));
        }
        return worker;
    }

    private Zmtp open(Wire wire, Bootstraps.Worker worker) throws IOException {
        wire.connect(worker.host(), worker.port(), options.connectTimeout());
        Zmtp channel = new Zmtp(wire, Zmtp.SocketType.DEALER, XferResponse.MAX_BYTES);
        channel.greet(options.peerTimeout());
        return channel;
    }

    @Override
    public List<Range> ranges() {
        return List.of(ADDRESSES);
    }

    @Override
    public Optional<Access> begin(Operation operation, long address, long length, Runnable fence) {
        if (operation != Operation.WRITE) {
            return Optional.empty(); // nobody reads here: prefillers write
        }
        return (address < VLLM_BASE ? batonZone : vllmZone).beginWrite(address, length, fence);
    }

    /// Runs a task on a thread of this side, or, if it has been closed meanwhile, what is left to do then.
    private void execute(Runnable task, Runnable ifClosed) {
        try {
            threads.execute(task);
        } catch (RejectedExecutionException e) {
            ifClosed.run();
        }
    }

    /// Fails the loads under way; returns when nobody writes into the pool any more.
    @Override
    public void close() {
        closed = true;
        loads.values().forEach(load -> load.cancel(CLOSED));
        threads.shutdown();
        Threads.awaitEnd(threads);
        server.close();
    }

    /// Blocks of vLLM that wait for conversion.
    private final class Staging {
        private final Arena arena;
        private final long bytes;
        private final List<List<MemorySegment>> images; // [layer][block]

        /// @throws IOException if there is too much of it already
        Staging(int blocks) throws IOException {
            bytes = blocks * pool.blockBytes();
            if (stagedBytes.addAndGet(bytes) > options.maxStagingBytes()) {
                stagedBytes.addAndGet(-bytes);
                throw new IOException("%d bytes more of vLLM's blocks than max_staging_bytes allows".formatted(bytes));
            }
            arena = Arena.ofShared();
            images = new ArrayList<>();
            long imageBytes = VllmLayout.imageBytes(pool);
            try {
                for (int layer = 0; layer < pool.layers(); layer++) {
                    MemorySegment region = arena.allocate(blocks * imageBytes, Long.BYTES);
                    List<MemorySegment> ofLayer = new ArrayList<>(blocks);
                    for (int block = 0; block < blocks; block++) {
                        ofLayer.add(region.asSlice(block * imageBytes, imageBytes));
                    }
                    images.add(ofLayer);
                }
            } catch (OutOfMemoryError e) {
                close();
                throw new IOException("no memory for %d bytes of vLLM's blocks".formatted(bytes), e);
            }
        }

        void convert(VllmLayout layout, int[] blockIds) {
            for (int layer = 0; layer < images.size(); layer++) {
                for (int block = 0; block < blockIds.length; block++) {
                    layout.fromImage(images.get(layer).get(block), pool, blockIds[block], layer);
                }
            }
        }

        void close() {
            arena.close();
            stagedBytes.addAndGet(-bytes);
        }
    }

    /// What an answer means for one load.
    ///
    /// @param isLast whether nothing more is waited for
    private record Answer(boolean isLast, Optional<String> failure) {}

    /// One load under way: run by one thread; [#cancel] may come from any.
    private final class Load {
        private final MooncakeLoad decided;
        private final Source source;
        private final long startNanos = System.nanoTime();
        private Map<String, long[]> checksums = Map.of();
        private @Nullable Window window;
        private @Nullable Staging staging;
        private @Nullable Wire active; // guarded by this
        private Optional<String> cancelled = Optional.empty(); // guarded by this

        Load(MooncakeLoad decided) {
            this.decided = decided;
            this.source = decided.source();
        }

        /// Makes the load end soon, for the reason given.
        synchronized void cancel(String reason) {
            cancelled = Optional.of(reason);
            if (active != null) {
                active.abort();
            }
        }

        private synchronized Optional<String> cancelled() {
            return closed ? Optional.of(CLOSED) : cancelled;
        }

        private synchronized void use(@Nullable Wire wire) {
            active = wire;
            if (wire != null && cancelled.isPresent()) {
                wire.abort();
            }
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
            end(failure.isPresent() ? cancelled().or(() -> reason) : failure);
        }

        /// Finds the prefiller, opens memory and asks for the blocks.
        ///
        /// @return empty if the prefiller says that they are there, else why not
        private Optional<String> transfer() {
            try (Wire wire = Wire.unconnected()) {
                use(wire);
                Bootstraps.Worker worker = worker(source);
                byte[] question = question(worker);
                Zmtp channel = open(wire, worker);
                channel.send(question);
                long deadline = System.nanoTime()
                        + options.abortTimeout().plus(EXTRA_PATIENCE).toNanos();
                while (deadline - System.nanoTime() > 0) {
                    Answer answer = answer(XferResponse.read(Zmtp.single(channel.receive(
                            options.peerTimeout(),
                            options.peerTimeout().dividedBy(4),
                            Duration.ofNanos(deadline - System.nanoTime())))));
                    if (answer.isLast()) {
                        return answer.failure();
                    }
                }
                return Optional.of("%s did not answer in time".formatted(worker.address()));
            } catch (EOFException | SocketException e) {
                return Optional.of("the connection to the prefiller of %s:%d has ended (%s)"
                        .formatted(source.bootstrap().host(), source.bootstrap().port(), e.getMessage()));
            } catch (IOException | TransferException e) {
                return Optional.of(String.valueOf(e.getMessage() == null ? e : e.getMessage()));
            } finally {
                use(null);
            }
        }

        private List<Region> openPool() {
            List<MemorySegment> blocks = new ArrayList<>();
            for (int id : decided.blockIds()) {
                blocks.add(pool.block(id));
            }
            window = batonZone.open(List.of(blocks));
            return List.of(new Region(
                    batonZone.bases().getFirst(), pool.blockBytes(), pool.blockBytes(), MooncakeConnector.LAYOUT, 0));
        }

        private List<Region> openStaging() throws IOException {
            if (options.vllmLayout().isEmpty()) {
                throw new IOException("the prefiller does not say how its blocks are laid out: set vllm_kv_layout in"
                        + " kv_connector_extra_config of the decoder");
            }
            Staging opened = new Staging(decided.blockIds().length);
            staging = opened;
            window = vllmZone.open(opened.images);
            List<Region> regions = new ArrayList<>();
            List<Long> bases = vllmZone.bases();
            for (int layer = 0; layer < bases.size(); layer++) {
                String name = options.vllmLayerName().replace("%d", Integer.toString(layer));
                regions.add(new Region(bases.get(layer), vllmZone.blockBytes(), vllmZone.blockBytes(), name, layer));
            }
            return regions;
        }

        private byte[] question(Bootstraps.Worker worker) throws IOException {
            List<Region> regions = worker.isBaton() ? openPool() : openStaging();
            String id = decided.requestId();
            long[] numbers = window == null ? new long[0] : window.blockNumbers();
            Optional<Baton> baton = worker.isBaton()
                    ? Optional.of(new Baton(compatibility, Map.of(id, decided.promptDigest())))
                    : Optional.empty();
            Map<String, Want> wants = Map.of(id, new Want(source.transferId(), numbers));
            return new XferMetadata(ip, port(), wants, regions, 1, 1, baton).bytes();
        }

        private Answer answer(XferResponse response) {
            String id = decided.requestId();
            if (response.status() == XferResponse.Status.ERROR
                    || response.failed().contains(id)) {
                String said = response.message().isEmpty() ? "no reason" : response.message();
                return new Answer(true, Optional.of("the prefiller refused: " + said));
            }
            if (response.ok().contains(id)) {
                checksums = response.checksums();
                return new Answer(true, Optional.empty());
            }
            boolean isLast = response.status() == XferResponse.Status.FINISH;
            return new Answer(isLast, Optional.of("the prefiller's answer does not name the request"));
        }

        /// Reports what became of it, once nobody writes into its blocks any more.
        void end(Optional<String> failure) {
            Optional<String> outcome = failure;
            if (window != null) {
                window.close();
                if (outcome.isEmpty()) {
                    outcome = checked(window);
                }
            }
            if (staging != null) {
                staging.close();
            }
            loads.remove(decided.requestId(), this);
            report(outcome);
            if (failure.equals(Optional.of(CANCELLED))) {
                release(source); // else it has been tried, or the prefiller is gone, or its lease runs out
            }
        }

        private Optional<String> checked(Window full) {
            try {
                return arrived(full);
            } catch (RuntimeException | OutOfMemoryError e) {
                LOG.error("load of {} failed", decided.requestId(), e);
                return Optional.of("internal error: " + e);
            }
        }

        /// @return why the blocks cannot be used, if so
        private Optional<String> arrived(Window full) {
            if (!full.isFull()) {
                return Optional.of("the prefiller says that the blocks are there, but not all of them arrived");
            }
            if (staging != null) {
                staging.convert(options.vllmLayout().orElseThrow(), decided.blockIds());
                return Optional.empty();
            }
            long[] sums = checksums.getOrDefault(decided.requestId(), new long[0]);
            if (sums.length != decided.blockIds().length) {
                return Optional.of("the prefiller sent %d checksums of %d blocks"
                        .formatted(sums.length, decided.blockIds().length));
            }
            BlockSum sum = new BlockSum(source.transferId());
            for (int i = 0; i < sums.length; i++) {
                if (sum.of(i, pool.block(decided.blockIds()[i]).asByteBuffer()) != sums[i]) {
                    counters.checksumErrors.increment();
                    return Optional.of(
                            "block %d of transfer %s arrived with a wrong checksum".formatted(i, source.transferId()));
                }
            }
            return Optional.empty();
        }

        private void report(Optional<String> failure) {
            int blocks = decided.blockIds().length;
            if (failure.isPresent()) {
                counters.failedTransfers.increment();
                LOG.info("KV load of {} failed: {}", decided.requestId(), failure.get());
                sink.accept(new KvEvent.KvFailed(decided.requestId(), failure.get()));
            } else {
                counters.loaded(System.nanoTime() - startNanos, blocks * pool.blockBytes(), blocks);
                sink.accept(
                        new KvEvent.KvArrived(decided.requestId(), decided.numTokens(), blocks * pool.blockBytes()));
            }
        }
    }
}
