package dev.baton.router.policy;

/// How a router chooses routes. Immutable and thread-safe.
///
/// @param mode which kinds of routes, at the start
/// @param prefillBalancing how a prefiller is chosen
/// @param decodeBalancing how a decoder is chosen
/// @param ttftWeight what a millisecond until the first token costs
/// @param tpotWeight what a millisecond of delay costs that running streams suffer, each token counted
/// @param maxBlocks blocks of 64 bytes that the prefix index keeps at most
public record PolicyConfig(
        Mode mode,
        Balancing prefillBalancing,
        Balancing decodeBalancing,
        double ttftWeight,
        double tpotWeight,
        int maxBlocks) {

    /// @throws IllegalArgumentException if a number is out of range
    public PolicyConfig {
        requireWeight(ttftWeight, "w_ttft");
        requireWeight(tpotWeight, "w_tpot");
        if (ttftWeight + tpotWeight == 0) {
            throw new IllegalArgumentException("w_ttft and w_tpot are both 0, one of them has to be over 0");
        }
        if (maxBlocks < 1024) {
            throw new IllegalArgumentException("maxBlocks is " + maxBlocks + ", needed is at least 1024");
        }
    }

    private static void requireWeight(double weight, String name) {
        if (!(weight >= 0) || Double.isInfinite(weight)) {
            throw new IllegalArgumentException(name + " is " + weight + ", needed is a number from 0 on");
        }
    }

    /// The builder's defaults.
    public static PolicyConfig defaults() {
        return builder().build();
    }

    /// Begins with the defaults: adaptive, cache-aware on both sides, both weights 1, a million blocks.
    public static Builder builder() {
        return new Builder();
    }

    /// Begins with these values.
    public Builder toBuilder() {
        return new Builder()
                .mode(mode)
                .prefillBalancing(prefillBalancing)
                .decodeBalancing(decodeBalancing)
                .ttftWeight(ttftWeight)
                .tpotWeight(tpotWeight)
                .maxBlocks(maxBlocks);
    }

    /// Collects the settings of a policy. Not thread-safe.
    public static final class Builder {
        private Mode mode = Mode.ADAPTIVE;
        private Balancing prefillBalancing = Balancing.CACHE_AWARE;
        private Balancing decodeBalancing = Balancing.CACHE_AWARE;
        private double ttftWeight = 1;
        private double tpotWeight = 1;
        private int maxBlocks = 1 << 20;

        private Builder() {}

        public Builder mode(Mode value) {
            mode = value;
            return this;
        }

        /// Prefillers and decoders alike.
        public Builder balancing(Balancing value) {
            return prefillBalancing(value).decodeBalancing(value);
        }

        public Builder prefillBalancing(Balancing value) {
            prefillBalancing = value;
            return this;
        }

        public Builder decodeBalancing(Balancing value) {
            decodeBalancing = value;
            return this;
        }

        public Builder ttftWeight(double value) {
            ttftWeight = value;
            return this;
        }

        public Builder tpotWeight(double value) {
            tpotWeight = value;
            return this;
        }

        public Builder maxBlocks(int value) {
            maxBlocks = value;
            return this;
        }

        /// The settings collected.
        ///
        /// @throws IllegalArgumentException if a number is out of range
        public PolicyConfig build() {
            return new PolicyConfig(mode, prefillBalancing, decodeBalancing, ttftWeight, tpotWeight, maxBlocks);
        }
    }
}
