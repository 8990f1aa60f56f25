package dev.baton.transfer.nixl;

import dev.baton.tensor.DeviceChecksum;
import dev.baton.tensor.PagedKv;
import dev.baton.transfer.BlockSeeds;
import dev.baton.transfer.TransferException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.zip.CRC32C;

/// Checksums by which a decoder knows that blocks are those it asked for: over the lease, a block's place in the
/// request, and its bytes. Stateless, thread-safe.
enum BlockSums {
    /// CRC-32C, between pools in host memory.
    CRC32C("get_block_sums", Integer.BYTES) {
        @Override
        long[] of(LocalPool pool, String lease, int first, int[] blocks) {
            if (pool.isOnDevice()) {
                throw new TransferException("a GPU computes no CRC-32C; ask with " + DEVICE.question);
            }
            CRC32C crc = new CRC32C();
            byte[] handle = lease.getBytes(StandardCharsets.UTF_8);
            long[] sums = new long[blocks.length];
            for (int i = 0; i < sums.length; i++) {
                crc.reset();
                crc.update(handle);
                crc.update(ByteBuffer.allocate(Integer.BYTES).putInt(first + i).flip());
                crc.update(pool.kv().block(blocks[i]).asByteBuffer());
                sums[i] = crc.getValue();
            }
            return sums;
        }
    },

    /// [DeviceChecksum], which GPUs compute: where at least one of the two pools is in a GPU's memory.
    DEVICE("get_device_block_sums", Long.BYTES) {
        @Override
        long[] of(LocalPool pool, String lease, int first, int[] blocks) {
            BlockSeeds seeds = new BlockSeeds("", lease, 0);
            long[] all = new long[blocks.length];
            Arrays.setAll(all, i -> seeds.of(first + i, 0));
            return pool.deviceSums(blocks, all);
        }
    };

    /// The command that asks for them.
    final String question;

    /// Bytes of one in a message.
    final int bytes;

    BlockSums(String question, int bytes) {
        this.question = question;
        this.bytes = bytes;
    }

    /// The checksums of blocks of this side's pool.
    ///
    /// @param lease its handle
    /// @param first the place in the request of the first of the blocks
    abstract long[] of(LocalPool pool, String lease, int first, int[] blocks);

    byte[] encode(long[] sums) {
        ByteBuffer message = ByteBuffer.allocate(sums.length * bytes);
        for (long sum : sums) {
            if (bytes == Integer.BYTES) {
                message.putInt((int) sum);
            } else {
                message.putLong(sum);
            }
        }
        return message.array();
    }

    long[] decode(byte[] message) {
        ByteBuffer in = ByteBuffer.wrap(message);
        long[] sums = new long[message.length / bytes];
        Arrays.setAll(sums, _ -> bytes == Integer.BYTES ? Integer.toUnsignedLong(in.getInt()) : in.getLong());
        return sums;
    }

    /// [dev.baton.tensor.DeviceBlocks#sums] of a pool in host memory.
    static long[] onHost(PagedKv pool, int[] blocks, long[] seeds) {
        long[] sums = new long[blocks.length];
        Arrays.setAll(sums, i -> DeviceChecksum.of(pool.block(blocks[i]), seeds[i]));
        return sums;
    }
}
