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
import java.nio.file.Path;
import java.util.List;

/// Mooncake's client library in this process: `libmooncake_store.so`, whose header is `store_c.h`.
///
/// Its memory is registered with the library as long as the client is open. Nobody can end a call into the
/// library, so a client with one under way keeps its memory. Thread-safe.
final class NativeStore implements ObjectStore {
    private final Library functions;
    private final Arena arena = Arena.ofShared();
    private final MemorySegment memory;
    private final MemorySegment store;

    /// Opens clients of a library, which stays loaded until the process ends.
    ///
    /// @param host how other nodes of the cluster reach this one
    record Opener(Library functions, Cluster cluster, String host) implements ObjectStore.Opener {
        @Override
        public ObjectStore open(long memoryBytes) throws IOException {
            return new NativeStore(this, memoryBytes);
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
                throw new TransferException("%s cannot be loaded: %s".formatted(path, e.getMessage()), e);
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
        this.functions = opener.functions();
        Cluster cluster = opener.cluster();
        int status;
        try (Arena names = Arena.ofConfined()) {
            this.memory = arena.allocate(memoryBytes, 64);
            this.store = (MemorySegment) functions.create.invokeExact();
            status = (int) functions.setup.invokeExact(
                    store,
                    names.allocateFrom(opener.host()),
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
            destroy();
            throw new IOException("the master at %s cannot be reached: Mooncake answers %d"
                    .formatted(cluster.masterAddress(), status));
        }
    }

    @Override
    public MemorySegment memory() {
        return memory;
    }

    @Override
    public long[] exist(List<String> keys) throws IOException {
        try (Arena call = Arena.ofConfined()) {
            MemorySegment results = call.allocate(JAVA_INT, keys.size());
            int status = (int) functions.exist.invokeExact(store, names(call, keys), (long) keys.size(), results);
            return results("batch_is_exist", status, results.toArray(JAVA_INT));
        } catch (Throwable t) {
            throw failed("batch_is_exist", t);
        }
    }

    @Override
    public long[] put(List<Piece> pieces) throws IOException {
        try (Arena call = Arena.ofConfined()) {
            MemorySegment results = call.allocate(JAVA_INT, pieces.size());
            int status = (int) functions.put.invokeExact(
                    store,
                    names(call, keys(pieces)),
                    addresses(call, pieces),
                    lengths(call, pieces),
                    (long) pieces.size(),
                    MemorySegment.NULL,
                    results);
            return results("batch_put_from", status, results.toArray(JAVA_INT));
        } catch (Throwable t) {
            throw failed("batch_put_from", t);
        }
    }

    @Override
    public long[] get(List<Piece> pieces) throws IOException {
        try (Arena call = Arena.ofConfined()) {
            MemorySegment results = call.allocate(JAVA_LONG, pieces.size());
            int status = (int) functions.get.invokeExact(
                    store,
                    names(call, keys(pieces)),
                    addresses(call, pieces),
                    lengths(call, pieces),
                    (long) pieces.size(),
                    results);
            return checked("batch_get_into", status, results.toArray(JAVA_LONG));
        } catch (Throwable t) {
            throw failed("batch_get_into", t);
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

    private static IOException failed(String function, Throwable thrown) {
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

    @Override
    public void close() {
        try {
            int _ = (int) functions.unregister.invokeExact(store, memory);
        } catch (Throwable t) {
            throw new TransferException("Mooncake's unregister_buffer failed: " + t, t);
        }
        destroy();
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
