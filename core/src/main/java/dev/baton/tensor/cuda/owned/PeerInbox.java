package dev.baton.tensor.cuda.owned;

import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import dev.baton.tensor.TensorException;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.VarHandle;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/// One rank's memory that kernels of all other ranks write to, and what its own kernels need to know of theirs:
/// the table `Peers` of `peers.cu`. Ranks are devices of this process; several may be one device.
///
/// Kernels that wait for another rank stop when their own inbox is [#abort]ed.
///
/// Used from one thread at a time; [#abort] comes from any. Closed once no rank's kernels run any more.
public final class PeerInbox implements AutoCloseable {
    /// What a table has room for.
    public static final int MAX_RANKS = 8;

    private static final long ENDED_OFFSET = MAX_RANKS * Long.BYTES;
    private static final long RANK_OFFSET = ENDED_OFFSET + Long.BYTES;
    private static final long GENERATIONS_OFFSET = 128;
    private static final int ABORTED = 1;
    private static final int TIMED_OUT = 2; // then who was waited for, the thread block, its generation
    private static final int ENDED_BYTES = 4 * Integer.BYTES;
    private static final String WHAT = "what the GPUs leave each other";

    private final int rank;
    private final int ranks;
    private final int blocks;
    private final boolean sharesDevice;
    private final DeviceMemory memory;
    private final long inbox; // (blocks, bytes of a block)
    private final long table;
    private final PinnedMemory ended; // int (4), the first one 0 as long as all is well
    private boolean closed;

    private PeerInbox(Context context, int rank, int ranks, int blocks, boolean sharesDevice, long blockBytes) {
        this.rank = rank;
        this.ranks = ranks;
        this.blocks = blocks;
        this.sharesDevice = sharesDevice;
        this.memory = new DeviceMemory(context);
        PinnedMemory word = new PinnedMemory(context, ENDED_BYTES);
        try {
            word.segment().fill((byte) 0);
            this.inbox = memory.allocate(blocks * blockBytes, WHAT);
            this.table = memory.allocate(tableBytes(blocks), WHAT);
            this.ended = word;
        } catch (RuntimeException | Error e) {
            memory.close();
            word.close();
            throw e;
        }
    }

    private static long tableBytes(int blocks) {
        return GENERATIONS_OFFSET + (long) blocks * Integer.BYTES;
    }

    /// Why ranks cannot reach each other's memory, in a sentence; empty if they can.
    public static Optional<String> missing(List<Context> contexts) {
        if (contexts.size() > MAX_RANKS) {
            return Optional.of(contexts.size() + " ranks are more than " + MAX_RANKS);
        }
        for (Context from : contexts) {
            for (Context to : contexts) {
                if (!from.reaches(to)) {
                    return Optional.of("GPU " + from.device() + " cannot reach the memory of GPU " + to.device());
                }
            }
        }
        return Optional.empty();
    }

    /// Whether two of the ranks are on one device.
    public static boolean areShared(List<Context> contexts) {
        return contexts.stream().mapToInt(Context::device).distinct().count() < contexts.size();
    }

    /// Makes an inbox for each rank, and lets all reach all. The last one's context is current afterwards.
    ///
    /// @param contexts by rank; each must be able to reach each
    /// @param blocks most thread blocks of a kernel
    /// @param blockBytes what the others write to a thread block
    public static List<PeerInbox> connect(List<Context> contexts, int blocks, long blockBytes) {
        int ranks = contexts.size();
        boolean areShared = areShared(contexts);
        List<PeerInbox> inboxes = new ArrayList<>();
        try {
            for (int rank = 0; rank < ranks; rank++) {
                Context context = contexts.get(rank);
                context.makeCurrent();
                contexts.forEach(context::reach);
                inboxes.add(new PeerInbox(context, rank, ranks, blocks, areShared, blockBytes));
            }
            for (int rank = 0; rank < ranks; rank++) {
                contexts.get(rank).makeCurrent();
                inboxes.get(rank).fill(contexts.get(rank), inboxes, blockBytes);
            }
            return inboxes;
        } catch (RuntimeException | Error e) {
            for (int rank = 0; rank < inboxes.size(); rank++) {
                contexts.get(rank).makeCurrent();
                inboxes.get(rank).close();
            }
            throw e;
        }
    }

    private void fill(Context context, List<PeerInbox> all, long blockBytes) {
        try (Stream stream = new Stream(context);
                PinnedMemory pinned = new PinnedMemory(context, GENERATIONS_OFFSET)) {
            MemorySegment head = pinned.segment().fill((byte) 0);
            for (PeerInbox each : all) {
                head.setAtIndex(JAVA_LONG, each.rank, each.inbox);
            }
            head.set(JAVA_LONG, ENDED_OFFSET, ended.segment().address());
            head.set(JAVA_LONG, RANK_OFFSET, rank);
            stream.fill(inbox, (byte) 0, blocks * blockBytes);
            stream.fill(table, (byte) 0, tableBytes(blocks));
            stream.copyToDevice(table, head, GENERATIONS_OFFSET);
            stream.synchronize();
        }
    }

    /// Which of the ranks this is.
    public int rank() {
        return rank;
    }

    public int ranks() {
        return ranks;
    }

    /// Most thread blocks of a kernel.
    public int blocks() {
        return blocks;
    }

    /// Whether any two ranks are on one device.
    public boolean sharesDevice() {
        return sharesDevice;
    }

    /// Where the table is that kernels are given.
    public long table() {
        return table;
    }

    /// Whether a kernel of this rank has waited in vain, or was told to stop.
    public synchronized boolean hasEnded() {
        return closed || state() != 0;
    }

    private int state() {
        VarHandle.acquireFence();
        return ended.segment().get(JAVA_INT, 0);
    }

    /// Looks whether all that was waited for has come.
    ///
    /// @throws TensorException if [#hasEnded]: what kernels have computed since is worthless
    public synchronized void check() {
        if (closed || state() == ABORTED) {
            throw new TensorException("the sums of rank " + rank + " of " + ranks + " were ended");
        }
        if (state() == TIMED_OUT) {
            MemorySegment words = ended.segment();
            throw new TensorException("rank " + rank + " of " + ranks + " has waited in vain for a sum of rank "
                    + words.getAtIndex(JAVA_INT, 1) + " (thread block " + words.getAtIndex(JAVA_INT, 2) + ", number "
                    + words.getAtIndex(JAVA_INT, 3) + ")");
        }
    }

    /// Has kernels of this rank wait for nobody any more; not to be used afterwards.
    public synchronized void abort() {
        if (!closed && state() == 0) {
            ended.segment().set(JAVA_INT, 0, ABORTED);
            VarHandle.releaseFence();
        }
    }

    /// In the rank's context.
    @Override
    public synchronized void close() {
        if (!closed) {
            closed = true;
            memory.close();
            ended.close();
        }
    }
}
