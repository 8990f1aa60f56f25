package dev.baton.transfer.mooncakestore;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.zip.CRC32C;

/// What Baton keeps with a value of its own: `{magic, digest of model and shape, CRC-32C of key and value}`, three
/// little-endian numbers of 64 bits. Stateless.
final class BlockSum {
    static final int BYTES = 3 * Long.BYTES;

    private static final long MAGIC = 0x314d55536e746142L; // "BatnSUM1"
    private static final ValueLayout.OfLong LONG = ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

    private BlockSum() {}

    static void write(MemorySegment sum, long model, String key, MemorySegment value) {
        sum.set(LONG, 0, MAGIC);
        sum.set(LONG, Long.BYTES, model);
        sum.set(LONG, 2 * Long.BYTES, crc(key, value));
    }

    static boolean matches(MemorySegment sum, long model, String key, MemorySegment value) {
        return sum.get(LONG, 0) == MAGIC
                && sum.get(LONG, Long.BYTES) == model
                && sum.get(LONG, 2 * Long.BYTES) == crc(key, value);
    }

    private static long crc(String key, MemorySegment value) {
        CRC32C crc = new CRC32C();
        crc.update(key.getBytes(StandardCharsets.UTF_8));
        crc.update(value.asByteBuffer());
        return crc.getValue();
    }
}
