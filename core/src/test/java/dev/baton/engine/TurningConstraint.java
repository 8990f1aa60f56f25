package dev.baton.engine;

import java.util.Arrays;

/// A constraint that a wrong state is sure to break: which tokens may come next depends on all tokens before, and
/// after a number of them the output can only end.
///
/// @param vocab size of the vocabulary
/// @param eos the end-of-sequence token
/// @param length tokens before the end
record TurningConstraint(int vocab, int eos, int length) implements TokenConstraint {
    static final int SHARE = 4; // every fourth token is allowed

    @Override
    public Matcher start() {
        return new State();
    }

    /// Whether a whole output is what the constraint wants, as far as it goes.
    boolean allows(int[] output) {
        State state = new State();
        for (int token : output) {
            if (!state.accept(token)) {
                return false;
            }
        }
        return true;
    }

    private final class State implements Matcher {
        private int digest = 17;
        private int numTokens;
        private boolean ended;

        private boolean allowed(int token) {
            if (ended) {
                return false;
            }
            return numTokens >= length ? token == eos : token != eos && Math.floorMod(digest + token, SHARE) == 0;
        }

        @Override
        public boolean fillMask(long[] mask) {
            Arrays.fill(mask, 0);
            boolean any = false;
            for (int token = 0; token < vocab; token++) {
                if (allowed(token)) {
                    mask[token >> 6] |= 1L << token;
                    any = true;
                }
            }
            return any;
        }

        @Override
        public boolean accept(int token) {
            if (!allowed(token)) {
                return false;
            }
            ended = token == eos;
            digest = digest * 31 + token;
            numTokens++;
            return true;
        }
    }
}
