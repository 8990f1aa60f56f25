package dev.baton.tensor;

import java.util.Arrays;
import java.util.Optional;

/// What weight matrices are turned into when a model is loaded.
public enum Quantization {
    /// Nothing: they stay what the checkpoint has.
    NONE("none"),

    /// Symmetric 8-bit integers with one f32 scale an output channel: `weight = scale * integer`, where the
    /// greatest weight of the channel in magnitude becomes 127 or -127. Activations and sums stay f32. Norms,
    /// biases and the embedding table stay as they are.
    INT8("int8");

    private final String flag;

    Quantization(String flag) {
        this.flag = flag;
    }

    /// The value that is named so on the command line; empty if there is none.
    public static Optional<Quantization> ofFlag(String flag) {
        return Arrays.stream(values()).filter(q -> q.flag.equals(flag)).findFirst();
    }

    /// The name on the command line.
    public String flag() {
        return flag;
    }
}
