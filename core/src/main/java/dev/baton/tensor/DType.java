package dev.baton.tensor;

import java.util.Arrays;
import java.util.Optional;

/// The element type of a tensor, under safetensors' names.
public enum DType {
    F32(4, "float32"),
    F16(2, "float16"),
    BF16(2, "bfloat16");

    private final int bytes;
    private final String torchName;

    DType(int bytes, String torchName) {
        this.bytes = bytes;
        this.torchName = torchName;
    }

    /// The type of a name in PyTorch's spelling, which vLLM's flags and `config.json` share; empty if there is
    /// none.
    public static Optional<DType> ofTorchName(String name) {
        return Arrays.stream(values()).filter(d -> d.torchName.equals(name)).findFirst();
    }

    /// PyTorch's name, for example `bfloat16`.
    public String torchName() {
        return torchName;
    }

    /// Size of one element in bytes.
    public int bytes() {
        return bytes;
    }

    /// The value of a bfloat16: exactly the upper half of a float.
    public static float bf16ToFloat(short bits) {
        return Float.intBitsToFloat(bits << 16);
    }

    /// The bfloat16 nearest to a float; ties go to the even one, NaN stays NaN.
    public static short floatToBf16(float value) {
        int bits = Float.floatToRawIntBits(value);
        if (Float.isNaN(value)) {
            return (short) ((bits >>> 16) | 0x40);
        }
        return (short) ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16);
    }
}
