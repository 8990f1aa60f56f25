package dev.baton.transfer.p2p;

import dev.baton.metrics.KvSendEvent;
import dev.baton.tensor.PagedKv;
import dev.baton.transfer.KvLease;
import dev.baton.transfer.KvLeases;
import dev.baton.transfer.p2p.P2pOptions.SendType;
import dev.baton.transfer.tcp.Counters;
import dev.baton.wire.Threads;
import java.io.Closeable;
import java.io.IOException;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// A prefiller's pushes of finished prompts: one after the other with PUT, several at a time with PUT_ASYNC.
/// Whatever becomes of one, its lease ends. Thread-safe.
final class Pushes implements Closeable {
    private static final Logger LOG = LoggerFactory.getLogger(Pushes.class);

    private static final int ASYNC_THREADS = 8;
    private static final int DEVICE_THREADS = 2; // each has a communicator with its memory for each decoder
    private static final int TRIES = 2;
    private static final long THREAD_KEEP_ALIVE_SECONDS = 10;

    private final PagedKv pool;
    private final TensorShape shape;
    private final KvLeases leases;
    private final Peers peers;
    private final Refusals refusals;
    private final Counters counters;
    private final ThreadPoolExecutor threads;

    Pushes(PagedKv pool, SendType sendType, KvLeases leases, Peers peers, Refusals refusals, Counters counters) {
        this.pool = pool;
        this.shape = new TensorShape(pool);
        this.leases = leases;
        this.peers = peers;
        this.refusals = refusals;
        this.counters = counters;
        int most = pool.isOnDevice() ? DEVICE_THREADS : ASYNC_THREADS;
        int size = sendType == SendType.PUT_ASYNC ? most : 1;
        this.threads = new ThreadPoolExecutor(
                size,
                size,
                THREAD_KEEP_ALIVE_SECONDS,
                TimeUnit.SECONDS,
                new LinkedBlockingQueue<>(), // bounded by the leases
                Thread.ofPlatform().daemon().name("baton-kv-push-", 0).factory());
        this.threads.allowCoreThreadTimeOut(true);
    }

    /// Pushes the blocks of a lease; returns at once.
    void start(String tensorId, Endpoint decoder, KvLease lease, String promptDigest) {
        execute(() -> run(tensorId, decoder, lease, promptDigest));
    }

    /// Tells a decoder that waits that a prompt will not come; returns at once.
    void refuse(String tensorId, String reason) {
        execute(() -> refusals.refused(tensorId, reason));
    }

    private void execute(Runnable task) {
        try {
            threads.execute(task);
        } catch (RejectedExecutionException e) {
            LOG.debug("nothing is pushed any more: the connector was closed");
        }
    }

    private void run(String tensorId, Endpoint decoder, KvLease lease, String promptDigest) {
        KvSendEvent event = KvSendEvent.started();
        String outcome = KvSendEvent.SENT;
        try {
            push(tensorId, decoder, lease, promptDigest);
            refusals.pushed(tensorId);
            counters.bytesSent.add(lease.numBlocks() * pool.blockBytes());
        } catch (IOException e) {
            outcome = e.toString();
            counters.failedTransfers.increment();
            LOG.warn("the blocks of {} were not pushed: {}", lease.requestId(), e.getMessage());
            refusals.refused(tensorId, "pushing them failed: " + e.getMessage());
        } catch (RuntimeException | OutOfMemoryError e) {
            outcome = e.toString();
            counters.failedTransfers.increment();
            LOG.error("pushing the blocks of {} failed", lease.requestId(), e);
            refusals.refused(tensorId, "pushing them failed: " + e);
        } finally {
            boolean sent = outcome.equals(KvSendEvent.SENT);
            long bytes = sent ? lease.numBlocks() * pool.blockBytes() : 0;
            event.ended(P2pNcclConnector.NAME, lease.requestId(), decoder, lease.numBlocks(), bytes, outcome);
            leases.release(lease.handle());
        }
    }

    private void push(String tensorId, Endpoint decoder, KvLease lease, String promptDigest) throws IOException {
        PeerConnection connection = peers.borrow(decoder);
        boolean keep = false;
        try {
            connection.open();
            boolean right = false;
            for (int i = 1; i <= TRIES && !right; i++) {
                right = connection.put(tensorId, shape, pool, leases, lease, promptDigest, i == TRIES);
            }
            if (!right) {
                throw new IOException("they arrived at %s with wrong checksums, %d times".formatted(decoder, TRIES));
            }
            keep = true;
        } finally {
            peers.giveBack(decoder, connection, keep);
        }
    }

    /// Ends what waits; [Peers#close] ends what is under way. Returns when no thread of it runs any more.
    @Override
    public void close() {
        threads.shutdownNow().clear(); // their leases expire
        Threads.awaitEnd(threads);
    }
}
