package dev.baton.transfer.lmcache;

import java.lang.foreign.MemorySegment;
import java.nio.charset.StandardCharsets;
import java.util.zip.CRC32C;

/// The checksum of a chunk in Baton's own tiers: CRC-32C over its key, its head and its bytes, so that a right
/// chunk in a wrong place is found, too.
///
/// Stateless.
final class ChunkChecksum {
    private ChunkChecksum() {}

    static int of(String key, ChunkHead head, MemorySegment chunk) {
        CRC32C crc = new CRC32C();
        crc.update(key.getBytes(StandardCharsets.UTF_8));
        crc.update(head.toBytes());
        crc.update(chunk.asSlice(0, head.lengthBytes()).asByteBuffer());
        return (int) crc.getValue();
    }

    /// @throws BadChunkException if a chunk that was read is not what was kept
    static void require(int kept, String key, ChunkHead head, MemorySegment chunk) throws BadChunkException {
        if (of(key, head, chunk) != kept) {
            throw new BadChunkException("its checksum is wrong");
        }
    }
}
