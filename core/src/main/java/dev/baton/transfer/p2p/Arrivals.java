package dev.baton.transfer.p2p;

import dev.baton.tensor.DeviceBlocks;
import dev.baton.tensor.TensorException;
import dev.baton.transfer.Remembered;
import java.io.Closeable;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/// What has been pushed to a decoder and waits for its request: vLLM's `recv_store`, with an end for everything.
///
/// Memory is taken when a tensor is announced, and no more than the limit. What nobody asks for in time is dropped.
/// Thread-safe; nothing waits under its lock.
final class Arrivals implements Closeable {
    /// Failures, and tensors that nobody wants, that are remembered at a time.
    private static final int MAX_REMEMBERED = 4_096;

    private final long blockBytes;
    private final long maxBytes;
    private final long keepNanos;
    private final @Nullable DeviceBlocks device;
    private final Map<String, Arrived> arrived = new HashMap<>(); // by tensor id; guarded by this, as all below
    private final Map<String, String> failures = Remembered.atMost(MAX_REMEMBERED);
    /// Tensors that nobody waits for, should they still come; the next of that id is wanted again.
    private final Map<String, Boolean> unwanted = Remembered.atMost(MAX_REMEMBERED);
    private final Map<String, List<Runnable>> waiting = new HashMap<>();
    private long bytes;
    private boolean closed;

    private record Arrived(Tensor tensor, long deadlineNanos) {}

    /// What became of a tensor.
    sealed interface Outcome {
        /// It is here; whoever takes it closes it.
        record Here(Tensor tensor) implements Outcome {}

        /// It will not come.
        record Failed(String reason) implements Outcome {}
    }

    /// A prompt's blocks in memory of their own, of the host or of the pool's device. Owned by one thread at a
    /// time.
    final class Tensor implements Closeable {
        private final Arena arena = Arena.ofShared();
        private final MemorySegment memory; // (blocks, a block of the pool); empty if it is on a device
        private final DeviceBlocks.@Nullable Buffer buffer;
        private final int numBlocks;
        private final int numTokens;
        private final String promptDigest;

        private Tensor(int numBlocks, int numTokens, String promptDigest) {
            this.numBlocks = numBlocks;
            this.numTokens = numTokens;
            this.promptDigest = promptDigest;
            try {
                this.buffer = device == null ? null : device.newBuffer(numBlocks);
                this.memory = arena.allocate(device == null ? numBlocks * blockBytes : 0, Long.BYTES);
            } catch (OutOfMemoryError | TensorException e) {
                arena.close();
                throw e;
            }
        }

        /// Its memory, if it is on the device.
        Optional<DeviceBlocks.Buffer> buffer() {
            return Optional.ofNullable(buffer);
        }

        MemorySegment block(int index) {
            return memory.asSlice(index * blockBytes, blockBytes);
        }

        int numBlocks() {
            return numBlocks;
        }

        /// Tokens that the blocks hold; the last block may be partial.
        int numTokens() {
            return numTokens;
        }

        String promptDigest() {
            return promptDigest;
        }

        long numBytes() {
            return numBlocks * blockBytes;
        }

        @Override
        public void close() {
            arena.close();
            if (buffer != null) {
                buffer.close();
            }
            giveBack(numBytes());
        }
    }

    /// @param maxBytes of all tensors at a time
    /// @param keepNanos how long one waits for its request
    /// @param device whose memory they take, if the pool is on one
    Arrivals(long blockBytes, long maxBytes, long keepNanos, @Nullable DeviceBlocks device) {
        this.device = device;
        this.blockBytes = blockBytes;
        this.maxBytes = maxBytes;
        this.keepNanos = keepNanos;
    }

    /// Takes memory for a tensor.
    ///
    /// @return empty if there is none left
    Optional<Tensor> reserve(int numBlocks, int numTokens, String promptDigest) {
        long needed = numBlocks * blockBytes;
        synchronized (this) {
            if (closed || bytes + needed > maxBytes) {
                return Optional.empty();
            }
            bytes += needed;
        }
        try {
            return Optional.of(new Tensor(numBlocks, numTokens, promptDigest));
        } catch (OutOfMemoryError | TensorException e) {
            giveBack(needed);
            return Optional.empty();
        }
    }

    private synchronized void giveBack(long numBytes) {
        bytes -= numBytes;
    }

    /// A tensor is complete and right; taken over.
    void arrived(String tensorId, Tensor tensor) {
        Optional<Tensor> superfluous;
        List<Runnable> told;
        synchronized (this) {
            Arrived before = closed || unwanted.remove(tensorId) != null
                    ? new Arrived(tensor, 0)
                    : arrived.put(tensorId, new Arrived(tensor, System.nanoTime() + keepNanos));
            superfluous = Optional.ofNullable(before).map(Arrived::tensor);
            failures.remove(tensorId);
            told = waiting(tensorId);
        }
        superfluous.ifPresent(Tensor::close);
        told.forEach(Runnable::run);
    }

    /// A tensor will not come.
    void failed(String tensorId, String reason) {
        List<Runnable> told;
        synchronized (this) {
            if (arrived.containsKey(tensorId)) {
                return; // it came another time
            }
            failures.put(tensorId, reason);
            told = waiting(tensorId);
        }
        told.forEach(Runnable::run);
    }

    private List<Runnable> waiting(String tensorId) {
        return List.copyOf(waiting.getOrDefault(tensorId, List.of()));
    }

    /// Takes what has become of a tensor, if that is known.
    synchronized Optional<Outcome> take(String tensorId) {
        Arrived here = arrived.remove(tensorId);
        if (here != null) {
            return Optional.of(new Outcome.Here(here.tensor()));
        }
        return Optional.ofNullable(failures.remove(tensorId)).map(Outcome.Failed::new);
    }

    /// Has somebody told, at once if it is known already, when it is known what has become of a tensor.
    ///
    /// @param wake must return at once
    void await(String tensorId, Runnable wake) {
        boolean known;
        synchronized (this) {
            waiting.computeIfAbsent(tensorId, _ -> new ArrayList<>(1)).add(wake);
            known = arrived.containsKey(tensorId) || failures.containsKey(tensorId);
        }
        if (known) {
            wake.run();
        }
    }

    /// Ends an [#await].
    synchronized void forget(String tensorId, Runnable wake) {
        waiting.computeIfPresent(tensorId, (_, all) -> {
            all.remove(wake);
            return all.isEmpty() ? null : all;
        });
    }

    /// Drops a tensor that nobody needs, also if it is still to come.
    void drop(String tensorId) {
        Optional<Outcome> known;
        synchronized (this) {
            known = take(tensorId);
            if (known.isEmpty()) {
                unwanted.put(tensorId, true);
            }
        }
        if (known.orElse(null) instanceof Outcome.Here(Tensor tensor)) {
            tensor.close();
        }
    }

    /// Drops what nobody came for.
    ///
    /// @return nanoseconds until the next one is dropped, [Long#MAX_VALUE] if there is none
    long expireDue(long nowNanos) {
        List<Tensor> late = new ArrayList<>();
        long next = Long.MAX_VALUE;
        synchronized (this) {
            Iterator<Arrived> all = arrived.values().iterator();
            while (all.hasNext()) {
                Arrived each = all.next();
                long left = each.deadlineNanos() - nowNanos;
                if (left <= 0) {
                    late.add(each.tensor());
                    all.remove();
                } else {
                    next = Math.min(next, left);
                }
            }
        }
        late.forEach(Tensor::close);
        return next;
    }

    /// Bytes taken now, also for what is on its way.
    synchronized long numBytes() {
        return bytes;
    }

    /// Drops everything, and takes nothing any more.
    @Override
    public void close() {
        List<Arrived> all;
        synchronized (this) {
            closed = true;
            all = List.copyOf(arrived.values());
            arrived.clear();
        }
        all.forEach(each -> each.tensor().close());
    }
}
