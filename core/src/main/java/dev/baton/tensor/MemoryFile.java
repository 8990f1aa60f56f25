package dev.baton.tensor;

import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.nio.channels.FileChannel;
import java.nio.channels.FileChannel.MapMode;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.PosixFilePermissions;
import java.security.SecureRandom;
import java.util.HexFormat;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/// Memory of this process that other processes of the same user on the same host can map, to read: a Linux
/// memory file (`memfd_create`), which has no name, takes no room of `/dev/shm`, and ends with the last process
/// that has it, so that nothing is left over after a crash.
///
/// Its pages are ordinary ones, as Linux gives memory files no huge pages unless it is set up so
/// (`transparent_hugepage/shmem_enabled`).
///
/// Thread-safe. The owner closes it; what others have mapped stays as it was last written.
public final class MemoryFile implements AutoCloseable {
    private static final String NAME = "baton-kv";
    private static final String LINK = "/memfd:" + NAME + " (deleted)";
    private static final int CLOSE_ON_EXEC = 1;
    private static final int TOKEN_BYTES = 16;
    private static final long PAGE_BYTES = 4_096;
    private static final Pattern HANDLE =
            Pattern.compile("([0-9]{1,10}):([0-9]{1,10}):([0-9a-f]{%d})".formatted(2 * TOKEN_BYTES));

    private final Arena arena = Arena.ofShared();
    private final Calls calls;
    private final int descriptor;
    private final MemorySegment segment;
    private final String handle;

    private MemoryFile(Calls calls, int descriptor, long bytes) throws IOException {
        this.calls = calls;
        this.descriptor = descriptor;
        byte[] token = new byte[TOKEN_BYTES];
        new SecureRandom().nextBytes(token);
        long pid = ProcessHandle.current().pid();
        Path path = path(Long.toString(pid), Integer.toString(descriptor));
        Files.setPosixFilePermissions(path, PosixFilePermissions.fromString("rw-------"));
        try (FileChannel channel = FileChannel.open(path, StandardOpenOption.READ, StandardOpenOption.WRITE)) {
            MemorySegment all = channel.map(MapMode.READ_WRITE, 0, fileBytes(bytes), arena);
            MemorySegment.copy(token, 0, all, ValueLayout.JAVA_BYTE, tokenOffset(bytes), TOKEN_BYTES);
            this.segment = all.asSlice(0, bytes);
        }
        this.handle = "%d:%d:%s".formatted(pid, descriptor, HexFormat.of().formatHex(token));
    }

    /// Makes zeroed memory, aligned to a page.
    ///
    /// @throws TensorException if this operating system has no memory files, or not that much memory
    public static MemoryFile create(long bytes) {
        Calls calls = Calls.FOUND.orElseThrow(() ->
                new TensorException("this operating system has no memory files, or the process has no native access"));
        int descriptor = calls.create(NAME);
        try {
            return new MemoryFile(calls, descriptor, bytes);
        } catch (IOException | UnsupportedOperationException e) {
            calls.close(descriptor);
            throw new TensorException("a memory file of %d bytes cannot be had: %s".formatted(bytes, e), e);
        }
    }

    /// Maps the memory file of another process, to read.
    ///
    /// @param handle what the other one has as its [#handle]; it is not trusted
    /// @param bytes that are wanted of it
    /// @param arena ends the mapping
    /// @throws TensorException if there is none of that handle: the process has ended, is another user's, or lives
    ///     in another container
    public static MemorySegment open(String handle, long bytes, Arena arena) {
        Matcher parts = HANDLE.matcher(handle);
        if (!parts.matches()) {
            throw new TensorException("the handle of a memory file is not PID:DESCRIPTOR:TOKEN");
        }
        Path path = path(parts.group(1), parts.group(2));
        try {
            // Looked at before it is opened, which might block or change something if it is anything else.
            if (!Files.readSymbolicLink(path).toString().equals(LINK)) {
                throw new TensorException(path + " is no KV cache of a Baton");
            }
            try (FileChannel channel = FileChannel.open(path, StandardOpenOption.READ)) {
                if (channel.size() != fileBytes(bytes)) {
                    throw new TensorException("the KV cache at %s is a file of %d bytes, not of %d"
                            .formatted(path, channel.size(), fileBytes(bytes)));
                }
                MemorySegment all = channel.map(MapMode.READ_ONLY, 0, fileBytes(bytes), arena);
                byte[] token = all.asSlice(tokenOffset(bytes), TOKEN_BYTES).toArray(ValueLayout.JAVA_BYTE);
                if (!HexFormat.of().formatHex(token).equals(parts.group(3))) {
                    throw new TensorException(path + " is the KV cache of another Baton");
                }
                return all.asSlice(0, bytes);
            }
        } catch (IOException | UnsupportedOperationException e) {
            throw new TensorException("the memory file %s cannot be opened: %s".formatted(path, e), e);
        }
    }

    private static Path path(String pid, String descriptor) {
        return Path.of("/proc", pid, "fd", descriptor);
    }

    private static long tokenOffset(long bytes) {
        return Math.ceilDiv(bytes, PAGE_BYTES) * PAGE_BYTES;
    }

    private static long fileBytes(long bytes) {
        return tokenOffset(bytes) + PAGE_BYTES;
    }

    /// The memory; not to be used after [#close].
    public MemorySegment segment() {
        return segment;
    }

    /// What another process opens it by: process, descriptor, and a number drawn by lot that lies in the file, so
    /// that a process of the same number in another container is not taken for this one.
    public String handle() {
        return handle;
    }

    @Override
    public void close() {
        arena.close();
        calls.close(descriptor);
    }

    /// The system calls, found at run time.
    private record Calls(MethodHandle memfdCreate, MethodHandle closeDescriptor) {
        static final Optional<Calls> FOUND = find();

        private static Optional<Calls> find() {
            ValueLayout.OfInt number = ValueLayout.JAVA_INT;
            Optional<MethodHandle> create =
                    LibC.find("memfd_create", FunctionDescriptor.of(number, ValueLayout.ADDRESS, number));
            Optional<MethodHandle> close = LibC.find("close", FunctionDescriptor.of(number, number));
            return create.isPresent() && close.isPresent()
                    ? Optional.of(new Calls(create.get(), close.get()))
                    : Optional.empty();
        }

        int create(String name) {
            try (Arena arena = Arena.ofConfined()) {
                int descriptor = (int) memfdCreate.invokeExact(arena.allocateFrom(name), CLOSE_ON_EXEC);
                if (descriptor < 0) {
                    throw new TensorException("the operating system refuses to make a memory file");
                }
                return descriptor;
            } catch (RuntimeException | Error e) {
                throw e;
            } catch (Throwable t) {
                throw new TensorException("memfd_create failed: " + t, t);
            }
        }

        void close(int descriptor) {
            try {
                int _ = (int) closeDescriptor.invokeExact(descriptor);
            } catch (RuntimeException | Error e) {
                throw e;
            } catch (Throwable t) {
                throw new TensorException("close failed: " + t, t);
            }
        }
    }
}
