package dev.baton.transfer.lmcache;

import dev.baton.transfer.CborHash;
import java.nio.ByteBuffer;

/// Names chunks by a chain of hashes, as LMCache's `ChunkedTokenDatabase` does: `h(i) = H((h(i-1), tokens of
/// chunk i, ()))`, where `h(-1)` is H of the text `PYTHONHASHSEED`.
///
/// Immutable, thread-safe.
sealed interface ChunkHasher {
    /// The text that vLLM hashes if `PYTHONHASHSEED` is not set.
    String NO_SEED = "vllm-none-hash";

    /// The hash before the first chunk.
    long root();

    /// The hash of `tokens[from .. end)` after the chunk `previous`.
    long next(long previous, int[] tokens, int from, int end);

    /// A hash as it stands in a key: lower-case hexadecimal without leading zeros.
    String hex(long hash);

    /// H is the first 8 bytes of the SHA-256 of canonical CBOR, an unsigned number (vLLM's `sha256_cbor`).
    ///
    /// @param root see [ChunkHasher#root]
    record Sha256Cbor(long root) implements ChunkHasher {
        static Sha256Cbor seeded(String seed) {
            return new Sha256Cbor(first(new CborHash().text(seed)));
        }

        @Override
        public long next(long previous, int[] tokens, int from, int end) {
            return first(new CborHash()
                    .array(3)
                    .unsigned(previous)
                    .array(end - from)
                    .unsigned(tokens, from, end)
                    .array(0));
        }

        private static long first(CborHash hash) {
            return ByteBuffer.wrap(hash.digest()).getLong();
        }

        @Override
        public String hex(long hash) {
            return Long.toHexString(hash);
        }
    }

    /// H is Python's own `hash()`, a signed number.
    ///
    /// @param root see [ChunkHasher#root]
    record Builtin(long root) implements ChunkHasher {
        static Builtin seeded(long hashSeed) {
            return new Builtin(PythonHash.ofAscii(Long.toString(hashSeed), hashSeed));
        }

        @Override
        public long next(long previous, int[] tokens, int from, int end) {
            long inner = PythonHash.startTuple();
            for (int i = from; i < end; i++) {
                inner = PythonHash.lane(inner, tokens[i]); // a token is its own hash
            }
            long outer = PythonHash.lane(PythonHash.startTuple(), PythonHash.ofInt(previous));
            outer = PythonHash.lane(outer, PythonHash.endTuple(inner, end - from));
            return PythonHash.endTuple(PythonHash.lane(outer, PythonHash.EMPTY_TUPLE), 3);
        }

        @Override
        public String hex(long hash) {
            return hash < 0 ? "-" + Long.toHexString(-hash) : Long.toHexString(hash);
        }
    }
}
