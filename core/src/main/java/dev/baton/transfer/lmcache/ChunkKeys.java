package dev.baton.transfer.lmcache;

import dev.baton.tensor.DType;
import dev.baton.transfer.KvRequest;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/// Makes the keys of a request's chunks in LMCache's form: `model@world_size@worker_id@hash@dtype`, and behind it
/// `@tag%value` for each `lmcache.tag.` of its `kv_transfer_params`.
///
/// Immutable, thread-safe.
///
/// @param chunkTokens tokens of a full chunk
/// @param prefix what stands before the hash
/// @param suffix what stands behind it
record ChunkKeys(ChunkHasher hasher, int chunkTokens, String prefix, String suffix) {
    private static final String TAG = "lmcache.tag.";
    private static final int MAX_HASH_LENGTH = 17; // a sign and 16 digits

    static ChunkKeys of(ChunkHasher hasher, int chunkTokens, String modelName, DType dtype) {
        return new ChunkKeys(hasher, chunkTokens, modelName + "@1@0@", "@" + name(dtype));
    }

    private static String name(DType dtype) {
        return switch (dtype) {
            case F16 -> "half";
            case BF16 -> "bfloat16";
            case F32 -> "float";
        };
    }

    /// LMCache's name of the element type.
    String dtype() {
        return suffix.substring(1).replaceFirst("@.*", "");
    }

    /// Bytes of the longest key of a request without tags.
    int maxBytes() {
        return (prefix + suffix).getBytes(StandardCharsets.UTF_8).length + MAX_HASH_LENGTH;
    }

    /// The same for a request: with its tags.
    ChunkKeys withTagsOf(KvRequest request) {
        StringBuilder tags = new StringBuilder(suffix);
        for (Map.Entry<String, Object> field : request.params().fields().entrySet()) {
            if (field.getKey().startsWith(TAG)) {
                tags.append('@')
                        .append(field.getKey(), TAG.length(), field.getKey().length())
                        .append('%')
                        .append(field.getValue());
            }
        }
        return tags.length() == suffix.length() ? this : new ChunkKeys(hasher, chunkTokens, prefix, tags.toString());
    }

    String key(long hash) {
        return prefix + hasher.hex(hash) + suffix;
    }

    /// The keys of all chunks of `tokens[0 .. numTokens)`, the last one perhaps not full.
    List<String> keys(int[] tokens, int numTokens) {
        List<String> keys = new ArrayList<>(Math.ceilDiv(numTokens, chunkTokens));
        long hash = hasher.root();
        for (int from = 0; from < numTokens; from += chunkTokens) {
            hash = hasher.next(hash, tokens, from, Math.min(numTokens, from + chunkTokens));
            keys.add(key(hash));
        }
        return keys;
    }
}
