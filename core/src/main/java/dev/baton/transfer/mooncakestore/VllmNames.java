package dev.baton.transfer.mooncakestore;

import dev.baton.transfer.CborHash;
import java.util.AbstractList;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;

/// The keys of a request's full blocks as vLLM's store writes them: `PREFIX@HASH`, where the hash is the SHA-256 of
/// the canonical CBOR of `(hash of the block before, tokens, None)` (`--prefix-caching-hash-algo sha256_cbor`), and
/// before the first block that of the seed.
///
/// Worked out when it is first read. Thread-safe.
final class VllmNames extends AbstractList<String> {
    /// The text that vLLM hashes if `PYTHONHASHSEED` is not set.
    static final String NO_SEED = "vllm-none-hash";

    private final String prefix;
    private final int[] tokens;
    private final int blockTokens;
    private final int size;
    private final List<String> known = new ArrayList<>(); // guarded by this
    private byte[] last; // hash of the last known one; guarded by this

    /// @param prefix what stands before a block's hash
    /// @param root see [#root]
    VllmNames(String prefix, byte[] root, int[] tokens, int numTokens, int blockTokens) {
        this.prefix = prefix;
        this.tokens = tokens;
        this.blockTokens = blockTokens;
        this.size = numTokens / blockTokens;
        this.last = root;
    }

    /// The hash before the first block.
    static byte[] root(String seed) {
        return new CborHash().text(seed).digest();
    }

    @Override
    public int size() {
        return size;
    }

    @Override
    public synchronized String get(int index) {
        if (index < 0 || index >= size) {
            throw new IndexOutOfBoundsException("block %d of %d".formatted(index, size));
        }
        while (known.size() <= index) {
            int from = known.size() * blockTokens;
            last = new CborHash()
                    .array(3)
                    .bytes(last)
                    .array(blockTokens)
                    .unsigned(tokens, from, from + blockTokens)
                    .none()
                    .digest();
            known.add(prefix + "@" + HexFormat.of().formatHex(last));
        }
        return known.get(index);
    }
}
