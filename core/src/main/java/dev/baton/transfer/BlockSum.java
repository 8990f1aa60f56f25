package dev.baton.transfer;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.zip.CRC32C;

/// The checksum of a block on its way between two Batons: CRC-32C over the transfer's id, the block's place among
/// those wanted, and its bytes, so that a right block in a wrong place is found too.
///
/// One object a transfer; not thread-safe.
public final class BlockSum {
    private final CRC32C crc = new CRC32C();
    private final byte[] transferId;
    private final ByteBuffer place = ByteBuffer.allocate(Integer.BYTES).order(ByteOrder.LITTLE_ENDIAN);

    /// @param transferId what both sides know the transfer by
    public BlockSum(String transferId) {
        this.transferId = transferId.getBytes(StandardCharsets.UTF_8);
    }

    /// The checksum of one block.
    ///
    /// @param index among the blocks that are wanted
    /// @param block its bytes; its position is left where it is
    public long of(int index, ByteBuffer block) {
        crc.reset();
        crc.update(transferId);
        crc.update(place.putInt(0, index).array());
        crc.update(block.duplicate());
        return crc.getValue();
    }
}
