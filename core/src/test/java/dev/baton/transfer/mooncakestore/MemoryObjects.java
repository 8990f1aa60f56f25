package dev.baton.transfer.mooncakestore;

import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;

/// A cluster in this process, whose calls fail or hang on request; its results are those of Mooncake's client.
public final class MemoryObjects implements ObjectStore.Opener {
    public final Map<String, byte[]> values = new ConcurrentHashMap<>();
    public final AtomicInteger opened = new AtomicInteger();
    public final AtomicInteger closed = new AtomicInteger();
    /// What each call answers instead of its results; 0 for none.
    public volatile long result;
    /// Calls wait for it while it is there.
    volatile Semaphore gate = new Semaphore(Integer.MAX_VALUE);

    /// Its values, for one thread at a time.
    public MooncakeValues values(long maxBytes) {
        return MooncakeValues.connect(this, 1, maxBytes, Duration.ofSeconds(60));
    }

    @Override
    public ObjectStore open(long memoryBytes) throws IOException {
        if (result == -1000) {
            throw new IOException("nobody answers");
        }
        opened.incrementAndGet();
        return new Client(memoryBytes);
    }

    @Override
    public String describe() {
        return "memory";
    }

    @Override
    public boolean writes() {
        return true;
    }

    private final class Client implements ObjectStore {
        private final Arena arena = Arena.ofShared();
        private final MemorySegment memory;
        private volatile boolean aborted;

        Client(long memoryBytes) {
            this.memory = arena.allocate(memoryBytes, 64);
        }

        private void begin() throws IOException {
            try {
                while (!aborted && !gate.tryAcquire(5, TimeUnit.MILLISECONDS)) {
                    // still there
                }
            } catch (InterruptedException e) {
                throw new IOException(e);
            }
            if (aborted) {
                throw new IOException("aborted");
            }
            gate.release();
        }

        private long[] results(List<Long> results) throws IOException {
            long[] array = new long[results.size()];
            for (int i = 0; i < array.length; i++) {
                array[i] = result != 0 ? result : results.get(i);
            }
            return StoreErrors.check(array);
        }

        @Override
        public MemorySegment memory() {
            return memory;
        }

        @Override
        public long[] exist(List<String> keys) throws IOException {
            begin();
            List<Long> results = new ArrayList<>();
            keys.forEach(key -> results.add(values.containsKey(key) ? 1L : 0L));
            return results(results);
        }

        @Override
        public long[] put(List<Piece> pieces) throws IOException {
            begin();
            List<Long> results = new ArrayList<>();
            for (Piece piece : pieces) {
                if (result == 0) {
                    byte[] _ = values.putIfAbsent(
                            piece.key(),
                            memory.asSlice(piece.offset(), piece.length()).toArray(ValueLayout.JAVA_BYTE));
                }
                results.add(0L);
            }
            return results(results);
        }

        @Override
        public long[] get(List<Piece> pieces) throws IOException {
            begin();
            List<Long> results = new ArrayList<>();
            for (Piece piece : pieces) {
                byte[] value = values.get(piece.key());
                if (value == null) {
                    results.add(-704L);
                } else if (value.length > piece.length()) {
                    results.add(-600L);
                } else {
                    MemorySegment.copy(value, 0, memory, ValueLayout.JAVA_BYTE, piece.offset(), value.length);
                    results.add((long) value.length);
                }
            }
            return results(results);
        }

        @Override
        public void abort() {
            aborted = true;
        }

        @Override
        public void close() {
            closed.incrementAndGet();
            arena.close();
        }
    }
}
