package dev.baton.model.cuda;

/// A part of one dimension of a tensor.
///
/// @param first where it begins
/// @param count its length
/// @param total the dimension's
record Span(int first, int count, int total) {
    /// All of a dimension.
    static Span whole(int total) {
        return new Span(0, total, total);
    }

    boolean isWhole() {
        return count == total;
    }
}
