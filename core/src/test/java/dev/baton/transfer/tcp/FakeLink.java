package dev.baton.transfer.tcp;

import dev.baton.tensor.DeviceBlocks;
import dev.baton.tensor.TensorException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.IntFunction;

/// One end of a connection between two fake devices of this process, by the id that both were given.
final class FakeLink implements DeviceBlocks.Link {
    private static final Map<Integer, Meeting> MEETINGS = new ConcurrentHashMap<>();
    private static final AtomicInteger IDS = new AtomicInteger();
    private static final long SLICE_MILLIS = 10;

    private final Meeting meeting;
    private final BlockingQueue<byte[]> out;
    private final BlockingQueue<byte[]> in;
    private final Duration patience;
    private final IntFunction<MemorySegment> pool;
    private final AtomicInteger flips;
    private final AtomicInteger open;

    /// What two ends share.
    private static final class Meeting {
        final CountDownLatch ends = new CountDownLatch(2);
        final List<BlockingQueue<byte[]>> ways = List.of(new LinkedBlockingQueue<>(), new LinkedBlockingQueue<>());
        volatile boolean ended;
    }

    /// @param pool the memory of each block
    /// @param flips counts down blocks that are damaged on their way
    /// @param open counts links
    FakeLink(
            byte[] id,
            boolean isFirst,
            Duration connecting,
            Duration patience,
            IntFunction<MemorySegment> pool,
            AtomicInteger flips,
            AtomicInteger open) {
        this.meeting = MEETINGS.computeIfAbsent(256 * id[0] + Byte.toUnsignedInt(id[1]), _ -> new Meeting());
        this.out = meeting.ways.get(isFirst ? 0 : 1);
        this.in = meeting.ways.get(isFirst ? 1 : 0);
        this.patience = patience;
        this.pool = pool;
        this.flips = flips;
        this.open = open;
        meeting.ends.countDown();
        try {
            if (!meeting.ends.await(connecting.toMillis(), TimeUnit.MILLISECONDS)) {
                throw new TensorException("the other end has not come");
            }
        } catch (InterruptedException e) {
            throw new TensorException("interrupted", e);
        }
        open.incrementAndGet();
    }

    static byte[] newId() {
        int id = IDS.incrementAndGet();
        return new byte[] {(byte) (id >> 8), (byte) id};
    }

    @Override
    public void send(int[] blocks) {
        for (int block : blocks) {
            byte[] bytes = pool.apply(block).toArray(ValueLayout.JAVA_BYTE);
            if (flips.getAndUpdate(left -> Math.max(0, left - 1)) > 0) {
                bytes[77] ^= 1;
            }
            if (meeting.ended) {
                throw new TensorException("the link has ended");
            }
            out.add(bytes);
        }
    }

    @Override
    public void receive(int[] blocks) {
        for (int block : blocks) {
            receive(pool.apply(block));
        }
    }

    @Override
    public void receive(DeviceBlocks.Buffer buffer) {
        for (int i = 0; i < buffer.numBlocks(); i++) {
            receive(((FakeDevice.FakeBuffer) buffer).block(i));
        }
    }

    private void receive(MemorySegment to) {
        long deadline = System.nanoTime() + patience.toNanos();
        try {
            while (!meeting.ended && System.nanoTime() < deadline) {
                byte[] bytes = in.poll(SLICE_MILLIS, TimeUnit.MILLISECONDS);
                if (bytes != null) {
                    to.copyFrom(MemorySegment.ofArray(bytes));
                    return;
                }
            }
        } catch (InterruptedException e) {
            throw new TensorException("interrupted", e);
        }
        throw new TensorException("the other end has not done its part");
    }

    @Override
    public void abort() {
        meeting.ended = true;
    }

    @Override
    public void close() {
        meeting.ended = true;
        open.decrementAndGet();
    }
}
