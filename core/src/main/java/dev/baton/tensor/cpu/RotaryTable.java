package dev.baton.tensor.cpu;

/// Cosines and sines of rotary position embeddings, one row a position; grows when a later position is asked for.
///
/// Angles are f32 products of position and inverse frequency, as Hugging Face computes them; cosine and sine
/// come from `StrictMath`, so that the table is the same on every machine.
///
/// [#ensure] is called by one thread while no other reads.
public final class RotaryTable {
    private static final int INITIAL_POSITIONS = 256;

    private final float[] inverseFrequencies; // (headDim / 2)
    private final float factor;
    private float[] cos = {}; // (positions, headDim / 2)
    private float[] sin = {}; // (positions, headDim / 2)
    private int positions;

    /// @param inverseFrequencies `headDim / 2` angles per position
    public RotaryTable(float[] inverseFrequencies) {
        this(inverseFrequencies, 1f);
    }

    /// @param inverseFrequencies `headDim / 2` angles per position
    /// @param factor on all cosines and sines
    public RotaryTable(float[] inverseFrequencies, float factor) {
        this.inverseFrequencies = inverseFrequencies.clone();
        this.factor = factor;
    }

    /// Makes sure that positions below `needed` are there.
    public void ensure(int needed) {
        if (needed <= positions) {
            return;
        }
        int grown = Math.max(INITIAL_POSITIONS, Integer.highestOneBit(needed - 1) << 1);
        int half = inverseFrequencies.length;
        float[] newCos = java.util.Arrays.copyOf(cos, Math.multiplyExact(grown, half));
        float[] newSin = java.util.Arrays.copyOf(sin, newCos.length);
        for (int p = positions; p < grown; p++) {
            for (int i = 0; i < half; i++) {
                float angle = p * inverseFrequencies[i];
                newCos[p * half + i] = (float) StrictMath.cos(angle) * factor;
                newSin[p * half + i] = (float) StrictMath.sin(angle) * factor;
            }
        }
        cos = newCos;
        sin = newSin;
        positions = grown;
    }

    /// One position's row as a device's kernels read it: the cosines, then the sines.
    ///
    /// @param to receives `headDim` floats
    public void copyRow(int position, float[] to) {
        ensure(position + 1);
        System.arraycopy(cos, rowStart(position), to, 0, inverseFrequencies.length);
        System.arraycopy(sin, rowStart(position), to, inverseFrequencies.length, inverseFrequencies.length);
    }

    float[] cos() {
        return cos;
    }

    float[] sin() {
        return sin;
    }

    int rowStart(int position) {
        return position * inverseFrequencies.length;
    }
}
