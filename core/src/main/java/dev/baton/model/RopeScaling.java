package dev.baton.model;

/// How rotary position embeddings are stretched beyond the context that a model was first trained with.
public sealed interface RopeScaling {
    /// `default`: not at all.
    record None() implements RopeScaling {}

    /// `llama3`: low frequencies are slowed down by `factor`, high ones are kept, and between the two bounds
    /// there is a smooth passage (Llama 3.1).
    ///
    /// @param lowFreqFactor frequencies of fewer than this many turns in `originalMaxPositionEmbeddings` are low
    /// @param highFreqFactor frequencies of more than this many turns are high
    record Llama3(double factor, double lowFreqFactor, double highFreqFactor, int originalMaxPositionEmbeddings)
            implements RopeScaling {
        private float scaled(float frequency) {
            double wavelength = 2 * Math.PI / frequency;
            if (wavelength > originalMaxPositionEmbeddings / lowFreqFactor) {
                return (float) (frequency / factor);
            }
            if (wavelength < originalMaxPositionEmbeddings / highFreqFactor) {
                return frequency;
            }
            double smooth =
                    (originalMaxPositionEmbeddings / wavelength - lowFreqFactor) / (highFreqFactor - lowFreqFactor);
            return (float) ((1 - smooth) * frequency / factor + smooth * frequency);
        }
    }

    /// Angle per position of each pair of dimensions, in f32 as Hugging Face computes it.
    ///
    /// @return `headDim / 2` floats
    default float[] inverseFrequencies(double theta, int headDim) {
        float[] frequencies = new float[headDim / 2];
        for (int i = 0; i < frequencies.length; i++) {
            float plain = (float) (1.0 / (float) StrictMath.pow(theta, (float) (2 * i) / headDim));
            frequencies[i] = switch (this) {
                case None() -> plain;
                case Llama3 scaling -> scaling.scaled(plain);
            };
        }
        return frequencies;
    }

    /// A value for the fingerprint; equal exactly where the frequencies are.
    default String describe() {
        return switch (this) {
            case None() -> "default";
            case Llama3(double factor, double low, double high, int original) ->
                "llama3(factor=" + factor + ", low_freq_factor=" + low + ", high_freq_factor=" + high
                        + ", original_max_position_embeddings=" + original + ")";
        };
    }
}
