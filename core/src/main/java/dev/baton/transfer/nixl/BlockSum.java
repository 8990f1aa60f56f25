package dev.baton.transfer.nixl;

import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.zip.CRC32C;

/// The checksum by which a decoder knows that a block is the one it asked for: CRC-32C over the lease, the block's
/// place in the request, and its bytes. Not thread-safe.
final class BlockSum {
    private final CRC32C crc = new CRC32C();
    private final byte[] lease;

    BlockSum(String leaseHandle) {
        lease = leaseHandle.getBytes(StandardCharsets.UTF_8);
    }

    int of(int index, MemorySegment block) {
        crc.reset();
        crc.update(lease);
        crc.update(ByteBuffer.allocate(Integer.BYTES).putInt(index).flip());
        crc.update(block.asByteBuffer());
        return (int) crc.getValue();
    }
}
