package dev.baton.engine;

/// What the output of a request may look like, token by token: a grammar, a schema, a list of choices. The engine
/// masks the logits with it, so that no other token can be drawn.
///
/// Immutable and thread-safe: several sequences may [#start] from one.
public interface TokenConstraint {

    /// The state at the beginning of an output.
    Matcher start();

    /// Where one output stands. Used by one thread at a time.
    interface Matcher {
        /// Marks the tokens that may come next. End-of-sequence tokens are among them exactly if the output may end
        /// here.
        ///
        /// @param mask one bit a token id, `(vocabSize + 63) / 64` words, overwritten
        /// @return false if no token at all may come: the output can be neither continued nor ended
        boolean fillMask(long[] mask);

        /// Goes on by a token that was drawn.
        ///
        /// @return false if the token was not allowed; the state is unusable then
        boolean accept(int token);

        /// Whether the output is all there, so that nothing but its end may come. Asked after a token was accepted,
        /// and only where there is no end-of-sequence token that could say so.
        default boolean isComplete() {
            return false;
        }
    }
}
