package dev.baton.transfer.p2p;

import dev.baton.tensor.DeviceBlocks;
import dev.baton.tensor.PagedKv;
import dev.baton.transfer.BlockSum;
import dev.baton.transfer.KvLease;
import dev.baton.transfer.KvLeases;
import dev.baton.wire.Fields;
import dev.baton.wire.MsgPack;
import dev.baton.wire.Wire;
import dev.baton.wire.Zmtp;
import java.io.Closeable;
import java.io.IOException;
import java.net.ProtocolException;
import java.net.SocketTimeoutException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Arrays;
import java.util.Map;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/// The asking end of a connection to another instance: a DEALER. Owned by one thread at a time; [#abort] may come
/// from any.
final class PeerConnection implements Closeable {
    private static final int PINGS_PER_SILENCE = 4;

    private final Wire wire = Wire.unconnected();
    private final Endpoint peer;
    private final Compatibility compatibility;
    private final P2pOptions options;
    private final Zmtp channel;
    private final @Nullable DeviceBlocks device;
    private volatile @Nullable DeviceLink link; // once a tensor is to travel
    private boolean open;

    /// @param self identity of this instance, its `zmq_address`
    /// @param device the way to the pool's device, if it is on one: tensors then travel over NCCL
    PeerConnection(
            Endpoint peer,
            Endpoint self,
            Compatibility compatibility,
            P2pOptions options,
            @Nullable DeviceBlocks device)
            throws IOException {
        this.device = device;
        this.peer = peer;
        this.compatibility = compatibility;
        this.options = options;
        this.channel = new Zmtp(
                wire, Zmtp.SocketType.DEALER, self.toString().getBytes(StandardCharsets.UTF_8), Control.MAX_BYTES);
    }

    /// Connects and compares what must be equal; does nothing if that is done and the peer is still there.
    ///
    /// @throws ProtocolException if nothing can be exchanged with it; one sentence says why
    void open() throws IOException {
        if (open) {
            return;
        }
        wire.connect(peer.host(), peer.port(), options.connectTimeout());
        channel.greet(options.peerTimeout());
        Map<String, Object> greeting = Control.message(Control.NEW_TCP);
        greeting.put("version", Control.VERSION);
        greeting.put("fields", compatibility.fields());
        channel.send(MsgPack.write(greeting));
        Fields answer;
        try {
            answer = MsgPack.map("the answer of " + peer, Zmtp.single(channel.receive(options.peerTimeout())));
        } catch (SocketTimeoutException e) {
            throw new ProtocolException(
                    ("%s did not answer %s: it is no Baton with %s, perhaps a vLLM, whose tensors go"
                                    + " over NCCL; here they go over TCP, between Batons")
                            .formatted(peer, Control.NEW_TCP, P2pNcclConnector.NAME));
        }
        if (answer.number(Control.RET, 0, 1) != 0) {
            throw new ProtocolException("%s refuses: %s".formatted(peer, reason(answer)));
        }
        open = true;
    }

    /// The way of tensors, if it is from device to device.
    private Optional<DeviceLink> link() throws IOException {
        DeviceBlocks own = device;
        DeviceLink known = link;
        if (own != null && known == null) {
            known = DeviceLink.open(channel, own, options.peerTimeout());
            link = known;
        }
        return Optional.ofNullable(known);
    }

    private static String reason(Fields answer) throws ProtocolException {
        String text = answer.textOr(Control.REASON, "no reason");
        return text.substring(0, Math.min(text.length(), 500)).replaceAll("\\p{Cntrl}", " ");
    }

    /// Whether it may be used again.
    boolean isUsable() {
        try {
            while (open && wire.hasInput()) {
                channel.skip(options.peerTimeout()); // pings of the time when nobody read
            }
            return open;
        } catch (IOException e) {
            return false;
        }
    }

    /// Pushes the blocks of a lease, each with its checksum.
    ///
    /// @param isLast whether it will not be tried once more
    /// @return whether they have arrived well
    /// @throws IOException if the peer is gone, has no memory, or the lease has ended
    boolean put(
            String tensorId,
            TensorShape shape,
            PagedKv pool,
            KvLeases leases,
            KvLease lease,
            String promptDigest,
            boolean isLast)
            throws IOException {
        Map<String, Object> message = Control.message(Control.PUT);
        message.put(Control.TENSOR_ID, tensorId);
        message.put("shape", shape.of(lease.numBlocks()));
        message.put("dtype", shape.dtype());
        message.put("baton", compatibility.digest());
        message.put("num_tokens", lease.numTokens());
        message.put("prompt_digest", promptDigest);
        message.put("is_last", isLast);
        Optional<DeviceLink> direct = link();
        if (direct.isPresent()) {
            message.put(Control.SUMS, direct.get().sums(tensorId, leases, lease, 0, lease.numBlocks()));
        }
        channel.send(MsgPack.write(message));
        if (!isTaken()) {
            throw new ProtocolException(
                    "%s does not take the tensor: it is out of memory for it (kv_buffer_size,".formatted(peer)
                            + " mem_pool_size_gb), or it is none for it");
        }
        if (direct.isPresent()) {
            direct.get().send(leases, lease, 0, lease.numBlocks());
        } else {
            send(channel, tensorId, pool, leases, lease, 0, lease.numBlocks(), wire::abort, options.peerTimeout());
        }
        return isTaken();
    }

    private boolean isTaken() throws IOException {
        return Arrays.equals(Zmtp.single(channel.receive(options.peerTimeout())), Control.TAKEN);
    }

    /// Sends blocks of a lease as the frames of one message: each block, then its checksum.
    ///
    /// @param fence makes this thread stop
    static void send(
            Zmtp channel,
            String tensorId,
            PagedKv pool,
            KvLeases leases,
            KvLease lease,
            int first,
            int end,
            Runnable fence,
            Duration timeout)
            throws IOException {
        BlockSum sum = new BlockSum(tensorId);
        ByteBuffer check = ByteBuffer.allocate(Control.SUM_BYTES);
        for (int i = first; i < end; i++) {
            if (!leases.beginRead(lease, fence)) {
                throw new IOException("the blocks of %s are not held any more".formatted(lease.requestId()));
            }
            try {
                ByteBuffer block = pool.block(lease.blockId(i)).asByteBuffer();
                check.clear().putLong(sum.of(i, block)).flip();
                channel.sendFrame(block, true, timeout);
            } finally {
                lease.endRead(fence);
            }
            channel.sendFrame(check, i < end - 1, timeout);
        }
    }

    /// Where received blocks go.
    @FunctionalInterface
    interface Target {
        /// The memory of one block.
        ByteBuffer block(int index);
    }

    /// Receives what [#send] sends.
    ///
    /// @return how many blocks are wrong
    static int receive(Zmtp channel, String tensorId, int first, int end, Target target, Duration timeout)
            throws IOException {
        BlockSum sum = new BlockSum(tensorId);
        ByteBuffer check = ByteBuffer.allocate(Control.SUM_BYTES);
        int wrong = 0;
        for (int i = first; i < end; i++) {
            ByteBuffer block = target.block(i);
            boolean more = channel.receiveFrame(block.duplicate(), timeout)
                    && channel.receiveFrame(check.clear(), timeout) == (i < end - 1);
            if (!more) {
                throw new ProtocolException("a tensor with another number of frames than it has blocks");
            }
            wrong += check.getLong(0) == sum.of(i, block) ? 0 : 1;
        }
        return wrong;
    }

    /// Fetches blocks of a tensor into the pool.
    ///
    /// @param first number of the first block within the prompt
    /// @param blockIds where they go
    /// @return how many of them are wrong; empty if the peer does not have the tensor (any more)
    Optional<Integer> get(
            String tensorId, TensorShape shape, String promptDigest, int first, PagedKv pool, int[] blockIds)
            throws IOException {
        int end = first + blockIds.length;
        Optional<DeviceLink> direct = link();
        Map<String, Object> message = Control.message(Control.GET);
        message.put(Control.TENSOR_ID, tensorId);
        message.put("baton", compatibility.digest());
        message.put("prompt_digest", promptDigest);
        message.put("first", first);
        message.put("num_blocks", end - first);
        channel.send(MsgPack.write(message));
        Fields answer = MsgPack.map("the answer of " + peer, Zmtp.single(channel.receive(options.peerTimeout())));
        if (answer.number(Control.RET, 0, 1) != 0) {
            if (answer.has(Control.REASON)) {
                throw new ProtocolException("%s refuses: %s".formatted(peer, reason(answer)));
            }
            return Optional.empty();
        }
        if (shape.check(answer) != end - first) {
            throw new ProtocolException("%s sends another number of blocks than was asked for".formatted(peer));
        }
        return Optional.of(
                direct.isPresent()
                        ? direct.get().receive(blockIds, tensorId, first, answer.bytes(Control.SUMS))
                        : receive(
                                channel,
                                tensorId,
                                first,
                                end,
                                block -> pool.block(blockIds[block - first]).asByteBuffer(),
                                options.peerTimeout()));
    }

    /// Tells the peer that nobody wants a tensor any more.
    void release(String tensorId) throws IOException {
        Map<String, Object> message = Control.message(Control.RELEASE);
        message.put(Control.TENSOR_ID, tensorId);
        message.put("baton", compatibility.digest());
        channel.send(MsgPack.write(message));
        wire.flush(options.peerTimeout());
    }

    /// Waits while the peer is there and means to push a tensor; for an [#abort].
    ///
    /// @return why it will not push it
    String awaitRefusal(String tensorId, Duration timeout) throws IOException {
        Map<String, Object> message = Control.message(Control.WAIT);
        message.put(Control.TENSOR_ID, tensorId);
        channel.send(MsgPack.write(message));
        Duration pingEvery = options.peerTimeout().dividedBy(PINGS_PER_SILENCE);
        return reason(MsgPack.map(
                "the answer of " + peer, Zmtp.single(channel.receive(options.peerTimeout(), pingEvery, timeout))));
    }

    /// Makes the owner stop soon; from any thread.
    void abort() {
        wire.abort();
        DeviceLink known = link;
        if (known != null) {
            known.abort();
        }
    }

    @Override
    public void close() {
        wire.close();
        DeviceLink known = link;
        if (known != null) {
            known.close();
        }
    }
}
