package dev.baton.tensor.cuda.checked;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import dev.baton.tensor.TensorException;
import dev.baton.tensor.cuda.raw.LibNccl;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Map;

/// NCCL with exceptions. What a communicator is given goes to a stream and is done there.
///
/// Safe to share between threads; one communicator is used from one thread at a time, but for [#abort].
public final class Nccl {
    /// Length of what the ranks of a communicator find each other by.
    public static final int UNIQUE_ID_BYTES = 128;

    /// `ncclUint8`
    public static final int BYTES = 1;

    /// `ncclBfloat16`
    public static final int BF16 = 9;

    private static final int SUM = 0; // ncclSum
    private static final int SUCCESS = 0;
    private static final int IN_PROGRESS = 7;

    // The first fields of ncclConfig_t, which are all that version 2.14 had: newer libraries take the rest as
    // not given.
    private static final long CONFIG_BYTES = 24;
    private static final long CONFIG_MAGIC_OFFSET = 8;
    private static final long CONFIG_VERSION_OFFSET = 12;
    private static final long CONFIG_BLOCKING_OFFSET = 16;
    private static final int CONFIG_MAGIC = 0xcafebeef;
    private static final int CONFIG_VERSION = 21_400;

    private final LibNccl lib;

    /// Loads the library.
    ///
    /// @throws TensorException in one sentence if it is missing
    public Nccl(Map<String, String> environment) {
        this.lib = new LibNccl(environment);
    }

    private void check(int status, String doing, long communicator) {
        if (status != SUCCESS && status != IN_PROGRESS) {
            String error = Cuda.text(lib.ncclGetErrorString(status));
            String details = Cuda.text(lib.ncclGetLastError(communicator)).strip();
            throw new TensorException(
                    "NCCL: " + error + " while " + doing + (details.isEmpty() ? "" : " (" + details + ")"));
        }
    }

    /// For example `2.28.9`.
    public String version() {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(JAVA_INT);
            check(lib.ncclGetVersion(out), "asking for its version", 0);
            int version = out.get(JAVA_INT, 0);
            return version / 10_000 + "." + version / 100 % 100 + "." + version % 100;
        }
    }

    /// Makes what the ranks of one communicator find each other by; this process stays reachable for them.
    public byte[] uniqueId() {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(LibNccl.UNIQUE_ID);
            check(lib.ncclGetUniqueId(out), "making a unique id", 0);
            return out.toArray(JAVA_BYTE);
        }
    }

    /// One communicator for each of some devices of this process, which are its ranks. Calls wait.
    ///
    /// @param devices their numbers among the visible ones
    public long[] createAll(int[] devices) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(JAVA_LONG, devices.length);
            MemorySegment ordinals = arena.allocateFrom(JAVA_INT, devices);
            check(lib.ncclCommInitAll(out, devices.length, ordinals), "connecting the GPUs", 0);
            return out.toArray(JAVA_LONG);
        }
    }

    /// A rank of a communicator over the current context's device. Returns at once, as all calls with it will: it
    /// is ready, and a call is done, when [#isBusy] says no.
    ///
    /// @param uniqueId what [#uniqueId] gave in one of the processes
    public long create(int ranks, byte[] uniqueId, int rank) {
        if (uniqueId.length != UNIQUE_ID_BYTES) {
            throw new TensorException("a unique id of NCCL has " + UNIQUE_ID_BYTES + " bytes, not " + uniqueId.length);
        }
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment config = arena.allocate(CONFIG_BYTES, Long.BYTES);
            config.set(JAVA_LONG, 0, CONFIG_BYTES);
            config.set(JAVA_INT, CONFIG_MAGIC_OFFSET, CONFIG_MAGIC);
            config.set(JAVA_INT, CONFIG_VERSION_OFFSET, CONFIG_VERSION);
            config.set(JAVA_INT, CONFIG_BLOCKING_OFFSET, 0);
            MemorySegment id = arena.allocateFrom(JAVA_BYTE, uniqueId);
            MemorySegment out = arena.allocate(JAVA_LONG);
            check(lib.ncclCommInitRankConfig(out, ranks, id, rank, config), "connecting to other ranks", 0);
            return out.get(JAVA_LONG, 0);
        }
    }

    /// Whether the last call is still under way.
    ///
    /// @throws TensorException if it, or anything that the communicator did, has failed
    public boolean isBusy(long communicator) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(JAVA_INT);
            check(lib.ncclCommGetAsyncError(communicator, out), "asking a communicator for its state", communicator);
            int state = out.get(JAVA_INT, 0);
            check(state, "communicating", communicator);
            return state == IN_PROGRESS;
        }
    }

    /// Ends a communicator with whatever it is doing; from any thread.
    public void abort(long communicator) {
        check(lib.ncclCommAbort(communicator), "ending a communicator", communicator);
    }

    /// Ends a communicator when what it was given is done; each rank does.
    public void destroy(long communicator) {
        check(lib.ncclCommDestroy(communicator), "closing a communicator", communicator);
    }

    /// Sums arrays of all ranks into one that all get.
    public void allReduce(long from, long to, long count, int type, long communicator, long stream) {
        check(lib.ncclAllReduce(from, to, count, type, SUM, communicator, stream), "adding over GPUs", communicator);
    }

    /// Gives all ranks the arrays of all, one after the other.
    ///
    /// @param count elements of one rank's
    public void allGather(long from, long to, long count, int type, long communicator, long stream) {
        check(lib.ncclAllGather(from, to, count, type, communicator, stream), "gathering over GPUs", communicator);
    }

    public void send(long from, long bytes, int peer, long communicator, long stream) {
        check(lib.ncclSend(from, bytes, BYTES, peer, communicator, stream), "sending to a GPU", communicator);
    }

    public void receive(long to, long bytes, int peer, long communicator, long stream) {
        check(lib.ncclRecv(to, bytes, BYTES, peer, communicator, stream), "receiving from a GPU", communicator);
    }

    /// Begins calls of this thread that are made one.
    public void beginGroup() {
        check(lib.ncclGroupStart(), "beginning a group", 0);
    }

    /// Ends what [#beginGroup] began, and gives it to the streams.
    public void endGroup() {
        check(lib.ncclGroupEnd(), "ending a group", 0);
    }
}
