package dev.baton.transfer;

import dev.baton.kvcache.KvCacheSpec;
import dev.baton.tensor.DeviceChecksum;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;

/// Where the device checksums of one transfer begin: what a block is (engine, request, epoch, index, tokens) in
/// 64 bits, so that a right block in a wrong place is found too. Immutable.
public final class BlockSeeds {
    private final long transfer;

    /// Those of one transfer.
    ///
    /// @param handle what both sides know it by
    public BlockSeeds(String engineId, String handle, long epoch) {
        byte[] engine = engineId.getBytes(StandardCharsets.UTF_8);
        byte[] request = handle.getBytes(StandardCharsets.UTF_8);
        try {
            MessageDigest sha = MessageDigest.getInstance("SHA-256");
            sha.update(ByteBuffer.allocate(Integer.BYTES + Long.BYTES)
                    .putInt(engine.length)
                    .putLong(epoch)
                    .array());
            sha.update(engine);
            transfer = ByteBuffer.wrap(sha.digest(request)).getLong();
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException("every Java runtime has SHA-256", e);
        }
    }

    /// The seed of one block.
    ///
    /// @param tokens that the block holds
    public long of(int blockIndex, int tokens) {
        return DeviceChecksum.mix(transfer + ((long) blockIndex << Integer.SIZE | tokens));
    }

    /// The seeds of several blocks.
    ///
    /// @param numTokens tokens of the whole request
    public long[] of(int[] blockIndexes, int numTokens, int blockTokens) {
        long[] seeds = new long[blockIndexes.length];
        for (int i = 0; i < seeds.length; i++) {
            seeds[i] = of(blockIndexes[i], KvCacheSpec.tokensOf(blockIndexes[i], numTokens, blockTokens));
        }
        return seeds;
    }
}
