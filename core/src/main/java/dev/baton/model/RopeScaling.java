package dev.baton.model;

/// How rotary position embeddings are stretched beyond the context that a model was first trained with. The
/// arithmetic is Hugging Face's, in f32 where theirs is.
public sealed interface RopeScaling {
    /// `default`: not at all.
    record None() implements RopeScaling {}

    /// `linear`: all frequencies are slowed down by `factor`.
    record Linear(double factor) implements RopeScaling {}

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

    /// `yarn` (Peng et al., arXiv 2309.00071): as `llama3`, but the passage is linear in the dimension, and all
    /// cosines and sines are multiplied by `attentionFactor`.
    ///
    /// @param betaFast dimensions of more than this many turns in `originalMaxPositionEmbeddings` are kept
    /// @param betaSlow dimensions of fewer than this many turns are slowed down by `factor`
    /// @param truncate whether the passage begins and ends at whole dimensions
    record Yarn(
            double factor,
            double betaFast,
            double betaSlow,
            boolean truncate,
            int originalMaxPositionEmbeddings,
            float attentionFactor)
            implements RopeScaling {
        private float scaled(float wavelength, int dimension, double theta, int headDim) {
            double first = dimensionOfTurns(betaFast, theta, headDim);
            double last = dimensionOfTurns(betaSlow, theta, headDim);
            double low = Math.max(truncate ? Math.floor(first) : first, 0);
            double high = Math.min(truncate ? Math.ceil(last) : last, headDim - 1);
            float width = (float) (low == high ? 0.001 : high - low);
            float kept = 1 - Math.clamp((dimension - (float) low) / width, 0f, 1f);
            return 1 / ((float) factor * wavelength) * (1 - kept) + 1 / wavelength * kept;
        }

        /// The dimension that turns so many times in the original context; not a whole number.
        private double dimensionOfTurns(double turns, double theta, int headDim) {
            return headDim
                    * StrictMath.log(originalMaxPositionEmbeddings / (turns * 2 * Math.PI))
                    / (2 * StrictMath.log(theta));
        }
    }

    /// Angle per position of each pair of dimensions, in f32 as Hugging Face computes it.
    ///
    /// @return `headDim / 2` floats
    default float[] inverseFrequencies(double theta, int headDim) {
        float[] frequencies = new float[headDim / 2];
        for (int i = 0; i < frequencies.length; i++) {
            float wavelength = (float) StrictMath.pow(theta, (float) (2 * i) / headDim);
            float plain = (float) (1.0 / wavelength);
            frequencies[i] = switch (this) {
                case None() -> plain;
                case Linear(double factor) -> (float) (plain / factor);
                case Llama3 scaling -> scaling.scaled(plain);
                case Yarn scaling -> scaling.scaled(wavelength, i, theta, headDim);
            };
        }
        return frequencies;
    }

    /// Factor on cosines and sines.
    default float attentionFactor() {
        return 1;
    }

    /// Positions that the model can be used for: the factors of `linear` and `yarn` are meant to come on top of the
    /// configured or the original ones, as vLLM takes them; `llama3` folders name the stretched number.
    ///
    /// @param maxPositionEmbeddings as configured
    default int positions(int maxPositionEmbeddings) {
        return switch (this) {
            case None() -> maxPositionEmbeddings;
            case Llama3 ignored -> maxPositionEmbeddings;
            case Linear(double factor) -> (int) (maxPositionEmbeddings * factor);
            case Yarn yarn -> (int) (yarn.originalMaxPositionEmbeddings * yarn.factor);
        };
    }

    /// A value for the fingerprint; equal exactly where the frequencies are.
    default String describe() {
        return switch (this) {
            case None() -> "default";
            case Linear(double factor) -> "linear(factor=" + factor + ")";
            case Llama3(double factor, double low, double high, int original) ->
                "llama3(factor=" + factor + ", low_freq_factor=" + low + ", high_freq_factor=" + high
                        + ", original_max_position_embeddings=" + original + ")";
            case Yarn yarn ->
                "yarn(factor=" + yarn.factor + ", beta_fast=" + yarn.betaFast + ", beta_slow=" + yarn.betaSlow
                        + ", truncate=" + yarn.truncate + ", original_max_position_embeddings="
                        + yarn.originalMaxPositionEmbeddings + ", attention_factor=" + yarn.attentionFactor + ")";
        };
    }
}
