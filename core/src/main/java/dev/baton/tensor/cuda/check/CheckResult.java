package dev.baton.tensor.cuda.check;

/// One comparison of a GPU with a reference.
///
/// @param name what was compared, with its sizes
/// @param error how far they are apart; NaN if anything is
/// @param tolerance how far they may be
public record CheckResult(String name, double error, double tolerance) {
    /// NaN never passes.
    public boolean passed() {
        return error <= tolerance;
    }

    /// Greatest difference over greatest expected value.
    ///
    /// @return NaN if any actual value is NaN
    public static double relativeError(float[] actual, float[] expected) {
        double difference = actual.length == expected.length ? 0 : Double.NaN;
        double greatest = 0;
        for (int i = 0; i < Math.min(actual.length, expected.length); i++) {
            difference = Math.max(difference, Math.abs((double) actual[i] - expected[i])); // keeps NaN
            greatest = Math.max(greatest, Math.abs(expected[i]));
        }
        return greatest == 0 ? difference : difference / greatest;
    }
}
