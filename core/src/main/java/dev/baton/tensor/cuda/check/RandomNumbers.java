package dev.baton.tensor.cuda.check;

import dev.baton.tensor.DType;
import java.util.Random;

/// Numbers that checks compute on: those that bf16 has, between -2 and 2.
final class RandomNumbers {
    private RandomNumbers() {}

    /// What a number is once it was kept as bf16.
    static float rounded(float value) {
        return DType.bf16ToFloat(DType.floatToBf16(value));
    }

    static float[] of(Random random, int count) {
        float[] values = new float[count];
        for (int i = 0; i < count; i++) {
            values[i] = rounded(4 * random.nextFloat() - 2);
        }
        return values;
    }

    /// So many for each of several ranks.
    static float[][] of(Random random, int ranks, int count) {
        float[][] values = new float[ranks][];
        for (int rank = 0; rank < ranks; rank++) {
            values[rank] = of(random, count);
        }
        return values;
    }
}
