package dev.baton.transfer.tcp;

import dev.baton.tensor.PagedKv;
import dev.baton.wire.Wire;
import java.io.Closeable;
import java.io.IOException;
import java.net.ProtocolException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;

/// The decoder's end of one connection to a prefiller.
///
/// Owned by one thread at a time, as its [Wire] is; any thread may [#abort()] it. After an exception other than a
/// refusal that leaves it usable, it must be closed.
final class PeerConnection implements Closeable {
    private static final int HEADER_BYTES = Limits.FRAME_HEADER_BYTES + Limits.BLOCK_BODY_BYTES;

    /// Learns what became of the blocks of a pull.
    interface BlockSink {
        /// A block has been written to the pool.
        ///
        /// @param intact whether its checksum was right
        void block(int index, boolean intact);
    }

    private final PeerAddress address;
    private final Hello self;
    private final TcpOptions options;
    private final PagedKv pool;
    private final Wire wire;
    private final FrameChannel frames;
    private final ByteBuffer header = header();
    private final ByteBuffer nextHeader = header();
    private boolean open;
    private long idleSinceNanos;

    /// A connection that is not open yet, so that opening it can be aborted.
    PeerConnection(PeerAddress address, Hello self, TcpOptions options, PagedKv pool) throws IOException {
        this.address = address;
        this.self = self;
        this.options = options;
        this.pool = pool;
        this.wire = Wire.unconnected();
        this.frames = new FrameChannel(wire);
    }

    private static ByteBuffer header() {
        return ByteBuffer.allocateDirect(HEADER_BYTES).order(ByteOrder.LITTLE_ENDIAN);
    }

    /// Whether it was opened before, and may have gone stale since.
    boolean isOpen() {
        return open;
    }

    /// Connects and shakes hands.
    void open() throws IOException {
        wire.connect(address.host(), address.port(), options.connectTimeout());
        self.to(address.engineId()).send(frames, options.peerTimeout());
        expect(FrameType.HELLO);
        Hello peer = Hello.read(frames);
        if (!peer.engineId().equals(address.engineId())) {
            throw new PeerRefusedException(
                    ErrorCode.WRONG_ENGINE,
                    "engine %s was expected there, but %s answered".formatted(address.engineId(), peer.engineId()));
        }
        self.agree(peer);
        open = true;
    }

    void markIdle(long nowNanos) {
        idleSinceNanos = nowNanos;
    }

    Duration idleFor(long nowNanos) {
        return Duration.ofNanos(nowNanos - idleSinceNanos);
    }

    /// Asks whether the peer is still there.
    void ping() throws IOException {
        long token = System.nanoTime();
        frames.begin(FrameType.PING).putLong(token);
        frames.send(options.peerTimeout());
        expect(FrameType.PONG);
        if (frames.readI64() != token) {
            throw new ProtocolException("PONG to another PING");
        }
    }

    /// Ends a lease there; returns once the prefiller has confirmed it.
    void release(String handle) throws IOException {
        FrameChannel.putString(frames.begin(FrameType.RELEASE), handle);
        frames.send(options.peerTimeout());
        expect(FrameType.OK);
    }

    /// Renews leases, at most [Limits#MAX_HEARTBEAT_IDS].
    ///
    /// @return those of them that are not held there any more
    List<String> heartbeat(List<String> handles) throws IOException {
        ByteBuffer body = frames.begin(FrameType.HEARTBEAT).putShort((short) handles.size());
        handles.forEach(handle -> FrameChannel.putString(body, handle));
        frames.send(options.peerTimeout());
        expect(FrameType.LOST);
        int count = frames.readU16();
        if (count > handles.size()) {
            throw new ProtocolException("LOST names more requests than were asked about");
        }
        List<String> lost = new ArrayList<>(count);
        for (int i = 0; i < count; i++) {
            lost.add(frames.readString(Limits.MAX_ID_BYTES));
        }
        return lost;
    }

    /// Fetches blocks of one lease into the pool, in the order asked for.
    ///
    /// @param numTokens tokens that the lease holds
    /// @param indexes indexes in the request's block list, at most [Limits#MAX_PULL_BLOCKS]
    /// @param remoteBlocks for each of them, the block on the prefiller
    /// @param localBlocks for each of them, the block of the pool to fill
    void pull(
            String handle,
            long epoch,
            int numTokens,
            int[] indexes,
            int[] remoteBlocks,
            int[] localBlocks,
            BlockChecksum checksum,
            BlockSink sink)
            throws IOException {
        ByteBuffer body = frames.begin(FrameType.PULL);
        FrameChannel.putString(body, handle);
        body.putLong(epoch).putInt(numTokens).putShort((short) indexes.length);
        for (int i = 0; i < indexes.length; i++) {
            body.putInt(indexes[i]).putInt(remoteBlocks[i]);
        }
        frames.send(options.peerTimeout());

        ByteBuffer current = header.clear();
        ByteBuffer next = nextHeader.clear();
        for (int i = 0; i < indexes.length; i++) {
            readBlockHeader(current);
            ByteBuffer payload = pool.block(localBlocks[i]).asByteBuffer();
            int expectedTokens = Math.min(pool.blockTokens(), numTokens - indexes[i] * pool.blockTokens());
            int expectedCrc = checkBlockHeader(current.flip(), epoch, indexes[i], expectedTokens, payload.remaining());
            // The header of the next block usually lies behind this one's bytes: one call fetches both.
            boolean last = i == indexes.length - 1;
            wire.readSteadily(
                    last ? new ByteBuffer[] {payload} : new ByteBuffer[] {payload, next.clear()},
                    options.peerTimeout());
            sink.block(indexes[i], checksum.of(epoch, indexes[i], expectedTokens, payload.flip()) == expectedCrc);
            ByteBuffer read = next;
            next = current;
            current = read;
        }
    }

    /// Completes a header that may have been read in part; an ERROR in its place is thrown.
    private void readBlockHeader(ByteBuffer buffer) throws IOException {
        if (buffer.position() < Limits.FRAME_HEADER_BYTES) {
            readUpTo(buffer, Limits.FRAME_HEADER_BYTES);
        }
        int bodyBytes = buffer.getInt(0);
        FrameType type = FrameChannel.checkedType(buffer.getInt(Integer.BYTES), bodyBytes);
        switch (type) {
            case BLOCK -> readUpTo(buffer, HEADER_BYTES);
            case ERROR -> throw frames.readError(buffer.flip(), options.peerTimeout());
            default -> throw new ProtocolException(type + " where a BLOCK was due");
        }
    }

    private void readUpTo(ByteBuffer buffer, int position) throws IOException {
        wire.readSteadily(new ByteBuffer[] {buffer.limit(position)}, options.peerTimeout());
        buffer.limit(HEADER_BYTES);
    }

    private static int checkBlockHeader(ByteBuffer buffer, long epoch, int index, int tokens, int bytes)
            throws ProtocolException {
        int bodyBytes = buffer.getInt();
        buffer.getInt(); // the type, checked
        long gotEpoch = buffer.getLong();
        int gotIndex = buffer.getInt();
        int gotTokens = buffer.getInt();
        int gotBytes = buffer.getInt();
        if (bodyBytes != Limits.BLOCK_BODY_BYTES
                || gotEpoch != epoch
                || gotIndex != index
                || gotTokens != tokens
                || gotBytes != bytes) {
            throw new ProtocolException(
                    "wrong block header: epoch %x, block %d, %d tokens, %d bytes; due: epoch %x, block %d, %d tokens, %d bytes"
                            .formatted(gotEpoch, gotIndex, gotTokens, gotBytes, epoch, index, tokens, bytes));
        }
        return buffer.getInt();
    }

    private void expect(FrameType expected) throws IOException {
        FrameType type = frames.receive(options.peerTimeout(), options.peerTimeout());
        if (type == FrameType.ERROR) {
            throw frames.readError();
        }
        if (type != expected) {
            throw new ProtocolException("%s where %s was due".formatted(type, expected));
        }
    }

    /// Makes the owner stop; from any thread.
    void abort() {
        wire.abort();
    }

    /// Owner only.
    @Override
    public void close() {
        wire.close();
    }
}
