package dev.baton.transfer.tcp;

import dev.baton.kvcache.KvCacheSpec;
import dev.baton.metrics.KvSendEvent;
import dev.baton.transfer.KvLease;
import dev.baton.transfer.KvLeases;
import dev.baton.wire.WireServer;
import java.io.EOFException;
import java.io.IOException;
import java.net.ProtocolException;
import java.net.SocketTimeoutException;
import java.nio.ByteBuffer;
import java.nio.channels.AsynchronousCloseException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.stream.IntStream;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// The prefiller's end of one connection: answers a decoder's frames, one after the other, on a thread of its own.
///
/// Every block goes out under its lease: asked for before, given back after, and stopped in the middle (by closing
/// the connection) if the lease must end meanwhile.
final class ServedConnection implements WireServer.Connection {
    private static final Logger LOG = LoggerFactory.getLogger(ServedConnection.class);

    /// How long the rest of a frame may take once it has begun; a handshake too.
    private static final Duration FRAME_TIMEOUT = Duration.ofSeconds(5);

    private final Link link;
    private final FrameChannel frames;
    private final Hello self;
    private final LocalPool pool;
    private final LocalPool.Window window;
    private final KvLeases leases;
    private final PushedPrompts prompts;
    private final PushSender pushes;
    private final LeaseHolders holders;
    private final TcpOptions options;
    private final Counters counters;
    private final Runnable fence;
    private Optional<PoolSharing> lent = Optional.empty(); // how the decoder reads the pool itself, if it may
    private final ByteBuffer blockHeader = PayloadFrames.header(FrameType.BLOCK);
    private String decoder = ""; // known once hands are shaken
    private volatile boolean pushing;

    ServedConnection(
            Link link,
            Hello self,
            LocalPool pool,
            KvLeases leases,
            PushedPrompts prompts,
            LeaseHolders holders,
            TcpOptions options,
            Counters counters) {
        this.link = link;
        this.frames = new FrameChannel(link);
        this.self = self;
        this.pool = pool;
        this.window = pool.newWindow();
        this.leases = leases;
        this.prompts = prompts;
        this.pushes = new PushSender(link, frames, self.engineId(), pool, window, prompts, options, counters);
        this.holders = holders;
        this.options = options;
        this.counters = counters;
        this.fence = link::abort;
    }

    @Override
    public void abort() {
        link.abort();
    }

    /// A push waits for its prefill, however long that is queued and computed.
    @Override
    public boolean isWaiting() {
        return pushing;
    }

    @Override
    public void run() {
        try (link;
                window) {
            decoder = shakeHands();
            holders.connected(decoder);
            serve();
        } catch (EOFException | AsynchronousCloseException e) {
            LOG.debug("KV connection ended: {}", e.getMessage());
        } catch (IOException e) {
            LOG.debug("KV connection dropped: {}", e.toString());
        }
    }

    private void serve() throws IOException {
        boolean silent = false;
        try {
            while (true) {
                answer(frames.receive(options.idleTimeout(), FRAME_TIMEOUT));
            }
        } catch (SocketTimeoutException e) {
            silent = true;
            throw e;
        } finally {
            holders.disconnected(decoder, silent);
        }
    }

    /// @return the decoder's engine id
    private String shakeHands() throws IOException {
        try {
            Hello peer = Handshake.serve(frames, self, options.key(), FRAME_TIMEOUT);
            lent = self.offerTo(peer).handle().isEmpty() ? Optional.empty() : pool.sharing();
            return peer.engineId();
        } catch (PeerRefusedException e) {
            LOG.warn("KV peer refused: {}", e.getMessage());
            throw refused(e);
        } catch (ProtocolException e) {
            throw refused(new PeerRefusedException(ErrorCode.PROTOCOL, String.valueOf(e.getMessage())));
        }
    }

    private void answer(FrameType type) throws IOException {
        try {
            switch (type) {
                case PULL -> pull();
                case LEND -> lend();
                case PUSH -> push();
                case RELEASE -> {
                    String handle = frames.readString(Limits.MAX_ID_BYTES);
                    frames.expectEnd();
                    prompts.release(handle);
                    frames.begin(FrameType.OK);
                    frames.send(FRAME_TIMEOUT);
                }
                case HEARTBEAT -> heartbeat();
                case PING -> {
                    long token = frames.readI64();
                    frames.begin(FrameType.PONG).putLong(token);
                    frames.send(FRAME_TIMEOUT);
                }
                case HELLO, AUTH, ERROR, BLOCK, OK, LOST, PONG, SUMS, RETURN, SLICE, HELD, READY ->
                    throw new ProtocolException("a decoder may not send " + type);
            }
        } catch (PeerRefusedException e) {
            refuse(e); // what it asks for next may be there
        } catch (ProtocolException e) {
            throw refused(new PeerRefusedException(ErrorCode.PROTOCOL, String.valueOf(e.getMessage())));
        }
    }

    /// Tells the decoder, after which the connection is to end.
    private PeerRefusedException refused(PeerRefusedException refusal) throws IOException {
        refuse(refusal);
        return refusal;
    }

    private void heartbeat() throws IOException {
        int count = frames.readU16();
        if (count > Limits.MAX_HEARTBEAT_IDS) {
            throw new ProtocolException(
                    "HEARTBEAT for %d requests; at most %d are allowed".formatted(count, Limits.MAX_HEARTBEAT_IDS));
        }
        List<String> lost = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            String handle = frames.readString(Limits.MAX_ID_BYTES);
            if (prompts.renew(handle)) {
                holders.asked(decoder, handle);
            } else {
                lost.add(handle);
            }
        }
        frames.expectEnd();
        ByteBuffer body = frames.begin(FrameType.LOST).putShort((short) lost.size());
        lost.forEach(handle -> FrameChannel.putString(body, handle));
        frames.send(FRAME_TIMEOUT);
    }

    /// Blocks of a lease that a decoder wants.
    ///
    /// @param handle by which it knows them
    private record Wanted(KvLease lease, String handle, long epoch, int[] indexes) {
        int[] blockIds() {
            return Arrays.stream(indexes).map(lease::blockId).toArray();
        }
    }

    /// What a PULL or LEND asks for.
    private Wanted readWanted() throws IOException {
        String handle = frames.readString(Limits.MAX_ID_BYTES);
        long epoch = frames.readI64();
        int numTokens = frames.readI32();
        int count = frames.readU16();
        if (count > Limits.MAX_PULL_BLOCKS || frames.body().remaining() != count * 2 * Integer.BYTES) {
            throw new ProtocolException("a request of %d blocks with %d bytes of them"
                    .formatted(count, frames.body().remaining()));
        }
        KvLease lease = leases.find(handle).orElse(null);
        if (lease == null) {
            throw gone(handle);
        }
        if (leases.renew(handle)) {
            holders.asked(decoder, handle);
        }
        int[] indexes = new int[count];
        for (int i = 0; i < count; i++) {
            indexes[i] = frames.readI32();
            int blockId = frames.readI32();
            Optional<String> problem = problem(lease, numTokens, indexes[i], blockId);
            if (problem.isPresent()) {
                throw new PeerRefusedException(ErrorCode.BAD_REQUEST, problem.get());
            }
        }
        return new Wanted(lease, handle, epoch, indexes);
    }

    private void push() throws IOException {
        Push push = Push.read(frames);
        holders.asked(decoder, push.transferId());
        if (push.way() == Push.Way.SENT) {
            recorded(push.transferId(), push.end() - push.first(), () -> compute(push));
            return;
        }
        PoolSharing sharing = sharing("a PUSH to be copied");
        recorded(push.transferId(), push.end() - push.first(), () -> lend(sharing, push, compute(push)));
    }

    /// Has the decoder check what it copied of a prompt that is computed now, and copy the rest.
    private void lend(PoolSharing sharing, Push push, KvLease computed) throws IOException {
        for (int from = push.first(); from < push.end(); from += Limits.MAX_PULL_BLOCKS) {
            int to = Math.min(push.end(), from + Limits.MAX_PULL_BLOCKS);
            int[] indexes = IntStream.range(from, to).toArray();
            Wanted wanted = new Wanted(computed, push.transferId(), push.epoch(), indexes);
            hold(wanted, () -> {
                ByteBuffer body =
                        frames.begin(FrameType.HELD).putLong(push.epoch()).putShort((short) indexes.length);
                Arrays.stream(wanted.blockIds()).forEach(body::putInt);
                frames.send(FRAME_TIMEOUT);
                sendSums(sharing, wanted);
            });
        }
    }

    /// Sends a prompt as it is computed.
    private KvLease compute(Push push) throws IOException {
        pushing = true;
        try {
            return pushes.push(push);
        } finally {
            pushing = false;
        }
    }

    private void pull() throws IOException {
        Wanted wanted = readWanted();
        KvLease lease = wanted.lease;
        BlockChecksum checksum = new BlockChecksum(self.engineId(), lease.handle());
        recorded(lease.requestId(), wanted.indexes.length, () -> {
            for (int index : wanted.indexes) {
                if (!leases.beginRead(lease, fence)) {
                    throw gone(lease.handle());
                }
                try {
                    sendBlock(lease, wanted.epoch, index, checksum);
                } finally {
                    lease.endRead(fence);
                }
            }
        });
    }

    /// What gives blocks to the decoder.
    @FunctionalInterface
    private interface Sending {
        void run() throws IOException;
    }

    /// Has it in the flight recorder how blocks are given to the decoder.
    private void recorded(String request, int blocks, Sending sending) throws IOException {
        KvSendEvent event = KvSendEvent.started();
        String outcome = "internal error";
        try {
            sending.run();
            outcome = KvSendEvent.SENT;
        } catch (IOException e) {
            outcome = e.toString();
            throw e;
        } finally {
            long bytes = outcome.equals(KvSendEvent.SENT) ? blocks * pool.blockBytes() : 0;
            event.ended(TcpConnector.NAME, request, decoder, blocks, bytes, outcome);
        }
    }

    private void lend() throws IOException {
        Wanted wanted = readWanted();
        PoolSharing sharing = sharing("LEND");
        recorded(wanted.lease.requestId(), wanted.indexes.length, () -> hold(wanted, () -> sendSums(sharing, wanted)));
    }

    /// How the decoder reads the pool itself.
    ///
    /// @param question what it may ask only then
    private PoolSharing sharing(String question) throws PeerRefusedException {
        return lent.orElseThrow(() -> new PeerRefusedException(ErrorCode.BAD_REQUEST, question + " without an offer"));
    }

    /// Says the checksums of blocks that the decoder copies itself, and keeps them as they are until it has, also if
    /// it has said on another connection already that it needs them no more. If the lease must end before, the
    /// connection is cut, and what the decoder still copies fails its checksums.
    private void hold(Wanted wanted, Sending sums) throws IOException {
        KvLease lease = wanted.lease;
        if (!leases.beginLend(lease, fence)) {
            throw gone(lease.handle());
        }
        try {
            sums.run();
            FrameType next = frames.receive(options.sendTimeout(), FRAME_TIMEOUT);
            if (next != FrameType.RETURN) {
                throw new ProtocolException(next + " where RETURN was due");
            }
            counters.bytesSent.add(wanted.indexes.length * pool.blockBytes());
        } finally {
            lease.endRead(fence);
        }
    }

    /// One frame for each piece, so that the decoder copies one while the next is summed up here; one for all
    /// where it copies all meanwhile.
    private void sendSums(PoolSharing sharing, Wanted wanted) throws IOException {
        KvLease lease = wanted.lease;
        PoolSharing.Transfer transfer =
                new PoolSharing.Transfer(self.engineId(), wanted.handle, wanted.epoch, lease.numTokens());
        int[] blocks = wanted.blockIds();
        int to = 0;
        for (int from = 0; from < blocks.length; from = to) {
            to = Math.min(blocks.length, from + sharing.piece());
            long[] sums = sharing.sums(
                    transfer, Arrays.copyOfRange(blocks, from, to), Arrays.copyOfRange(wanted.indexes, from, to));
            ByteBuffer body = frames.begin(FrameType.SUMS).putLong(wanted.epoch).putShort((short) sums.length);
            for (long sum : sums) {
                body.putLong(sum);
            }
            frames.send(FRAME_TIMEOUT);
        }
    }

    private static Optional<String> problem(KvLease lease, int numTokens, int index, int blockId) {
        if (numTokens != lease.numTokens()) {
            return Optional.of(
                    "lease %s holds %d tokens, not %d".formatted(lease.handle(), lease.numTokens(), numTokens));
        }
        if (index < 0 || index >= lease.numBlocks()) {
            return Optional.of(
                    "lease %s has %d blocks, none at %d".formatted(lease.handle(), lease.numBlocks(), index));
        }
        if (lease.blockId(index) != blockId) {
            return Optional.of("block %d of lease %s is not %d".formatted(index, lease.handle(), blockId));
        }
        return Optional.empty();
    }

    private PeerRefusedException gone(String handle) {
        return leases.find(handle)
                .flatMap(KvLease::outcome)
                .or(() -> leases.ended(handle))
                .map(outcome -> new PeerRefusedException(
                        ErrorCode.LEASE_ENDED,
                        switch (outcome) {
                            case EXPIRED -> "the lease on %s has expired".formatted(handle);
                            case RELEASED -> "the lease on %s was released".formatted(handle);
                        }))
                .orElseGet(
                        () -> new PeerRefusedException(ErrorCode.UNKNOWN_REQUEST, "no lease on %s".formatted(handle)));
    }

    private void refuse(PeerRefusedException refusal) throws IOException {
        frames.sendError(refusal.code(), String.valueOf(refusal.getMessage()), FRAME_TIMEOUT);
    }

    private void sendBlock(KvLease lease, long epoch, int index, BlockChecksum checksum) throws IOException {
        ByteBuffer payload = window.read(lease.blockId(index), 0, pool.blockBytes());
        int bytes = payload.remaining();
        int tokens = KvCacheSpec.tokensOf(index, lease.numTokens(), pool.blockTokens());
        FrameChannel.putHeader(blockHeader.clear(), FrameType.BLOCK, Limits.BLOCK_BODY_BYTES)
                .putLong(epoch)
                .putInt(index)
                .putInt(tokens)
                .putInt(bytes)
                .putInt(checksum.of(epoch, index, tokens, payload))
                .flip();
        link.writeSteadily(new ByteBuffer[] {blockHeader, payload}, options.sendTimeout());
        counters.bytesSent.add(bytes);
    }
}
