package dev.baton.tensor;

import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SegmentAllocator;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.util.Optional;

/// Large off-heap memory in pages of 2 MiB where the operating system gives them on request (Linux with
/// transparent huge pages set to `madvise` or `always`), else in ordinary pages: the same memory, read faster, as
/// the processor looks up and prefetches across fewer pages.
///
/// Stateless, so safe to use from several threads.
public final class OffHeap {
    private static final long HUGE_PAGE_BYTES = 2 << 20;

    /// Memory that [#pieces] takes at a time.
    private static final long CHUNK_BYTES = 32 * HUGE_PAGE_BYTES;

    private static final Optional<Mapper> MAPPER = Mapper.find();

    private OffHeap() {}

    /// Allocates zeroed memory, aligned to at least 64 bytes. What is smaller than a huge page is ordinary memory.
    ///
    /// @param arena ends it
    /// @throws OutOfMemoryError if the memory is not there
    public static MemorySegment allocate(Arena arena, long bytes) {
        if (bytes < HUGE_PAGE_BYTES || MAPPER.isEmpty()) {
            return arena.allocate(bytes, 64);
        }
        return MAPPER.get().map(arena, bytes);
    }

    /// Hands out pieces of larger pieces of memory, so that small ones get huge pages too. Pieces are zeroed, and
    /// aligned as asked, up to 64 bytes. Used from one thread.
    ///
    /// @param arena ends them
    public static SegmentAllocator pieces(Arena arena) {
        return new Pieces(arena);
    }

    private static final class Pieces implements SegmentAllocator {
        private final Arena arena;
        private MemorySegment chunk = MemorySegment.NULL;
        private long used;

        Pieces(Arena arena) {
            this.arena = arena;
        }

        @Override
        public MemorySegment allocate(long byteSize, long byteAlignment) {
            long from = Math.ceilDiv(used, byteAlignment) * byteAlignment;
            if (from + byteSize > chunk.byteSize()) {
                chunk = OffHeap.allocate(arena, Math.max(byteSize, CHUNK_BYTES));
                from = 0;
            }
            used = from + byteSize;
            return chunk.asSlice(from, byteSize);
        }
    }

    /// The system calls, found at run time; absent where one of them is.
    private record Mapper(MethodHandle mmap, MethodHandle madvise, MethodHandle munmap) {
        private static final int READ_WRITE = 1 | 2;
        private static final int PRIVATE_ANONYMOUS = 2 | 0x20; // Linux' numbers
        private static final int ADVISE_HUGE_PAGES = 14;
        private static final long FAILED = -1;

        static Optional<Mapper> find() {
            ValueLayout.OfLong word = ValueLayout.JAVA_LONG; // addresses and sizes of 64-bit machines
            ValueLayout.OfInt number = ValueLayout.JAVA_INT;
            Optional<MethodHandle> mmap =
                    LibC.find("mmap", FunctionDescriptor.of(word, word, word, number, number, number, word));
            Optional<MethodHandle> madvise = LibC.find("madvise", FunctionDescriptor.of(number, word, word, number));
            Optional<MethodHandle> munmap = LibC.find("munmap", FunctionDescriptor.of(number, word, word));
            return mmap.isPresent() && madvise.isPresent() && munmap.isPresent()
                    ? Optional.of(new Mapper(mmap.get(), madvise.get(), munmap.get()))
                    : Optional.empty();
        }

        MemorySegment map(Arena arena, long bytes) {
            // One huge page more, so that the memory can begin at the beginning of one.
            long mapped = Math.ceilDiv(bytes, HUGE_PAGE_BYTES) * HUGE_PAGE_BYTES + HUGE_PAGE_BYTES;
            try {
                long address = (long) mmap.invokeExact(0L, mapped, READ_WRITE, PRIVATE_ANONYMOUS, -1, 0L);
                if (address == FAILED) {
                    throw new OutOfMemoryError("the operating system has no " + mapped + " bytes of memory");
                }
                long start = Math.ceilDiv(address, HUGE_PAGE_BYTES) * HUGE_PAGE_BYTES;
                // Advice only: where it is not taken, pages are ordinary ones.
                int _ = (int) madvise.invokeExact(start, mapped - (start - address), ADVISE_HUGE_PAGES);
                return MemorySegment.ofAddress(start).reinterpret(bytes, arena, _ -> unmap(address, mapped));
            } catch (RuntimeException | Error e) {
                throw e;
            } catch (Throwable t) {
                throw new TensorException("mapping memory failed: " + t, t);
            }
        }

        private void unmap(long address, long mapped) {
            try {
                int _ = (int) munmap.invokeExact(address, mapped);
            } catch (RuntimeException | Error e) {
                throw e;
            } catch (Throwable t) {
                throw new TensorException("unmapping memory failed: " + t, t);
            }
        }
    }
}
