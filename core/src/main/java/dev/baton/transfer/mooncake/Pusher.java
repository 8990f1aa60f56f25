package dev.baton.transfer.mooncake;

import dev.baton.metrics.KvSendEvent;
import dev.baton.tensor.PagedKv;
import dev.baton.transfer.BlockSum;
import dev.baton.transfer.KvLease;
import dev.baton.transfer.KvLeases;
import dev.baton.transfer.mooncake.Rendezvous.Held;
import dev.baton.transfer.mooncake.XferMetadata.Region;
import dev.baton.transfer.mooncake.XferMetadata.Want;
import dev.baton.transfer.mooncake.XferResponse.Status;
import dev.baton.transfer.tcp.Counters;
import dev.baton.wire.Threads;
import java.io.Closeable;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.net.ProtocolException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Consumer;
import java.util.function.Function;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// A prefiller's answers: takes decoders' questions, waits with each for its prefill, writes the blocks into the
/// decoder's memory and says so.
///
/// Every piece goes out under its lease: asked for before, given back after, and stopped in the middle (by closing
/// the connection) if the lease must end meanwhile. A transfer that was tried ends its lease, well or not: a
/// decoder that could not be written to computes the prompt itself. Thread-safe.
final class Pusher implements Closeable {
    private static final Logger LOG = LoggerFactory.getLogger(Pusher.class);

    /// Bytes written under one hold of the lease, about: less ends sooner, more has fewer system calls.
    private static final long PIECE_BYTES = 4 << 20;
    private static final long THREAD_KEEP_ALIVE_SECONDS = 10;

    private final PagedKv pool;
    private final SortedMap<String, String> compatibility;
    private final MooncakeOptions options;
    private final KvLeases leases;
    private final Counters counters;
    private final Rendezvous rendezvous = new Rendezvous(this::bothThere);
    private final TePeers peers;
    private final ThreadPoolExecutor threads;
    private final SideChannel sideChannel;
    private final Runnable onDeadline;

    /// @param onDeadline told after each new deadline
    Pusher(
            PagedKv pool,
            SortedMap<String, String> compatibility,
            String ip,
            MooncakeOptions options,
            KvLeases leases,
            Counters counters,
            Runnable onDeadline) {
        this.pool = pool;
        this.compatibility = compatibility;
        this.options = options;
        this.leases = leases;
        this.counters = counters;
        this.onDeadline = onDeadline;
        this.peers = new TePeers(options);
        this.threads = new ThreadPoolExecutor(
                options.numWorkers(),
                options.numWorkers(),
                THREAD_KEEP_ALIVE_SECONDS,
                TimeUnit.SECONDS,
                new LinkedBlockingQueue<>(), // bounded by the questions that may wait
                Thread.ofPlatform().daemon().name("baton-kv-push-", 0).factory());
        this.threads.allowCoreThreadTimeOut(true);
        this.sideChannel = new SideChannel(ip, options, this::received);
    }

    /// Where decoders ask, as `tcp://host:port`.
    String address() {
        return sideChannel.address();
    }

    Rendezvous rendezvous() {
        return rendezvous;
    }

    private void received(byte[] message, Consumer<XferResponse> replies) {
        try {
            XferMetadata metadata = XferMetadata.read(message);
            boolean wantsBlocks = metadata.wants().values().stream().anyMatch(want -> !want.isRelease());
            List<Region> regions = wantsBlocks ? regions(metadata) : List.of();
            AtomicInteger left = new AtomicInteger(metadata.wants().size());
            long deadline = System.nanoTime() + options.abortTimeout().toNanos();
            metadata.wants()
                    .forEach((id, want) ->
                            rendezvous.asked(new Question(replies, metadata, regions, id, want, left, deadline)));
            onDeadline.run();
        } catch (ProtocolException e) {
            LOG.warn("a decoder's question is refused: {}", e.getMessage());
            replies.accept(XferResponse.error(String.valueOf(e.getMessage())));
        }
    }

    /// The decoder's memory in the order of our layers (or as one region, if it takes our blocks as they are).
    ///
    /// @throws ProtocolException if blocks cannot go there
    private List<Region> regions(XferMetadata metadata) throws ProtocolException {
        if (metadata.tpSize() != 1 || metadata.ppSize() != 1) {
            throw new ProtocolException("remote_tp_size is %d and remote_pp_size %d; only 1 is supported"
                    .formatted(metadata.tpSize(), metadata.ppSize()));
        }
        if (!options.allows(metadata.host())) {
            throw new ProtocolException("remote_hostname %s is not among kv_allowed_hosts".formatted(metadata.host()));
        }
        if (metadata.baton().isPresent()) {
            checkCompatible(metadata.baton().get().compatibility());
            return checked(metadata.regions(), 1, pool.blockBytes());
        }
        if (options.vllmLayout().isEmpty()) {
            throw new ProtocolException("the decoder does not say how its blocks are laid out: set vllm_kv_layout in"
                    + " kv_connector_extra_config of the prefiller");
        }
        return checked(metadata.regions(), pool.layers(), VllmLayout.imageBytes(pool));
    }

    /// Names the first field that differs.
    private void checkCompatible(Map<String, String> theirs) throws ProtocolException {
        SortedMap<String, String> all = new TreeMap<>(theirs);
        all.putAll(compatibility);
        for (String name : all.keySet()) {
            String own = compatibility.getOrDefault(name, "nothing");
            String other = theirs.getOrDefault(name, "nothing");
            if (!own.equals(other)) {
                throw new ProtocolException(
                        "%s differs: %s on the prefiller, %s on the decoder".formatted(name, own, other));
            }
        }
    }

    private static List<Region> checked(List<Region> regions, int count, long payloadBytes) throws ProtocolException {
        List<Region> byLayer = new ArrayList<>(regions);
        byLayer.sort(Comparator.comparingInt(Region::layer));
        if (byLayer.size() != count) {
            throw new ProtocolException(
                    "the decoder registered %d regions, needed are %d".formatted(byLayer.size(), count));
        }
        for (int i = 0; i < count; i++) {
            Region region = byLayer.get(i);
            if (region.layer() != i || region.payloadBytes() != payloadBytes) {
                throw new ProtocolException(
                        "the decoder's region %d is layer %d with blocks of %d bytes; needed are layer %d and %d bytes"
                                        .formatted(i, region.layer(), region.payloadBytes(), i, payloadBytes)
                                + " (compare --block-size and the type of the cache)");
            }
        }
        return byLayer;
    }

    private void bothThere(Rendezvous.Question question, Held held) {
        Question asked = (Question) question;
        try {
            threads.execute(() -> answer(asked, held));
        } catch (RejectedExecutionException e) {
            asked.fail("the prefiller is closing");
        }
    }

    private void answer(Question question, Held held) {
        KvSendEvent event = KvSendEvent.started();
        String outcome = "";
        try {
            Optional<long[]> sums = question.isRelease() ? Optional.empty() : push(question, held);
            question.succeed(sums);
        } catch (IOException e) {
            outcome = String.valueOf(e.getMessage() == null ? e : e.getMessage());
        } catch (RuntimeException e) {
            LOG.error("pushing the blocks of {} failed", held.lease().requestId(), e);
            outcome = "internal error: " + e;
        }
        if (!outcome.isEmpty()) {
            LOG.warn("the blocks of {} were not pushed: {}", held.lease().requestId(), outcome);
            counters.failedTransfers.increment();
            question.fail(outcome);
        }
        if (!question.isRelease()) {
            int blocks = question.want.blocks().length;
            event.ended(
                    MooncakeConnector.NAME,
                    held.lease().requestId(),
                    question.metadata.host(),
                    blocks,
                    outcome.isEmpty() ? blocks * pool.blockBytes() : 0,
                    outcome.isEmpty() ? KvSendEvent.SENT : outcome);
        }
        leases.release(held.lease().handle());
    }

    /// @return checksums of the blocks, if the decoder wants them
    private Optional<long[]> push(Question question, Held held) throws IOException {
        long[] blocks = question.want.blocks();
        if (blocks.length > held.lease().numBlocks()) {
            throw new ProtocolException("P num blocks less than D: %d are held, %d are wanted"
                    .formatted(held.lease().numBlocks(), blocks.length));
        }
        question.checkPrompt(held.promptDigest());
        TePeers.Address peer = new TePeers.Address(question.metadata.host(), question.metadata.port());
        while (true) {
            TeConnection connection = peers.borrow(peer);
            boolean reused = connection.isOpen();
            boolean keep = false;
            try {
                if (!reused) {
                    peers.open(connection, peer);
                }
                Transfer transfer = new Transfer(connection, held.lease(), question);
                Optional<long[]> sums =
                        question.metadata.baton().isPresent() ? Optional.of(transfer.wholeBlocks()) : transfer.images();
                connection.awaitWritten();
                keep = true;
                counters.bytesSent.add(blocks.length * pool.blockBytes());
                return sums;
            } catch (ProtocolException e) {
                throw e;
            } catch (IOException e) {
                if (!reused || held.lease().outcome().isPresent()) {
                    throw e;
                }
                // The decoder may have closed the idle connection; writing twice does no harm.
                LOG.debug("pushing to {} begins anew: {}", peer, e.toString());
            } finally {
                peers.giveBack(peer, connection, keep);
            }
        }
    }

    /// Stops what is under way; returns when no thread of it runs any more.
    @Override
    public void close() {
        sideChannel.close();
        peers.close();
        threads.shutdownNow().clear(); // their leases expire
        Threads.awaitEnd(threads);
    }

    /// A decoder's question about one request.
    private static final class Question implements Rendezvous.Question {
        private final Consumer<XferResponse> replies;
        private final XferMetadata metadata;
        private final List<Region> regions;
        private final String requestId;
        private final Want want;
        private final AtomicInteger left; // requests of the same message that have no answer yet
        private final long deadlineNanos;

        Question(
                Consumer<XferResponse> replies,
                XferMetadata metadata,
                List<Region> regions,
                String requestId,
                Want want,
                AtomicInteger left,
                long deadlineNanos) {
            this.replies = replies;
            this.metadata = metadata;
            this.regions = regions;
            this.requestId = requestId;
            this.want = want;
            this.left = left;
            this.deadlineNanos = deadlineNanos;
        }

        @Override
        public String transferId() {
            return want.transferId();
        }

        @Override
        public boolean isRelease() {
            return want.isRelease();
        }

        @Override
        public long deadlineNanos() {
            return deadlineNanos;
        }

        @Override
        public void fail(String reason) {
            if (isRelease()) {
                succeed(Optional.empty()); // there is nothing left to let go
            } else {
                reply(status -> XferResponse.failed(status, requestId, reason));
            }
        }

        void succeed(Optional<long[]> sums) {
            reply(status -> XferResponse.ok(status, requestId, sums));
        }

        private void reply(Function<Status, XferResponse> response) {
            synchronized (left) { // no answer may overtake another: the last one ends the question
                Status status = left.decrementAndGet() == 0 ? Status.FINISH : Status.CONTINUE;
                replies.accept(response.apply(status));
            }
        }

        void checkPrompt(String held) throws ProtocolException {
            if (metadata.baton().isPresent()) {
                String theirs = metadata.baton().get().prompts().getOrDefault(requestId, "nothing");
                if (!theirs.equals(held)) {
                    throw new ProtocolException(
                            "the prompt differs: its digest is %s on the prefiller, %s on the decoder"
                                    .formatted(held, theirs));
                }
            }
        }
    }

    /// The writes of one transfer.
    private final class Transfer {
        private final TeConnection connection;
        private final KvLease lease;
        private final Question question;
        private final Runnable fence;
        private final long[] numbers; // what the decoder calls the blocks
        private final int first; // of the lease's blocks

        Transfer(TeConnection connection, KvLease lease, Question question) {
            this.connection = connection;
            this.lease = lease;
            this.question = question;
            this.fence = connection::abort;
            this.numbers = question.want.blocks();
            this.first = lease.numBlocks() - numbers.length;
        }

        /// Writes blocks as they lie here.
        long[] wholeBlocks() throws IOException {
            Region region = question.regions.getFirst();
            BlockSum sum = new BlockSum(question.transferId());
            long[] sums = new long[numbers.length];
            for (int from = 0; from < numbers.length; ) {
                int to = endOfRun(region, from, PIECE_BYTES);
                beginRead();
                try {
                    ByteBuffer[] pieces = new ByteBuffer[to - from];
                    for (int i = from; i < to; i++) {
                        pieces[i - from] = pool.block(lease.blockId(first + i)).asByteBuffer();
                        sums[i] = sum.of(i, pieces[i - from]);
                    }
                    connection.write(address(region, from), pieces, (to - from) * region.payloadBytes());
                } finally {
                    lease.endRead(fence);
                }
                from = to;
            }
            return sums;
        }

        /// Writes blocks as vLLM has them, layer by layer.
        Optional<long[]> images() throws IOException {
            VllmLayout layout = options.vllmLayout().orElseThrow();
            long imageBytes = VllmLayout.imageBytes(pool);
            long scratchBytes = Math.max(imageBytes, Math.min(PIECE_BYTES, imageBytes * numbers.length));
            try (Arena arena = Arena.ofConfined()) {
                MemorySegment scratch = arena.allocate(scratchBytes, Long.BYTES);
                for (int layer = 0; layer < question.regions.size(); layer++) {
                    Region region = question.regions.get(layer);
                    for (int from = 0; from < numbers.length; ) {
                        int to = endOfRun(region, from, scratchBytes);
                        beginRead();
                        try {
                            for (int i = from; i < to; i++) {
                                layout.toImage(
                                        pool,
                                        lease.blockId(first + i),
                                        layer,
                                        scratch.asSlice((i - from) * imageBytes, imageBytes));
                            }
                        } finally {
                            lease.endRead(fence);
                        }
                        long bytes = (to - from) * imageBytes;
                        ByteBuffer[] pieces = {scratch.asSlice(0, bytes).asByteBuffer()};
                        connection.write(address(region, from), pieces, bytes);
                        from = to;
                    }
                }
            }
            return Optional.empty();
        }

        private long address(Region region, int index) {
            return region.address() + numbers[index] * region.strideBytes();
        }

        /// Where blocks end that lie side by side on the decoder.
        private int endOfRun(Region region, int from, long mostBytes) {
            int to = from + 1;
            while (to < numbers.length
                    && region.strideBytes() == region.payloadBytes()
                    && numbers[to] == numbers[to - 1] + 1
                    && (to + 1 - from) * region.payloadBytes() <= mostBytes) {
                to++;
            }
            return to;
        }

        private void beginRead() throws IOException {
            if (!leases.beginRead(lease, fence)) {
                throw new IOException("the lease on the blocks has ended");
            }
        }
    }
}
