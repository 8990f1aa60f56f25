package dev.baton.openai;

/// Checks of numbers against the ranges that vLLM allows, in its words.
final class Ranges {
    private Ranges() {}

    static void inRange(String name, double value, int low, int high) {
        if (value < low || value > high) {
            throw bad(name + " must be in [" + low + ", " + high + "], got " + value + ".");
        }
    }

    /// The sampler computes in single precision: a number that is infinite there is refused.
    static void requireSinglePrecision(String name, double value) {
        if (!Float.isFinite((float) value)) {
            throw badValue(name + " must be at most " + Float.MAX_VALUE + ", got " + value + ".", name, value);
        }
    }

    static ApiException bad(String message) {
        return new ApiException(ApiError.badRequest(message));
    }

    static ApiException badValue(String message, String param, Object value) {
        return new ApiException(ApiError.badParameter(message, param, value));
    }
}
