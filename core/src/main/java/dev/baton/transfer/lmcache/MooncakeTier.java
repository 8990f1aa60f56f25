package dev.baton.transfer.lmcache;

import dev.baton.transfer.mooncakestore.MooncakeValues;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;

/// Chunks in a Mooncake cluster, as LMCache keeps them: a value is the head and the bytes, or with
/// `save_chunk_meta: false` the bytes alone, whose length is then all that tells whether they are the chunk.
///
/// A chunk that is there stays as it is: Mooncake keeps the first value of a key. Thread-safe, for
/// [Limits#TIER_THREADS] at a time.
final class MooncakeTier implements Tier {
    static final String SCHEME = "mooncakestore://";

    private final MooncakeValues values;
    private final String name;
    private final boolean hasHeads;

    /// @param values has room for the longest chunk and its head
    /// @param master address of `mooncake_master`
    /// @param hasHeads `save_chunk_meta`
    MooncakeTier(MooncakeValues values, String master, boolean hasHeads) {
        this.values = values;
        this.name = "%s%s (%s)".formatted(SCHEME, master, values.describe());
        this.hasHeads = hasHeads;
    }

    @Override
    public String name() {
        return name;
    }

    @Override
    public boolean contains(String key) throws IOException {
        return values.contains(key);
    }

    @Override
    public boolean get(String key, ChunkHead expected, MemorySegment target) throws IOException {
        MemorySegment chunk = target.asSlice(0, expected.lengthBytes());
        try {
            if (!hasHeads) {
                return values.get(key, chunk);
            }
            byte[] head = new byte[ChunkHead.BYTES];
            if (!values.get(key, MemorySegment.ofArray(head), chunk)) {
                return false;
            }
            expected.require(ChunkHead.read(ByteBuffer.wrap(head)));
            return true;
        } catch (MooncakeValues.WrongValueException e) {
            throw new BadChunkException(e.getMessage() + "; compare chunk_size, save_chunk_meta and the model");
        }
    }

    @Override
    public void put(String key, ChunkHead head, MemorySegment chunk) throws IOException {
        MemorySegment bytes = chunk.asSlice(0, head.lengthBytes());
        if (hasHeads) {
            values.put(key, MemorySegment.ofArray(head.toBytes()), bytes);
        } else {
            values.put(key, bytes);
        }
    }

    @Override
    public void disconnect() {
        values.close();
    }

    @Override
    public void close() {
        disconnect();
    }
}
