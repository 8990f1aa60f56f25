package dev.baton.tensor.cuda.owned;

import dev.baton.tensor.TensorException;
import dev.baton.tensor.cuda.checked.Nccl;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.locks.LockSupport;
import java.util.function.BooleanSupplier;
import org.jspecify.annotations.Nullable;

/// One rank of a communicator of NCCL: work that several GPUs do together, given to a stream of each.
///
/// Ranks call the same operations in the same order. One rank is used from one thread at a time; [#abort] comes
/// from any.
public final class Communicator implements AutoCloseable {
    private static final long POLL_NANOS = 20_000;
    private static final String LATE = "have not done their part";
    private static final Duration ABORT_PATIENCE = Duration.ofSeconds(10);

    private final Nccl nccl;
    private final long handle;
    private final int rank;
    private final int ranks;
    private final Duration patience; // zero if calls wait by themselves
    private boolean inGroup;
    private final AtomicBoolean ended = new AtomicBoolean();
    private volatile @Nullable Thread aborting;

    private Communicator(Nccl nccl, long handle, int rank, int ranks, Duration patience) {
        this.nccl = nccl;
        this.handle = handle;
        this.rank = rank;
        this.ranks = ranks;
        this.patience = patience;
    }

    /// What is missing for GPUs to communicate, in a sentence; empty if nothing is.
    public static Optional<String> missing(Map<String, String> environment) {
        try {
            new Nccl(environment);
            return Optional.empty();
        } catch (TensorException e) {
            return Optional.of(String.valueOf(e.getMessage()));
        }
    }

    /// Connects devices of this process; waits until they are. Each rank is used on a thread of its own, since its
    /// calls may wait for the others.
    ///
    /// @return a rank for each context, in their order
    /// @throws TensorException if NCCL is missing or cannot
    public static List<Communicator> connect(List<Context> contexts, Map<String, String> environment) {
        Nccl nccl = new Nccl(environment);
        long[] handles =
                nccl.createAll(contexts.stream().mapToInt(Context::device).toArray());
        List<Communicator> ranks = new ArrayList<>();
        for (int rank = 0; rank < handles.length; rank++) {
            ranks.add(new Communicator(nccl, handles[rank], rank, handles.length, Duration.ZERO));
        }
        return ranks;
    }

    /// What a new communicator's ranks find each other by, wherever they are.
    ///
    /// @throws TensorException if NCCL is missing or cannot
    public static byte[] uniqueId(Map<String, String> environment) {
        return new Nccl(environment).uniqueId();
    }

    /// Connects to ranks of other processes, over the device whose context is current. Nothing of this communicator
    /// waits longer for them than it is told to.
    ///
    /// @param uniqueId what [#uniqueId] gave for one of them
    /// @param connecting how long others may take to come
    /// @param patience how long they may take for their part of anything later
    /// @throws TensorException if NCCL is missing or cannot, or the others have not come in time
    public static Communicator join(
            Map<String, String> environment,
            byte[] uniqueId,
            int rank,
            int ranks,
            Duration connecting,
            Duration patience) {
        Nccl nccl = new Nccl(environment);
        Communicator joined = new Communicator(nccl, nccl.create(ranks, uniqueId, rank), rank, ranks, patience);
        joined.await(() -> !nccl.isBusy(joined.handle), connecting, "have not connected");
        return joined;
    }

    /// Which of the ranks this is.
    public int rank() {
        return rank;
    }

    public int ranks() {
        return ranks;
    }

    /// Whether it was ended, perhaps because something had failed.
    public boolean hasEnded() {
        return ended.get();
    }

    private long live() {
        if (ended.get()) {
            throw new TensorException("the connection between the GPUs has ended");
        }
        return handle;
    }

    /// The library's version, for example `2.28.9`.
    public String version() {
        return nccl.version();
    }

    /// Waits until a call of a communicator whose calls return at once is done, which its stream's work is not yet.
    private void settle() {
        if (!patience.isZero() && !inGroup) {
            await(() -> !nccl.isBusy(live()), patience, LATE);
        }
    }

    /// Makes several calls one. All that they are to do is done at the same time.
    public void group(Runnable calls) {
        nccl.beginGroup();
        inGroup = true;
        try {
            calls.run();
        } finally {
            inGroup = false;
            nccl.endGroup();
        }
        settle();
    }

    /// Waits until the work of a stream is done.
    ///
    /// @throws TensorException if it has failed, or the others have not done their part in time: the communicator
    ///     has ended then
    public void await(Stream stream) {
        await(
                () -> {
                    boolean isBusy = nccl.isBusy(live());
                    return stream.isDone() && !isBusy;
                },
                patience,
                LATE);
    }

    private void await(BooleanSupplier condition, Duration most, String missing) {
        long deadline = System.nanoTime() + most.toNanos();
        try {
            while (!condition.getAsBoolean()) {
                if (System.nanoTime() - deadline > 0) {
                    throw new TensorException("the other GPUs " + missing + " in " + most.toSeconds() + " s");
                }
                LockSupport.parkNanos(POLL_NANOS);
            }
        } catch (TensorException e) {
            abort();
            throw e;
        }
    }

    /// Sums bf16 numbers of all ranks, in place.
    public void allReduce(Stream stream, long address, long count) {
        nccl.allReduce(address, address, count, Nccl.BF16, live(), stream.handle());
        settle();
    }

    /// Gives all ranks the bytes of all, one after the other.
    ///
    /// @param bytes of one rank
    public void allGather(Stream stream, long from, long to, long bytes) {
        nccl.allGather(from, to, bytes, Nccl.BYTES, live(), stream.handle());
        settle();
    }

    public void send(Stream stream, long from, long bytes, int peer) {
        nccl.send(from, bytes, peer, live(), stream.handle());
        settle();
    }

    public void receive(Stream stream, long to, long bytes, int peer) {
        nccl.receive(to, bytes, peer, live(), stream.handle());
        settle();
    }

    /// Ends it with whatever it is doing, so that streams go on; not to be used afterwards. Returns at once: NCCL
    /// itself is done when the graphs that it is in are closed.
    public void abort() {
        if (ended.compareAndSet(false, true)) {
            aborting = Thread.ofPlatform().daemon().name("baton-nccl-abort").start(() -> nccl.abort(handle));
        }
    }

    /// Ends it, after the graphs that it is in. One that is [#join]ed does not wait for the others.
    @Override
    public void close() {
        if (patience.isZero() && ended.compareAndSet(false, true)) {
            nccl.destroy(handle);
            return;
        }
        abort();
        Thread ending = aborting;
        if (ending != null) {
            try {
                ending.join(ABORT_PATIENCE);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
        }
    }
}
