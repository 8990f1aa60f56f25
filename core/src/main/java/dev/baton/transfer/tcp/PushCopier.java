package dev.baton.transfer.tcp;

import dev.baton.tensor.TensorException;
import java.io.IOException;
import java.net.ProtocolException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.function.IntConsumer;
import java.util.stream.IntStream;

/// Copies the blocks of a prompt from the prefiller's pool while it is computed, layers of them as the prefiller says
/// that they are, and what is left once all are.
///
/// Nothing holds the blocks there before the prompt is computed: what is copied may have been given away by then.
/// So nothing counts but that in the end each whole block has the checksum that the prefiller computes of it under
/// its lease. Used once, by the connection's owner.
final class PushCopier {
    /// Layers of adjacent blocks that are copied, or were.
    private record Copy(int firstBlock, CompletableFuture<long[]> sums) {}

    private final FrameChannel frames;
    private final Duration timeout;
    private final int layers;
    private final long layerBytes;
    private final int remoteBlocks;
    private final PoolSharing.OpenPool from;
    private final PoolSharing.Transfer transfer;
    private final Push push;
    private final int[] localBlocks;
    private final Counters counters;
    private final BlockChecksum words;
    private final int[] copied; // (blocks wanted) layers of each, from the first one on
    private final List<Copy> copies = new ArrayList<>();
    private volatile boolean computing = true;

    /// @param engineId the prefiller's
    /// @param remoteBlocks that its pool has
    /// @param localBlocks for each block wanted, the block of the pool to fill
    PushCopier(
            String engineId,
            FrameChannel frames,
            Duration timeout,
            LocalPool pool,
            PoolSharing.OpenPool from,
            int remoteBlocks,
            Push push,
            int[] localBlocks,
            Counters counters) {
        this.frames = frames;
        this.timeout = timeout;
        this.layers = pool.layers();
        this.layerBytes = pool.layerBytes();
        this.remoteBlocks = remoteBlocks;
        this.from = from;
        this.transfer = new PoolSharing.Transfer(engineId, push.transferId(), push.epoch(), push.numTokens());
        this.push = push;
        this.localBlocks = localBlocks;
        this.counters = counters;
        this.words = new BlockChecksum(engineId, push.transferId());
        this.copied = new int[localBlocks.length];
    }

    /// As [PeerConnection#take]; nothing writes into the blocks any more when it returns, in whatever way.
    void receive(PeerConnection.BlockSink sink, IntConsumer firstToken) throws IOException {
        try {
            receiveWords(firstToken);
            int next = push.first();
            while (next < push.end()) {
                next = finish(next, sink);
            }
        } finally {
            awaitCopies();
        }
    }

    /// Copies what is computed, until all is.
    private void receiveWords(IntConsumer firstToken) throws IOException {
        while (true) {
            FrameType type = frames.receive(timeout, timeout);
            switch (type) {
                case ERROR -> throw frames.readError();
                case READY -> copy(Ready.read(frames, layers, remoteBlocks));
                case SLICE -> {
                    Slice word = Slice.readWord(frames, push.epoch(), words);
                    switch (word.layer()) {
                        case Slice.COMING -> {}
                        case Slice.AGAIN -> {
                            awaitCopies();
                            copies.clear();
                            Arrays.fill(copied, 0);
                        }
                        case Slice.TOKEN -> {
                            computing = false;
                            firstToken.accept(word.index());
                        }
                        case Slice.DONE -> {
                            computing = false;
                            return;
                        }
                        default -> throw new ProtocolException("an unknown word in a push: " + word.layer());
                    }
                }
                default -> throw new ProtocolException(type + " in a push");
            }
        }
    }

    private void copy(Ready ready) throws ProtocolException {
        Announced.Piece piece = ready.piece();
        boolean isDue = ready.epoch() == push.epoch()
                && piece.firstBlock() >= push.first()
                && piece.endBlock() <= push.end()
                && IntStream.range(piece.firstBlock(), piece.endBlock())
                        .allMatch(block -> copied[block - push.first()] == piece.firstLayer());
        if (!isDue) {
            throw new ProtocolException("READY that is not due: %s, epoch %x".formatted(piece, ready.epoch()));
        }
        long bytes = (piece.endLayer() - piece.firstLayer()) * layerBytes * ready.blockIds().length;
        CompletableFuture<long[]> sums = begin(piece, ready.blockIds());
        CompletableFuture<Void> _ = sums.thenRun(() -> counters.bytesBeforeFirstToken.add(computing ? bytes : 0));
    }

    private CompletableFuture<long[]> begin(Announced.Piece piece, int[] theirs) {
        int to = piece.endBlock() - push.first();
        int first = piece.firstBlock() - push.first();
        int[] indexes = IntStream.range(piece.firstBlock(), piece.endBlock()).toArray();
        CompletableFuture<long[]> sums = from.copyLayers(
                transfer,
                theirs,
                Arrays.copyOfRange(localBlocks, first, to),
                indexes,
                piece.firstLayer(),
                piece.endLayer());
        copies.add(new Copy(first, sums));
        Arrays.fill(copied, first, to, piece.endLayer());
        return sums;
    }

    /// Copies what is left of blocks that are held now, and compares their checksums.
    ///
    /// @param next the first block whose turn it is
    /// @return the block behind them
    private int finish(int next, PeerConnection.BlockSink sink) throws IOException {
        int[] theirs =
                new int[PeerConnection.readCount(frames, timeout, FrameType.HELD, push.epoch(), push.end() - next)];
        for (int i = 0; i < theirs.length; i++) {
            theirs[i] = frames.readI32();
        }
        frames.expectEnd();
        copyRest(next, theirs);
        long[] expected = new long[theirs.length];
        int got = 0;
        while (got < expected.length) {
            long[] sums = PeerConnection.readSums(frames, timeout, push.epoch(), expected.length - got);
            System.arraycopy(sums, 0, expected, got, sums.length);
            got += sums.length;
        }
        long[] found = found();
        frames.begin(FrameType.RETURN);
        frames.send(timeout);
        for (int i = 0; i < expected.length; i++) {
            sink.block(next + i, found[next - push.first() + i] == expected[i]);
        }
        return next + theirs.length;
    }

    private void copyRest(int next, int[] theirs) {
        int to;
        for (int i = 0; i < theirs.length; i = to) {
            int have = copied[next - push.first() + i];
            to = i + 1;
            while (to < theirs.length && copied[next - push.first() + to] == have) {
                to++;
            }
            if (have < layers) {
                CompletableFuture<long[]> _ = begin(
                        new Announced.Piece(have, layers, next + i, next + to), Arrays.copyOfRange(theirs, i, to));
            }
        }
    }

    /// The checksums of all blocks that were copied so far, once they have been.
    private long[] found() {
        long[] found = new long[copied.length];
        for (Copy copy : copies) {
            long[] sums = join(copy);
            for (int i = 0; i < sums.length; i++) {
                found[copy.firstBlock + i] += sums[i];
            }
        }
        return found;
    }

    private static long[] join(Copy copy) {
        try {
            return copy.sums.join();
        } catch (CompletionException e) {
            if (e.getCause() instanceof TensorException cause) {
                throw new TensorException(String.valueOf(cause.getMessage()), e);
            }
            throw e;
        }
    }

    /// Whoever wants the checksums is told if a copy failed.
    private void awaitCopies() {
        for (Copy copy : copies) {
            boolean _ = copy.sums.handle((_, _) -> true).join();
        }
    }
}
