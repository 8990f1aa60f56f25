package dev.baton.transfer;

import dev.baton.kvcache.KvCacheSpec;
import dev.baton.tensor.PagedKv;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;

/// What two Batons must share to exchange blocks as they are. Stateless, thread-safe.
public final class BlockShape {
    /// How the parts of a block lie; see [PagedKv].
    public static final String LAYOUT = "(layers, 2, kvHeads, blockTokens, headDim)";

    private BlockShape() {}

    /// Everything that must be equal, by vLLM's names where it has them. Not the model's id: that may be a
    /// path, and the same weights may lie under different ones; their digest is among what the engine adds.
    ///
    /// @param compatibility what the engine adds; see [KvConnectorFactory#create]
    public static SortedMap<String, String> fields(KvCacheSpec spec, Map<String, String> compatibility) {
        SortedMap<String, String> fields = new TreeMap<>(compatibility);
        fields.put("cache_dtype", spec.dtype());
        fields.put("num_hidden_layers", Integer.toString(spec.layers()));
        fields.put("num_kv_heads", Integer.toString(spec.kvHeads()));
        fields.put("head_size", Integer.toString(spec.headDim()));
        fields.put("block_size", Integer.toString(spec.blockTokens()));
        fields.put("kv_cache_layout", LAYOUT);
        return fields;
    }

    /// Looks whether a pool is one of this specification.
    ///
    /// @throws TransferException if it is not
    public static void check(KvCacheSpec spec, PagedKv pool) {
        if (spec.blockBytes() != pool.blockBytes() || spec.blockTokens() != pool.blockTokens()) {
            throw new TransferException("the pool's blocks have %d bytes and %d tokens, those of the spec %d and %d"
                    .formatted(pool.blockBytes(), pool.blockTokens(), spec.blockBytes(), spec.blockTokens()));
        }
    }

    /// Looks, besides, whether a block fits into one message.
    ///
    /// @throws TransferException if it does not, or the pool is none of this specification
    public static void checkForMessages(KvCacheSpec spec, PagedKv pool) {
        check(spec, pool);
        if (pool.blockBytes() > Integer.MAX_VALUE) {
            throw new TransferException("blocks of %d bytes are too long for one transfer; lower --block-size"
                    .formatted(pool.blockBytes()));
        }
    }
}
