package dev.baton.transfer.tcp;

import dev.baton.kvcache.KvCacheSpec;
import java.util.Optional;

/// Which layers of the blocks of a prompt a decoder knows to be computed, that copies them itself, and which ones it
/// is worth while to tell it of next.
///
/// Pieces of about an eighth of the layers, so that copies are few and large, and the last layer by itself, as the
/// prompt is computed soon after it. Pieces that are too small for that wait for more layers, but not longer than
/// until their blocks have all of them. Owned by the thread of its connection.
final class Announced {
    /// Copied in so short a time that saying more of less gains nothing.
    static final long LEAST_BYTES = 16 << 20;
    private static final int PIECES = 8;

    /// Layers of adjacent blocks of a prompt.
    ///
    /// @param firstBlock among the prompt's
    /// @param endBlock the one behind the last
    record Piece(int firstLayer, int endLayer, int firstBlock, int endBlock) {}

    private final int first;
    private final int[] layers; // (blocks wanted) layers of each that were said
    private final int numLayers;
    private final long layerBytes;
    private int run;

    /// @param first the first block wanted, among the prompt's
    /// @param end the block behind the last one
    Announced(KvCacheSpec spec, int first, int end) {
        this.first = first;
        this.layers = new int[end - first];
        this.numLayers = spec.layers();
        this.layerBytes = spec.blockBytes() / spec.layers();
    }

    /// Takes note that the blocks may have been given to others since the last call.
    ///
    /// @param now how often they have
    /// @return whether what was said counts no more
    boolean isVoid(int now) {
        if (now == run) {
            return false;
        }
        run = now;
        boolean any = false;
        for (int i = 0; i < layers.length; i++) {
            any |= layers[i] > 0;
            layers[i] = 0;
        }
        return any;
    }

    /// Whether blocks were given to others that may have been said.
    boolean isOld(int now) {
        return now != run;
    }

    /// What to say next.
    ///
    /// @param whole for each layer, the blocks of the prompt that have it; no layer has more than the one before it
    Optional<Piece> next(int[] whole) {
        int computed = numLayers;
        int to;
        for (int from = 0; from < layers.length; from = to) {
            computed = computed(whole, computed, from);
            to = from + 1;
            while (to < layers.length
                    && to - from < Limits.MAX_PULL_BLOCKS
                    && layers[to] == layers[from]
                    && computed(whole, computed, to) == computed) {
                to++;
            }
            int fresh = computed - layers[from];
            if (fresh > 0 && isWorthIt(fresh, computed, to - from)) {
                return Optional.of(new Piece(layers[from], computed, first + from, first + to));
            }
        }
        return Optional.empty();
    }

    /// How many layers a block has.
    ///
    /// @param most as many as the block before it
    private int computed(int[] whole, int most, int block) {
        int computed = most;
        while (computed > 0 && whole[computed - 1] <= first + block) {
            computed--;
        }
        return computed;
    }

    private boolean isWorthIt(int fresh, int computed, int blocks) {
        if (computed == numLayers) {
            return true;
        }
        return fresh * layerBytes * blocks >= LEAST_BYTES
                && (fresh >= Math.ceilDiv(numLayers, PIECES) || computed == numLayers - 1);
    }

    /// Takes note of what was said.
    void said(Piece piece) {
        for (int block = piece.firstBlock; block < piece.endBlock; block++) {
            layers[block - first] = piece.endLayer;
        }
    }
}
