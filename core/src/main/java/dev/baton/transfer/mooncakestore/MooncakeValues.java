package dev.baton.transfer.mooncakestore;

import dev.baton.transfer.TransferException;
import dev.baton.transfer.mooncakestore.ObjectStore.Piece;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// Single values of a Mooncake cluster, for a connector that has names and layouts of its own.
///
/// The client behind it is opened anew when it has failed, after a pause of 1 to 30 seconds, on a thread of its
/// own: calls fail meanwhile, for Mooncake takes long to find out that there is no master. A call ends within
/// the cluster's `operationTimeout`. A value goes through memory of the calling thread's own, which takes the
/// longest value.
///
/// Thread-safe, for as many threads at a time as it was made for.
public final class MooncakeValues implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(MooncakeValues.class);

    private static final int ALIGNMENT = 64;
    private static final Duration OPENING_ENDS = Duration.ofSeconds(5);

    private final ObjectStore.Opener opener;
    private final StoreClient client;
    private final long maxBytes;
    private Optional<Thread> opening = Optional.empty(); // guarded by this
    private volatile Optional<TransferException> refusal = Optional.empty(); // by what speaks to the cluster

    /// What is kept under a name is not what was asked for; the cluster works.
    public static final class WrongValueException extends IOException {
        private static final long serialVersionUID = 1;

        WrongValueException(String message) {
            super(message);
        }
    }

    private MooncakeValues(ObjectStore.Opener opener, int threads, long maxBytes) {
        this.opener = opener;
        this.client = new StoreClient(opener, threads, Math.ceilDiv(maxBytes, ALIGNMENT) * ALIGNMENT);
        this.maxBytes = maxBytes;
    }

    /// Connects to a cluster. One that cannot be reached within `operationTimeout` is tried again when it is
    /// needed.
    ///
    /// @param who asks, for refusals and the log
    /// @param writes whether values will be put; reads alone need no library of Mooncake's
    /// @param threads that use it at a time
    /// @param maxBytes of the longest value
    /// @throws TransferException if nothing on this machine can do that, or it would listen beyond this machine
    public static MooncakeValues connect(
            String who, MooncakeAccess access, boolean writes, int threads, long maxBytes) {
        ObjectStore.Opener opener = MooncakeHome.find(who, access, writes, threads);
        MooncakeValues values = connect(opener, threads, maxBytes, access.operationTimeout());
        if (!values.client.isOpen()) {
            String failure = values.client.failure();
            LOG.warn(
                    "{}: the Mooncake store cannot be used yet: {}",
                    who,
                    failure.isEmpty() ? "the client is still being opened" : failure);
        }
        return values;
    }

    static MooncakeValues connect(ObjectStore.Opener opener, int threads, long maxBytes, Duration patience) {
        MooncakeValues values = new MooncakeValues(opener, threads, maxBytes);
        awaitEnd(values.openBeside(), patience);
        if (values.refusal.isPresent()) {
            values.close();
            throw values.refusal.get();
        }
        return values;
    }

    /// What speaks to the cluster, in words.
    public String describe() {
        return opener.describe();
    }

    /// Whether there is a value.
    ///
    /// @throws IOException if the cluster does not work, or did not a moment ago
    /// @throws IllegalArgumentException if the key has control characters
    public boolean contains(String key) throws IOException {
        requireWord(key);
        return use((store, _, _) -> store.exist(List.of(key)))[0] == 1;
    }

    /// Reads a value.
    ///
    /// @param parts are filled with it, one after the other; they hold anything if this does not return true
    /// @return whether there is one
    /// @throws WrongValueException if it has another length, or cannot be read
    /// @throws IOException if the cluster does not work, or did not a moment ago
    /// @throws IllegalArgumentException if the key has control characters
    public boolean get(String key, MemorySegment... parts) throws IOException {
        requireWord(key);
        long needed = bytes(parts);
        long length = use((store, area, offset) -> {
            long read = store.get(List.of(new Piece(key, offset, needed)))[0];
            if (read == needed) {
                copy(area, false, parts);
            }
            return read;
        });
        if (length == StoreErrors.OBJECT_NOT_FOUND) {
            return false;
        }
        if (length < 0 && length != StoreErrors.INVALID_PARAMS) {
            throw new WrongValueException("Mooncake answers %d to a read of it".formatted(length));
        }
        if (length != needed) {
            throw new WrongValueException("it has not the %d bytes that are needed".formatted(needed));
        }
        return true;
    }

    /// Puts a value, unless there is one.
    ///
    /// @param parts what it consists of
    /// @throws IOException if the cluster does not work, did not a moment ago, or has no room
    /// @throws IllegalArgumentException if the key has control characters
    public void put(String key, MemorySegment... parts) throws IOException {
        requireWord(key);
        long bytes = bytes(parts);
        long result = use((store, area, offset) -> {
            copy(area, true, parts);
            return store.put(List.of(new Piece(key, offset, bytes)))[0];
        });
        StoreErrors.checkPut(result);
    }

    private <T> T use(StoreClient.Use<T> use) throws IOException {
        if (client.isToBeOpened()) {
            Thread _ = openBeside();
            throw new IOException("a new client is being opened");
        }
        return client.use(use);
    }

    private synchronized Thread openBeside() {
        Optional<Thread> under = opening.filter(Thread::isAlive);
        if (under.isPresent()) {
            return under.get();
        }
        Thread thread = Thread.ofPlatform()
                .daemon()
                .name("baton-kv-mooncake-open")
                .start(() -> {
                    try {
                        client.open();
                    } catch (IOException e) {
                        LOG.debug("the Mooncake store: {}", e.getMessage());
                    } catch (TransferException e) {
                        refusal = Optional.of(e);
                    }
                });
        opening = Optional.of(thread);
        return thread;
    }

    private static void requireWord(String key) {
        if (key.isEmpty() || !Cluster.isWord(key)) {
            throw new IllegalArgumentException("the key is empty or has control characters");
        }
    }

    private long bytes(MemorySegment[] parts) {
        long bytes = 0;
        for (MemorySegment part : parts) {
            bytes += part.byteSize();
        }
        if (bytes > maxBytes) {
            throw new IllegalArgumentException("%d bytes are more than %d".formatted(bytes, maxBytes));
        }
        return bytes;
    }

    private static void copy(MemorySegment area, boolean into, MemorySegment[] parts) {
        long at = 0;
        for (MemorySegment part : parts) {
            MemorySegment place = area.asSlice(at, part.byteSize());
            if (into) {
                place.copyFrom(part);
            } else {
                part.copyFrom(place);
            }
            at += part.byteSize();
        }
    }

    /// Takes leave of the cluster: calls under way fail soon, later ones at once. The memory is given back when
    /// the last call has ended.
    @Override
    public void close() {
        client.close();
        Optional<Thread> last;
        synchronized (this) {
            last = opening;
        }
        last.ifPresent(thread -> {
            thread.interrupt();
            awaitEnd(thread, OPENING_ENDS); // Mooncake's library may go on, with memory that is its own
        });
    }

    private static void awaitEnd(Thread thread, Duration limit) {
        try {
            boolean _ = thread.join(limit);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }
}
