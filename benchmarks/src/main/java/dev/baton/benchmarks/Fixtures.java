package dev.baton.benchmarks;

import dev.baton.tensor.DType;
import dev.baton.tensor.cpu.Matrix;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Random;

/// Seeded inputs for the benchmarks, and the check that a benchmark makes before it lets anything be timed.
final class Fixtures {
    /// `config.json` of a model of baton-tiny's shape, for weights drawn from a seed.
    private static final String TINY_CONFIG = """
            {"architectures": ["LlamaForCausalLM"], "vocab_size": 4096, "hidden_size": 384, "intermediate_size": 1024,
             "num_hidden_layers": 6, "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 64,
             "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true,
             "dtype": "bfloat16"}""";

    private Fixtures() {}

    static float[] floats(long seed, int count) {
        Random random = new Random(seed);
        float[] values = new float[count];
        for (int i = 0; i < count; i++) {
            values[i] = random.nextFloat() * 2 - 1;
        }
        return values;
    }

    static Matrix matrix(Arena arena, DType dtype, long seed, int rows, int columns) {
        float[] values = floats(seed, rows * columns);
        MemorySegment data = arena.allocate((long) values.length * dtype.bytes(), 64);
        for (int i = 0; i < values.length; i++) {
            switch (dtype) {
                case F32 -> data.setAtIndex(ValueLayout.JAVA_FLOAT, i, values[i]);
                case F16 -> data.setAtIndex(ValueLayout.JAVA_SHORT, i, Float.floatToFloat16(values[i]));
                case BF16 -> data.setAtIndex(ValueLayout.JAVA_SHORT, i, DType.floatToBf16(values[i]));
            }
        }
        return new Matrix(data, dtype, rows, columns);
    }

    /// A folder that holds nothing but a configuration of baton-tiny's shape.
    static Path tinyConfig() {
        try {
            Path directory = Files.createTempDirectory("baton-tiny-config");
            Path config = Files.writeString(directory.resolve("config.json"), TINY_CONFIG);
            config.toFile().deleteOnExit();
            directory.toFile().deleteOnExit();
            return directory;
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /// Refuses to go on unless every element is finite and within `tolerance` of the expected one.
    static void gate(String what, float[] actual, float[] expected, float tolerance) {
        for (int i = 0; i < expected.length; i++) {
            if (!(Math.abs(actual[i] - expected[i]) <= tolerance)) {
                throw new IllegalStateException(
                        what + " is wrong, not timing it: element " + i + " is " + actual[i] + ", not " + expected[i]);
            }
        }
    }
}
