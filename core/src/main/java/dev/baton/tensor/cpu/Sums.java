package dev.baton.tensor.cpu;

/// The fixed order in which plain sums are taken: element `i` goes to partial sum `i % 16`, then the partial
/// sums are folded in halves. Sixteen is the width of the widest vectors used, so every width can follow the
/// same order.
final class Sums {
    /// Number of partial sums.
    static final int PARTIALS = 16;

    private Sums() {}

    /// Folds sixteen partial sums into one; destroys them.
    static float fold(float[] partials) {
        for (int half = PARTIALS / 2; half > 0; half /= 2) {
            for (int i = 0; i < half; i++) {
                partials[i] += partials[i + half];
            }
        }
        return partials[0];
    }
}
