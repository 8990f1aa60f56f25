package dev.baton.transfer.mooncakestore;

import static java.lang.foreign.SymbolLookup.*;
import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import dev.baton.transfer.TransferException;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.locks.ReentrantLock;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// Mooncake's client library in this process: `libmooncake_store.so`, whose header is `store_c.h`.
///
/// Nobody can end a call into the library, which waits for a master that hangs for half a minute, and twenty
/// times as long to join it. So calls are on threads of the client's own, and who waits too long goes on
/// without them. A client with a call under way keeps its memory, and takes leave of the cluster when the last
/// has ended. Thread-safe.
final class NativeStore implements ObjectStore {
    private static final Logger LOG = LoggerFactory.getLogger(NativeStore.class);

    private static final Duration END = Duration.ofSeconds(10);
    private static final int ALIGNMENT = 64;

    private final Library functions;
    private final Duration timeout;
    private final Arena arena = Arena.ofShared();
    private final MemorySegment memory;
    private final MemorySegment store;
    private final ExecutorService threads = Executors.newCachedThreadPool(
            Thread.ofPlatform().daemon().name("baton-kv-mooncake-library").factory());
    private final ReentrantLock lock = new ReentrantLock();
    private int calls; // under way; guarded by lock
    private boolean closed; // guarded by lock

    /// What is asked of the library.
    @FunctionalInterface
    private interface Call<T> {
        T call(Arena names) throws IOException;
    }

    /// Opens clients of a library, which stays loaded until the process ends.
    static final class Opener implements ObjectStore.Opener {
        private final Library functions;
        private final Cluster cluster;
        private final String host;
        private final Duration startTimeout;
        private final Duration timeout;
        private final Semaphore opening = new Semaphore(1);

        /// @param host how other nodes of the cluster reach this one
        /// @param startTimeout bound of joining the cluster
        /// @param timeout bound of each call
        Opener(Library functions, Cluster cluster, String host, Duration startTimeout, Duration timeout) {
            this.functions = functions;
            this.cluster = cluster;
            this.host = host;
            this.startTimeout = startTimeout;
            this.timeout = timeout;
        }

        @Override
        public ObjectStore open(long memoryBytes) throws IOException {
            if (!opening.tryAcquire()) {
                throw new IOException("Mooncake still tries to join the cluster");
            }
            CompletableFuture<NativeStore> opened = new CompletableFuture<>();
            // A thread of its own, also because the library blocks SIGTERM, SIGINT and SIGHUP in the one that
            // makes the first client, and all that this one starts inherit that, other processes as well.
            Thread.ofPlatform().daemon().name("baton-kv-mooncake-join").start(() -> {
                Runnable outcome;
                try {
                    callMaster();
                    NativeStore store = new NativeStore(this, memoryBytes);
                    outcome = () -> {
                        if (!opened.complete(store)) {
                            store.close(); // nobody waits for it any more
                        }
                    };
                } catch (IOException | RuntimeException | Error e) {
                    outcome = () -> opened.completeExceptionally(e);
                }
                opening.release(); // before: who has the outcome may try again
                outcome.run();
            });
            try {
                return await("setup", opened, startTimeout);
            } catch (IOException e) {
                opened.completeExceptionally(e);
                if (!opened.isCompletedExceptionally()) {
                    return opened.join(); // at the last moment
                }
                throw e;
            }
        }

        /// Looks whether somebody is there: the library tries twenty times to reach a master, and logs that.
        private void callMaster() throws IOException {
            InetSocketAddress master = new InetSocketAddress(cluster.masterHost(), cluster.masterPort());
            try (Socket socket = new Socket()) {
                socket.connect(master, Math.toIntExact(Math.min(startTimeout.toMillis(), Integer.MAX_VALUE)));
            } catch (IOException e) {
                throw new IOException(
                        "the master at %s cannot be reached: %s".formatted(cluster.masterAddress(), e.getMessage()), e);
            }
        }

        @Override
        public String describe() {
            return functions.path.toString();
        }

        @Override
        public boolean writes() {
            return true;
        }
    }

    /// The functions of the library. Thread-safe.
    static final class Library {
        private static final Linker LINKER = Linker.nativeLinker();

        private final Path path;
        private final SymbolLookup symbols;
        private final MethodHandle create;
        private final MethodHandle destroy;
        private final MethodHandle setup;
        private final MethodHandle register;
        private final MethodHandle unregister;
        private final MethodHandle exist;
        private final MethodHandle put;
        private final MethodHandle get;

        /// @throws TransferException if it cannot be loaded, or is another library
        Library(Path path) {
            this.path = path;
            try {
                this.symbols = libraryLookup(path, Arena.global());
            } catch (IllegalArgumentException e) {
                throw new TransferException("%s cannot be loaded: %s".formatted(path, reason()), e);
            }
            create = bind("create", FunctionDescriptor.of(ADDRESS));
            destroy = bind("destroy", FunctionDescriptor.ofVoid(ADDRESS));
            setup = status("setup", ADDRESS, ADDRESS, ADDRESS, JAVA_LONG, JAVA_LONG, ADDRESS, ADDRESS, ADDRESS);
            register = status("register_buffer", ADDRESS, ADDRESS, JAVA_LONG);
            unregister = status("unregister_buffer", ADDRESS, ADDRESS);
            exist = status("batch_is_exist", ADDRESS, ADDRESS, JAVA_LONG, ADDRESS);
            put = status("batch_put_from", ADDRESS, ADDRESS, ADDRESS, ADDRESS, JAVA_LONG, ADDRESS, ADDRESS);
            get = status("batch_get_into", ADDRESS, ADDRESS, ADDRESS, ADDRESS, JAVA_LONG, ADDRESS);
        }

        /// What the system's linker has to say, for example which other library is missing.
        private String reason() {
            try {
                System.load(path.toAbsolutePath().toString());
                return "the system's linker does not say why";
            } catch (UnsatisfiedLinkError e) {
                return String.valueOf(e.getMessage());
            }
        }

        private MethodHandle status(String function, MemoryLayout... arguments) {
            return bind(function, FunctionDescriptor.of(JAVA_INT, arguments));
        }

        private MethodHandle bind(String function, FunctionDescriptor descriptor) {
            MemorySegment address = symbols.find("mooncake_store_" + function)
                    .orElseThrow(() -> new TransferException(
                            "%s has no mooncake_store_%s; needed: libmooncake_store.so of Mooncake 0.3.12 or newer"
                                    .formatted(path, function)));
            return LINKER.downcallHandle(address, descriptor);
        }
    }

    private NativeStore(Opener opener, long memoryBytes) throws IOException {
        this.functions = opener.functions;
        this.timeout = opener.timeout;
        Cluster cluster = opener.cluster;
        int status;
        try (Arena names = Arena.ofConfined()) {
            this.memory = arena.allocate(memoryBytes, ALIGNMENT);
            this.store = (MemorySegment) functions.create.invokeExact();
            status = (int) functions.setup.invokeExact(
                    store,
                    names.allocateFrom(opener.host),
                    names.allocateFrom(cluster.metadataServer()),
                    cluster.segmentBytes(),
                    cluster.bufferBytes(),
                    names.allocateFrom(cluster.protocol()),
                    names.allocateFrom(cluster.deviceName()),
                    names.allocateFrom(cluster.masterAddress()));
            if (status == 0) {
                status = (int) functions.register.invokeExact(store, memory, memoryBytes);
            }
        } catch (Throwable t) {
            arena.close();
            throw failed("setup", t);
        }
        if (status != 0) {
            threads.shutdown();
            destroy();
            throw new IOException("Mooncake cannot join the cluster of the master at %s: it answers %d"
                    .formatted(cluster.masterAddress(), status));
        }
    }

    @Override
    public MemorySegment memory() {
        return memory;
    }

    @Override
    public long[] exist(List<String> keys) throws IOException {
        return call("batch_is_exist", arena -> {
            MemorySegment results = arena.allocate(JAVA_INT, keys.size());
            try {
                int status = (int) functions.exist.invokeExact(store, names(arena, keys), (long) keys.size(), results);
                return results("batch_is_exist", status, results.toArray(JAVA_INT));
            } catch (Throwable t) {
                throw failed("batch_is_exist", t);
            }
        });
    }

    @Override
    public long[] put(List<Piece> pieces) throws IOException {
        return call("batch_put_from", arena -> {
            MemorySegment results = arena.allocate(JAVA_INT, pieces.size());
            try {
                int status = (int) functions.put.invokeExact(
                        store,
                        names(arena, keys(pieces)),
                        addresses(arena, pieces),
                        lengths(arena, pieces),
                        (long) pieces.size(),
                        MemorySegment.NULL,
                        results);
                return results("batch_put_from", status, results.toArray(JAVA_INT));
            } catch (Throwable t) {
                throw failed("batch_put_from", t);
            }
        });
    }

    @Override
    public long[] get(List<Piece> pieces) throws IOException {
        return call("batch_get_into", arena -> {
            MemorySegment results = arena.allocate(JAVA_LONG, pieces.size());
            try {
                int status = (int) functions.get.invokeExact(
                        store,
                        names(arena, keys(pieces)),
                        addresses(arena, pieces),
                        lengths(arena, pieces),
                        (long) pieces.size(),
                        results);
                return checked("batch_get_into", status, results.toArray(JAVA_LONG));
            } catch (Throwable t) {
                throw failed("batch_get_into", t);
            }
        });
    }

    private <T> T call(String function, Call<T> what) throws IOException {
        CompletableFuture<T> result = new CompletableFuture<>();
        enter();
        threads.execute(() -> {
            Runnable outcome;
            try (Arena names = Arena.ofConfined()) {
                T value = what.call(names);
                outcome = () -> result.complete(value);
            } catch (IOException | RuntimeException | Error e) {
                outcome = () -> result.completeExceptionally(e);
            }
            leave(); // before: who has the result may close the client
            outcome.run();
        });
        return await(function, result, timeout);
    }

    private void enter() throws IOException {
        lock.lock();
        try {
            if (closed) {
                throw new IOException("the client was closed");
            }
            calls++;
        } finally {
            lock.unlock();
        }
    }

    private void leave() {
        boolean last;
        lock.lock();
        try {
            calls--;
            last = closed && calls == 0;
        } finally {
            lock.unlock();
        }
        if (last) {
            end();
        }
    }

    private static <T> T await(String function, CompletableFuture<T> result, Duration limit) throws IOException {
        try {
            return result.get(limit.toNanos(), TimeUnit.NANOSECONDS);
        } catch (TimeoutException e) {
            throw new IOException("Mooncake's %s took longer than %d ms".formatted(function, limit.toMillis()), e);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IOException("interrupted", e);
        } catch (ExecutionException e) {
            throw failed(function, e.getCause());
        }
    }

    private static List<String> keys(List<Piece> pieces) {
        return pieces.stream().map(Piece::key).toList();
    }

    private static MemorySegment names(Arena call, List<String> keys) {
        MemorySegment names = call.allocate(ADDRESS, keys.size());
        for (int i = 0; i < keys.size(); i++) {
            names.setAtIndex(ADDRESS, i, call.allocateFrom(keys.get(i)));
        }
        return names;
    }

    private MemorySegment addresses(Arena call, List<Piece> pieces) {
        MemorySegment addresses = call.allocate(ADDRESS, pieces.size());
        for (int i = 0; i < pieces.size(); i++) {
            Piece piece = pieces.get(i);
            addresses.setAtIndex(ADDRESS, i, memory.asSlice(piece.offset(), piece.length()));
        }
        return addresses;
    }

    private static MemorySegment lengths(Arena call, List<Piece> pieces) {
        MemorySegment lengths = call.allocate(ValueLayout.JAVA_LONG, pieces.size());
        for (int i = 0; i < pieces.size(); i++) {
            lengths.setAtIndex(JAVA_LONG, i, pieces.get(i).length());
        }
        return lengths;
    }

    private static long[] results(String function, int status, int[] numbers) throws IOException {
        long[] results = new long[numbers.length];
        for (int i = 0; i < results.length; i++) {
            results[i] = numbers[i];
        }
        return checked(function, status, results);
    }

    private static long[] checked(String function, int status, long[] results) throws IOException {
        if (status != 0) {
            throw new IOException("Mooncake's %s answers %d".formatted(function, status));
        }
        return StoreErrors.check(results);
    }

    private static IOException failed(String function, @Nullable Throwable thrown) {
        if (thrown instanceof Error error) {
            throw error;
        }
        if (thrown instanceof RuntimeException e) {
            throw e;
        }
        return thrown instanceof IOException e ? e : new IOException("Mooncake's " + function + " failed", thrown);
    }

    @Override
    public void abort() {
        // a call into the library cannot be ended
    }

    /// Takes leave of the cluster, or lets the last call do so. Does not wait long for a master that hangs.
    @Override
    public void close() {
        boolean last;
        lock.lock();
        try {
            last = !closed && calls == 0;
            closed = true;
        } finally {
            lock.unlock();
        }
        if (last) {
            try {
                await(
                        "destroy",
                        CompletableFuture.runAsync(this::end, threads),
                        END.compareTo(timeout) < 0 ? END : timeout);
            } catch (IOException e) {
                LOG.warn("a client of the Mooncake store is left alone: {}", e.getMessage());
            }
        }
    }

    private void end() {
        try {
            int _ = (int) functions.unregister.invokeExact(store, memory);
        } catch (Throwable t) {
            throw new TransferException("Mooncake's unregister_buffer failed: " + t, t);
        }
        destroy();
        threads.shutdown();
    }

    private void destroy() {
        try {
            functions.destroy.invokeExact(store);
        } catch (Throwable t) {
            throw new TransferException("Mooncake's destroy failed: " + t, t);
        }
        arena.close();
    }
}
