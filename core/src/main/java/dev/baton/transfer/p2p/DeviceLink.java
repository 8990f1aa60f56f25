package dev.baton.transfer.p2p;

import dev.baton.tensor.DeviceBlocks;
import dev.baton.tensor.TensorException;
import dev.baton.transfer.BlockSeeds;
import dev.baton.transfer.KvLease;
import dev.baton.transfer.KvLeases;
import dev.baton.wire.MsgPack;
import dev.baton.wire.Zmtp;
import java.io.Closeable;
import java.io.IOException;
import java.net.ProtocolException;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.Arrays;
import java.util.Map;

/// The way of tensors from device to device, over NCCL, beside the control messages of one connection: as in vLLM
/// a communicator of two, whose rank 0 is who connects and has sent a `NEW` with its unique id. A tensor is one
/// message a block. Its checksums travel in the control message and are computed by the devices.
///
/// Used from one thread at a time; [#abort] may come from any.
final class DeviceLink implements Closeable {
    /// NCCL looks at all devices and ways of a machine first.
    private static final Duration CONNECTING = Duration.ofSeconds(20);

    private final DeviceBlocks device;
    private final DeviceBlocks.Link link;

    private DeviceLink(DeviceBlocks device, DeviceBlocks.Link link) {
        this.device = device;
        this.link = link;
    }

    /// The end of who connects: tells the other end.
    static DeviceLink open(Zmtp channel, DeviceBlocks device, Duration patience) throws IOException {
        byte[] id = checked(device::newLinkId);
        Map<String, Object> message = Control.message(Control.NEW);
        message.put(Control.UNIQUE_ID, id);
        channel.send(MsgPack.write(message));
        return new DeviceLink(device, checked(() -> device.link(id, true, CONNECTING, patience)));
    }

    /// The end of who was told.
    static DeviceLink accept(byte[] id, DeviceBlocks device, Duration patience) throws IOException {
        return new DeviceLink(device, checked(() -> device.link(id, false, CONNECTING, patience)));
    }

    /// Work of a device.
    @FunctionalInterface
    private interface Work<T> {
        T run();
    }

    private static <T> T checked(Work<T> work) throws IOException {
        try {
            return work.run();
        } catch (TensorException e) {
            throw new IOException(String.valueOf(e.getMessage()), e);
        }
    }

    /// Checksums of some blocks of a lease, for the control message in front of them.
    byte[] sums(String tensorId, KvLeases leases, KvLease lease, int first, int end) throws IOException {
        return reading(
                leases, lease, () -> bytes(device.sums(ids(lease, first, end), seeds(tensorId, first, end - first))));
    }

    /// Sends some blocks of a lease; returns when they have left.
    void send(KvLeases leases, KvLease lease, int first, int end) throws IOException {
        boolean _ = reading(leases, lease, () -> {
            link.send(ids(lease, first, end));
            return true;
        });
    }

    private <T> T reading(KvLeases leases, KvLease lease, Work<T> work) throws IOException {
        Runnable fence = link::abort;
        if (!leases.beginRead(lease, fence)) {
            throw new IOException("the blocks of %s are not held any more".formatted(lease.requestId()));
        }
        try {
            return checked(work);
        } finally {
            lease.endRead(fence);
        }
    }

    /// Receives a tensor that has no place in the pool yet.
    ///
    /// @param sums those that were sent in front of it
    /// @return how many blocks are wrong
    int receive(DeviceBlocks.Buffer buffer, String tensorId, byte[] sums) throws IOException {
        long[] expected = longs(sums, buffer.numBlocks());
        long[] actual = checked(() -> {
            link.receive(buffer);
            return buffer.sums(seeds(tensorId, 0, buffer.numBlocks()));
        });
        return differences(expected, actual);
    }

    /// Receives blocks into the pool.
    ///
    /// @param first number of the first of them within the prompt
    /// @param sums those that were sent in front of them
    /// @return how many are wrong
    int receive(int[] blocks, String tensorId, int first, byte[] sums) throws IOException {
        long[] expected = longs(sums, blocks.length);
        long[] actual = checked(() -> {
            link.receive(blocks);
            return device.sums(blocks, seeds(tensorId, first, blocks.length));
        });
        return differences(expected, actual);
    }

    private static int[] ids(KvLease lease, int first, int end) {
        int[] ids = new int[end - first];
        Arrays.setAll(ids, i -> lease.blockId(first + i));
        return ids;
    }

    private static long[] seeds(String tensorId, int first, int count) {
        BlockSeeds seeds = new BlockSeeds("", tensorId, 0);
        long[] all = new long[count];
        Arrays.setAll(all, i -> seeds.of(first + i, 0));
        return all;
    }

    private static byte[] bytes(long[] sums) {
        ByteBuffer buffer = ByteBuffer.allocate(sums.length * Long.BYTES);
        buffer.asLongBuffer().put(sums);
        return buffer.array();
    }

    private static long[] longs(byte[] sums, int count) throws ProtocolException {
        if (sums.length != count * Long.BYTES) {
            throw new ProtocolException("%d bytes of checksums for %d blocks".formatted(sums.length, count));
        }
        long[] all = new long[count];
        ByteBuffer.wrap(sums).asLongBuffer().get(all);
        return all;
    }

    private static int differences(long[] expected, long[] actual) {
        int wrong = 0;
        for (int i = 0; i < expected.length; i++) {
            wrong += expected[i] == actual[i] ? 0 : 1;
        }
        return wrong;
    }

    /// Makes what is under way fail soon.
    void abort() {
        link.abort();
    }

    @Override
    public void close() {
        link.close();
    }
}
