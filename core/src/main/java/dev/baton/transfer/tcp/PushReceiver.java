package dev.baton.transfer.tcp;

import java.io.IOException;
import java.net.ProtocolException;
import java.nio.ByteBuffer;
import java.util.BitSet;
import java.util.function.IntConsumer;

/// Takes the slices of a prompt into the pool, in whatever order its layers come. Nothing counts before the
/// prefiller has said that all of it is computed and sent. Used once, by the connection's owner.
final class PushReceiver {
    private final String engineId;
    private final PayloadFrames slices;
    private final LocalPool pool;
    private final LocalPool.Window window;
    private final Counters counters;

    /// @param engineId the prefiller's
    PushReceiver(String engineId, PayloadFrames slices, LocalPool pool, LocalPool.Window window, Counters counters) {
        this.engineId = engineId;
        this.slices = slices;
        this.pool = pool;
        this.window = window;
        this.counters = counters;
    }

    /// As [PeerConnection#take].
    void receive(Push push, int[] localBlocks, PeerConnection.BlockSink sink, IntConsumer firstToken)
            throws IOException {
        BlockChecksum sums = new BlockChecksum(engineId, push.transferId());
        int blocks = push.end() - push.first();
        BitSet arrived = new BitSet(pool.layers() * blocks);
        BitSet damaged = new BitSet(blocks);
        boolean computing = true;
        slices.begin();
        while (true) {
            Slice slice = Slice.read(slices.next());
            slice.check(push.epoch());
            if (slice.isWord()) {
                if (!slice.isIntact(sums)) {
                    throw new ProtocolException("a damaged word among slices");
                }
                switch (slice.layer()) {
                    case Slice.COMING -> {}
                    case Slice.TOKEN -> {
                        computing = false;
                        firstToken.accept(slice.index());
                    }
                    case Slice.DONE -> {
                        if (arrived.cardinality() != pool.layers() * blocks) {
                            throw new ProtocolException("the end after %d of %d slices"
                                    .formatted(arrived.cardinality(), pool.layers() * blocks));
                        }
                        for (int i = 0; i < blocks; i++) {
                            sink.block(push.first() + i, !damaged.get(i));
                        }
                        return;
                    }
                    default -> throw new ProtocolException("an unknown word among slices: " + slice.layer());
                }
            } else {
                int place = check(slice, push, arrived);
                int block = slice.index() - push.first();
                if (!fill(slice, localBlocks[block], sums)) {
                    damaged.set(block);
                }
                arrived.set(place);
                if (computing) {
                    counters.bytesBeforeFirstToken.add(slice.bytes());
                }
            }
        }
    }

    /// @return the slice's place among all that are due
    private int check(Slice slice, Push push, BitSet arrived) throws ProtocolException {
        boolean due = slice.layer() < pool.layers()
                && slice.index() >= push.first()
                && slice.index() < push.end()
                && slice.bytes() == pool.layerBytes()
                && slice.tokens() == push.tokens(slice.index(), pool.blockTokens());
        int place = slice.layer() * (push.end() - push.first()) + slice.index() - push.first();
        if (!due || arrived.get(place)) {
            throw new ProtocolException("a slice that is not due: layer %d of block %d, %d tokens, %d bytes"
                    .formatted(slice.layer(), slice.index(), slice.tokens(), slice.bytes()));
        }
        return place;
    }

    private boolean fill(Slice slice, int localBlock, BlockChecksum sums) throws IOException {
        long offset = slice.layer() * pool.layerBytes();
        ByteBuffer payload = window.fill(localBlock, offset, pool.layerBytes());
        slices.payload(payload, false);
        int found = sums.ofLayer(slice.epoch(), slice.layer(), slice.index(), slice.tokens(), payload.flip());
        window.filled(localBlock, offset, pool.layerBytes());
        return found == slice.checksum();
    }
}
