package dev.baton.model;

import java.lang.foreign.MemorySegment;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.Arrays;
import java.util.HexFormat;

/// Builds [Weights#digest]: tensors are added in the order of their names, so that the same weights in one file
/// or in several have the same digest.
public final class WeightsDigest {
    private static final long WHOLE_UP_TO_BYTES = 4 << 20;
    private static final long EDGE_BYTES = 64 << 10;

    private final MessageDigest sha;

    public WeightsDigest() {
        try {
            sha = MessageDigest.getInstance("SHA-256");
        } catch (NoSuchAlgorithmException e) {
            throw new ModelException("this Java runtime lacks SHA-256, which every Java runtime must have", e);
        }
    }

    /// Adds one tensor.
    public void add(String name, String dtype, long[] shape, MemorySegment data) {
        sha.update((name + " " + dtype + " " + Arrays.toString(shape) + "\n").getBytes(StandardCharsets.UTF_8));
        long size = data.byteSize();
        if (size <= WHOLE_UP_TO_BYTES) {
            sha.update(data.asByteBuffer());
        } else {
            sha.update(data.asSlice(0, EDGE_BYTES).asByteBuffer());
            sha.update(data.asSlice(size - EDGE_BYTES).asByteBuffer());
        }
    }

    /// The digest in hexadecimal.
    public String finish() {
        return HexFormat.of().formatHex(sha.digest());
    }
}
