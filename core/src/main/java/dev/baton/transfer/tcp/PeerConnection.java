package dev.baton.transfer.tcp;

import dev.baton.kvcache.KvCacheSpec;
import dev.baton.tensor.DeviceBlocks.Offer;
import java.io.Closeable;
import java.io.IOException;
import java.net.ProtocolException;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.IntConsumer;
import org.jspecify.annotations.Nullable;

/// The decoder's end of one connection to a prefiller.
///
/// Owned by one thread at a time, as its [Link] is; any thread may [#abort()] it. After an exception other than a
/// refusal that leaves it usable, it must be closed.
final class PeerConnection implements Closeable {
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
    private final LocalPool pool;
    private final PeerPools peerPools;
    private final LocalPool.Window window;
    private final Link link;
    private final FrameChannel frames;
    private final PayloadFrames blocks;
    private final PayloadFrames slices;
    private final Counters counters;
    private boolean open;
    private boolean closed;
    private PoolSharing.@Nullable OpenPool shared;
    private Offer offer = Offer.NONE; // by which it is open
    private long idleSinceNanos;

    /// A connection that is not open yet, so that opening it can be aborted.
    ///
    /// @param link not connected yet
    PeerConnection(
            PeerAddress address,
            Hello self,
            TcpOptions options,
            LocalPool pool,
            PeerPools peerPools,
            Counters counters,
            Link link) {
        this.address = address;
        this.self = self;
        this.options = options;
        this.pool = pool;
        this.peerPools = peerPools;
        this.window = pool.newWindow();
        this.link = link;
        this.frames = new FrameChannel(link);
        this.blocks = new PayloadFrames(link, frames, FrameType.BLOCK, options.peerTimeout());
        this.slices = new PayloadFrames(link, frames, FrameType.SLICE, options.peerTimeout());
        this.counters = counters;
    }

    /// Whether it was opened before, and may have gone stale since.
    boolean isOpen() {
        return open;
    }

    /// Connects and shakes hands.
    void open() throws IOException {
        link.connect(address.host(), address.port(), options.connectTimeout());
        Hello peer = Handshake.dial(frames, self, address.engineId(), options.key(), options.peerTimeout());
        offer = peer.offer();
        shared = peerPools.acquire(peer).orElse(null);
        open = true;
    }

    void markIdle(long nowNanos) {
        idleSinceNanos = nowNanos;
    }

    Duration idleFor(long nowNanos) {
        return Duration.ofNanos(nowNanos - idleSinceNanos);
    }

    /// Whether the peer has closed it, or sent what nobody asked for: true of an idle one that is of no more use.
    boolean isOver() {
        try {
            return link.hasInput();
        } catch (IOException e) {
            return true;
        }
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
            BlockSink sink)
            throws IOException {
        PoolSharing.OpenPool from = shared;
        ask(from == null ? FrameType.PULL : FrameType.LEND, handle, epoch, numTokens, indexes, remoteBlocks);
        if (from == null) {
            receive(handle, epoch, numTokens, indexes, localBlocks, sink);
        } else {
            PoolSharing.Transfer transfer = new PoolSharing.Transfer(address.engineId(), handle, epoch, numTokens);
            copy(from, transfer, indexes, remoteBlocks, localBlocks, sink);
        }
    }

    private void ask(FrameType type, String handle, long epoch, int numTokens, int[] indexes, int[] remoteBlocks)
            throws IOException {
        ByteBuffer body = frames.begin(type);
        FrameChannel.putString(body, handle);
        body.putLong(epoch).putInt(numTokens).putShort((short) indexes.length);
        for (int i = 0; i < indexes.length; i++) {
            body.putInt(indexes[i]).putInt(remoteBlocks[i]);
        }
        frames.send(options.peerTimeout());
    }

    /// Copies blocks from the prefiller's pool, which it holds still until RETURN: each piece when its
    /// checksums have come, or all of them at once, while the prefiller looks whether it holds them and
    /// computes the checksums. What is here then must have those that the blocks had there: should the lease
    /// have ended before or meanwhile, they show it.
    private void copy(
            PoolSharing.OpenPool from,
            PoolSharing.Transfer transfer,
            int[] indexes,
            int[] remoteBlocks,
            int[] localBlocks,
            BlockSink sink)
            throws IOException {
        // Blocks that are not there at all are for the prefiller to refuse.
        boolean areThere = Arrays.stream(remoteBlocks).allMatch(id -> id >= 0 && id < from.numBlocks());
        long[] found = areThere && pool.sharing().orElseThrow().copiesAtOnce()
                ? from.copy(transfer, remoteBlocks, localBlocks, indexes)
                : new long[0];
        int done = 0;
        while (done < indexes.length) {
            long[] expected = readSums(frames, options.peerTimeout(), transfer.epoch(), indexes.length - done);
            int end = done + expected.length;
            if (found.length < end) {
                long[] sums = from.copy(
                        transfer,
                        Arrays.copyOfRange(remoteBlocks, done, end),
                        Arrays.copyOfRange(localBlocks, done, end),
                        Arrays.copyOfRange(indexes, done, end));
                found = Arrays.copyOf(found, end);
                System.arraycopy(sums, 0, found, done, sums.length);
            }
            if (end == indexes.length) {
                frames.begin(FrameType.RETURN);
                frames.send(options.peerTimeout());
            }
            for (int i = 0; i < expected.length; i++) {
                sink.block(indexes[done + i], found[done + i] == expected[i]);
            }
            done = end;
        }
    }

    /// @param due blocks whose checksums are still to come
    static long[] readSums(FrameChannel frames, Duration timeout, long epoch, int due) throws IOException {
        long[] sums = new long[readCount(frames, timeout, FrameType.SUMS, epoch, due)];
        for (int i = 0; i < sums.length; i++) {
            sums[i] = frames.readI64();
        }
        frames.expectEnd();
        return sums;
    }

    /// The number of blocks that a frame of this type is about.
    static int readCount(FrameChannel frames, Duration timeout, FrameType type, long epoch, int due)
            throws IOException {
        expect(frames, timeout, type);
        long gotEpoch = frames.readI64();
        int count = frames.readU16();
        if (gotEpoch != epoch || count < 1 || count > due) {
            throw new ProtocolException(
                    "%s of %d blocks, epoch %x; due: %d, epoch %x".formatted(type, count, gotEpoch, due, epoch));
        }
        return count;
    }

    private void receive(String handle, long epoch, int numTokens, int[] indexes, int[] localBlocks, BlockSink sink)
            throws IOException {
        BlockChecksum checksum = new BlockChecksum(address.engineId(), handle);
        blocks.begin();
        for (int i = 0; i < indexes.length; i++) {
            ByteBuffer header = blocks.next();
            ByteBuffer payload = window.fill(localBlocks[i], 0, pool.blockBytes());
            int expectedTokens = KvCacheSpec.tokensOf(indexes[i], numTokens, pool.blockTokens());
            int expectedCrc = checkBlockHeader(header, epoch, indexes[i], expectedTokens, payload.remaining());
            blocks.payload(payload, i == indexes.length - 1);
            boolean intact = checksum.of(epoch, indexes[i], expectedTokens, payload.flip()) == expectedCrc;
            window.filled(localBlocks[i], 0, pool.blockBytes());
            sink.block(indexes[i], intact);
        }
    }

    /// Takes blocks of a prompt into the pool as the prefiller computes them.
    ///
    /// @param push what is wanted
    /// @param localBlocks for each block wanted, the block of the pool to fill
    /// @param firstToken told of the prefiller's first token, perhaps long before this returns
    void take(Push push, int[] localBlocks, BlockSink sink, IntConsumer firstToken) throws IOException {
        PoolSharing.OpenPool from = shared;
        PoolSharing sharing = pool.sharing().orElse(null);
        if (from == null || sharing == null || !sharing.copiesPushed()) {
            push.ask(frames, options.peerTimeout());
            new PushReceiver(address.engineId(), slices, pool, window, counters)
                    .receive(push, localBlocks, sink, firstToken);
            return;
        }
        boolean byLayers = sharing.copiesLayers()
                && options.pushLayers().copies(from.expectedNanos(localBlocks.length * pool.blockBytes()));
        Push asked = push.by(byLayers ? Push.Way.COPIED_BY_LAYERS : Push.Way.COPIED);
        asked.ask(frames, options.peerTimeout());
        new PushCopier(
                        address.engineId(),
                        frames,
                        options.peerTimeout(),
                        pool,
                        from,
                        offer.numBlocks(),
                        asked,
                        localBlocks,
                        counters)
                .receive(sink, firstToken);
    }

    private static int checkBlockHeader(ByteBuffer buffer, long epoch, int index, int tokens, int bytes)
            throws ProtocolException {
        long gotEpoch = buffer.getLong();
        int gotIndex = buffer.getInt();
        int gotTokens = buffer.getInt();
        int gotBytes = buffer.getInt();
        if (gotEpoch != epoch || gotIndex != index || gotTokens != tokens || gotBytes != bytes) {
            throw new ProtocolException(
                    "wrong block header: epoch %x, block %d, %d tokens, %d bytes; due: epoch %x, block %d, %d tokens, %d bytes"
                            .formatted(gotEpoch, gotIndex, gotTokens, gotBytes, epoch, index, tokens, bytes));
        }
        return buffer.getInt();
    }

    private void expect(FrameType expected) throws IOException {
        expect(frames, options.peerTimeout(), expected);
    }

    private static void expect(FrameChannel frames, Duration timeout, FrameType expected) throws IOException {
        FrameType type = frames.receive(timeout, timeout);
        if (type == FrameType.ERROR) {
            throw frames.readError();
        }
        if (type != expected) {
            throw new ProtocolException("%s where %s was due".formatted(type, expected));
        }
    }

    /// Makes the owner stop; from any thread.
    void abort() {
        link.abort();
    }

    /// Owner only.
    @Override
    public void close() {
        if (closed) {
            return;
        }
        closed = true;
        link.close();
        window.close();
        if (shared != null) {
            shared = null;
            peerPools.release(offer);
        }
    }
}
