package dev.baton.tensor.cpu;

/// The exponential function in f32 as a fixed sequence of operations, so that scalar and vector code agree in
/// every bit (the platform's own versions do not).
///
/// `exp(x) = 2^n * exp(r)` with `|r| <= ln(2) / 2`, and a polynomial of degree 6 for `exp(r)`: the reduction
/// and the coefficients are those of Cephes' `expf` (S. L. Moshier). Relative error below 2e-7. Arguments are
/// clamped to `[-87, 88]`, so results are always normal numbers; NaN stays NaN.
final class Exp {
    static final float LOW = -87f;
    static final float HIGH = 88f;
    static final float LOG2_E = 0x1.715476p0f; // 1.44269504
    static final float LN2_HIGH = 0x1.63p-1f; // 0.693359375
    static final float LN2_LOW = -0x1.bd0106p-13f; // -2.12194440e-4

    /// Adding 1.5 * 2^23 rounds to an integer, which then stands in the low bits of the sum.
    static final float ROUND = 0x1.8p23f;

    static final float C0 = 0x1.a0d2cep-13f; // 1.9875691500e-4
    static final float C1 = 0x1.6e879cp-10f; // 1.3981999507e-3
    static final float C2 = 0x1.11121p-7f; // 8.3334519073e-3
    static final float C3 = 0x1.555382p-5f; // 4.1665795894e-2
    static final float C4 = 0x1.555554p-3f; // 1.6666665459e-1
    static final float C5 = 0x1.0p-1f; // 5.0000001201e-1

    static final int EXPONENT_BIAS = 127;
    static final int EXPONENT_SHIFT = 23;

    private Exp() {}

    static float exp(float argument) {
        float x = argument < LOW ? LOW : argument > HIGH ? HIGH : argument;
        float shifted = Math.fma(x, LOG2_E, ROUND);
        float n = shifted - ROUND;
        float r = Math.fma(n, -LN2_LOW, Math.fma(n, -LN2_HIGH, x));
        float p = Math.fma(C0, r, C1);
        p = Math.fma(p, r, C2);
        p = Math.fma(p, r, C3);
        p = Math.fma(p, r, C4);
        p = Math.fma(p, r, C5);
        float y = Math.fma(p, r * r, r) + 1f;
        return y * Float.intBitsToFloat((Float.floatToRawIntBits(shifted) + EXPONENT_BIAS) << EXPONENT_SHIFT);
    }
}
