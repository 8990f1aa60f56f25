package dev.baton.transfer.tcp;

import dev.baton.kvcache.BlockHasher;
import dev.baton.kvcache.KvCacheSpec;
import dev.baton.transfer.KvLease;
import dev.baton.transfer.KvLeases;
import dev.baton.transfer.KvRequest;
import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import org.jspecify.annotations.Nullable;

/// A prompt that is sent while it is computed: which layers of it are there, where they lie, and its first token.
///
/// The engine says what it computes and when it takes blocks away; those who send copy one layer of one block at a
/// time under the same lock, so that the engine waits for one such copy at most, and never for a network. Once the
/// prompt is computed its blocks are under a lease as any other's.
///
/// Thread-safe.
final class PushedPrompt {
    /// What there is to be sent.
    enum Next {
        PART,
        TOKEN,
        DONE,
        /// Not yet, and not before the time was over.
        NOTHING,
        OVER
    }

    private static final int[] NONE = {};

    private final String transferId;
    private final KvRequest request;
    private final KvCacheSpec spec;
    private final KvLeases leases;
    private int[] blockIds = NONE; // (blocks of the prompt), or none while it has none
    private final int[] computed; // (layers) tokens whose keys and values a layer has
    private int timesTaken; // how often it was preempted
    private int stepEnd; // tokens that will be computed once the step that runs has ended
    private @Nullable KvLease lease; // once it is computed
    private OptionalInt firstToken = OptionalInt.empty();
    private boolean unwanted;
    private @Nullable String over;

    PushedPrompt(String transferId, KvRequest request, KvCacheSpec spec, KvLeases leases) {
        this.transferId = transferId;
        this.request = request;
        this.spec = spec;
        this.leases = leases;
        this.computed = new int[spec.layers()];
    }

    String transferId() {
        return transferId;
    }

    String requestId() {
        return request.requestId();
    }

    /* The engine's thread. */

    /// The tokens before `from` are in these blocks, and those up to `end` are computed next.
    synchronized void computing(int[] blocks, int from, int end) {
        blockIds = Arrays.copyOf(blocks, Math.min(blocks.length, spec.blocksFor(request.numTokens())));
        stepEnd = Math.min(end, request.numTokens());
        for (int layer = 0; layer < computed.length; layer++) {
            computed[layer] = Math.max(computed[layer], Math.min(from, request.numTokens()));
        }
        notifyAll();
    }

    /// The step has written the keys and values of the layers up to this one.
    synchronized void layerComputed(int layer) {
        if (blockIds.length > 0 && computed[layer] < stepEnd) {
            for (int i = 0; i <= layer; i++) {
                computed[i] = Math.max(computed[i], stepEnd);
            }
            notifyAll();
        }
    }

    /// Its blocks are given to others; what has not been sent is computed again.
    synchronized void preempted() {
        blockIds = NONE;
        stepEnd = 0;
        timesTaken++;
        Arrays.fill(computed, 0);
    }

    /// It is computed, and these blocks of it are held.
    ///
    /// @return whether somebody is to come for them
    synchronized boolean held(KvLease under, int[] blocks, OptionalInt token) {
        blockIds = Arrays.copyOf(blocks, spec.blocksFor(request.numTokens()));
        lease = under;
        firstToken = token;
        Arrays.fill(computed, request.numTokens());
        notifyAll();
        return !unwanted;
    }

    /// Nothing more of it can be read.
    synchronized void end(String why) {
        if (over == null) {
            over = why;
        }
        blockIds = NONE;
        notifyAll();
    }

    /// Whether its decoder has let go of it.
    synchronized boolean isUnwanted() {
        return unwanted;
    }

    /* Other threads. */

    /// Nobody will come for it.
    ///
    /// @return the lease that ends by that, if it is computed
    synchronized Optional<KvLease> letGo() {
        unwanted = true;
        notifyAll();
        return Optional.ofNullable(lease);
    }

    /// The lease on it, once it is computed.
    synchronized Optional<KvLease> lease() {
        return Optional.ofNullable(lease);
    }

    /// Why a decoder cannot have it, if so.
    Optional<String> problem(Push push) {
        if (push.numTokens() != request.numTokens()
                || !push.promptDigest().equals(BlockHasher.digest(request.tokenIds(), request.numTokens()))) {
            return Optional.of("the prompt of %s is another one here, of %d tokens, not %d"
                    .formatted(transferId, request.numTokens(), push.numTokens()));
        }
        return push.end() > spec.blocksFor(request.numTokens())
                ? Optional.of("the prompt of %s has %d blocks, none at %d"
                        .formatted(transferId, spec.blocksFor(request.numTokens()), push.end() - 1))
                : Optional.empty();
    }

    /// Waits until there is something to send.
    ///
    /// @param sent for each layer, the block behind the last one that was sent
    /// @param end the block behind the last one that is to be sent
    Next await(int[] sent, int end, boolean tokenSent, long nanos) throws InterruptedException {
        return await(
                () -> nextLayer(sent, end) >= 0,
                () -> Arrays.stream(sent).allMatch(block -> block >= end),
                tokenSent,
                nanos);
    }

    /// Waits until there is something to say to a decoder that copies the blocks itself. What is not said before the
    /// prompt is computed need not be.
    Next await(Announced announced, boolean tokenSent, long nanos) throws InterruptedException {
        return await(
                () -> lease == null
                        && (announced.isOld(timesTaken) || nextPiece(announced).isPresent()),
                () -> true,
                tokenSent,
                nanos);
    }

    /// @param isPartThere whether a part is to be sent
    /// @param isAllSent whether nothing is left of a prompt that is computed
    private synchronized Next await(
            BooleanSupplier isPartThere, BooleanSupplier isAllSent, boolean tokenSent, long nanos)
            throws InterruptedException {
        long deadline = System.nanoTime() + nanos;
        while (true) {
            if (over != null || unwanted) {
                return Next.OVER;
            }
            if (firstToken.isPresent() && !tokenSent) {
                return Next.TOKEN;
            }
            if (isPartThere.getAsBoolean()) {
                return Next.PART;
            }
            if (lease != null && isAllSent.getAsBoolean()) {
                return Next.DONE;
            }
            long left = deadline - System.nanoTime();
            if (left <= 0) {
                return Next.NOTHING;
            }
            TimeUnit.NANOSECONDS.timedWait(this, Math.max(left, 1_000_000));
        }
    }

    /// How often its blocks were given to others before it was computed.
    synchronized int timesTaken() {
        return timesTaken;
    }

    /// Layers that a decoder may copy now; it notices by the checksums of the whole if they are taken away meanwhile.
    synchronized Optional<Announced.Piece> nextPiece(Announced announced) {
        int[] whole = new int[computed.length];
        // Behind the prompt's last token others may be written into its block.
        Arrays.setAll(whole, layer -> blockIds.length == 0 ? 0 : computed[layer] / spec.blockTokens());
        return announced.next(whole);
    }

    /// Where the blocks of a piece lie; empty if they have been taken away.
    synchronized Optional<int[]> blockIds(Announced.Piece piece) {
        return over == null && piece.endBlock() <= blockIds.length
                ? Optional.of(Arrays.copyOfRange(blockIds, piece.firstBlock(), piece.endBlock()))
                : Optional.empty();
    }

    /// The layer of which something is to be sent, and least has been; -1 if there is none.
    synchronized int nextLayer(int[] sent, int end) {
        int next = -1;
        for (int layer = 0; layer < sent.length; layer++) {
            if (sent[layer] < Math.min(end, ready(layer)) && (next < 0 || sent[layer] < sent[next])) {
                next = layer;
            }
        }
        return next;
    }

    /// Blocks of which a layer is whole.
    private int ready(int layer) {
        if (blockIds.length == 0) {
            return 0;
        }
        return computed[layer] == request.numTokens() ? blockIds.length : computed[layer] / spec.blockTokens();
    }

    /// Appends one layer of one block.
    ///
    /// @return false if it cannot be read any more
    synchronized boolean copy(int layer, int index, LocalPool pool, LocalPool.Window window, ByteBuffer target) {
        if (over != null || index >= ready(layer)) {
            return false;
        }
        KvLease under = lease;
        Runnable fence = PushedPrompt::goOn;
        if (under != null && !leases.beginRead(under, fence)) {
            return false;
        }
        try {
            target.put(window.read(blockIds[index], layer * pool.layerBytes(), pool.layerBytes()));
            return true;
        } finally {
            if (under != null) {
                under.endRead(fence);
            }
        }
    }

    /// A copy is short, and waited for: nobody has to end it.
    private static void goOn() {}

    synchronized OptionalInt firstToken() {
        return firstToken;
    }

    /// Why nothing more of it comes.
    synchronized String whyOver() {
        String why = over;
        return why == null ? "its decoder let go of " + transferId : why;
    }
}
