package dev.baton.transfer.lmcache;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;

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
        private static final int UNSIGNED = 0;
        private static final int TEXT = 3 << 5;
        private static final int ARRAY = 4 << 5;
        private static final int HEAD_BYTES = 1 + Long.BYTES;

        static Sha256Cbor seeded(String seed) {
            byte[] text = seed.getBytes(StandardCharsets.UTF_8);
            ByteBuffer out = ByteBuffer.allocate(HEAD_BYTES + text.length);
            putHead(out, TEXT, text.length);
            return new Sha256Cbor(hash(out.put(text)));
        }

        @Override
        public long next(long previous, int[] tokens, int from, int end) {
            ByteBuffer out = ByteBuffer.allocate((3 + 1) * HEAD_BYTES + (end - from) * (1 + Integer.BYTES));
            putHead(out, ARRAY, 3);
            putHead(out, UNSIGNED, previous);
            putHead(out, ARRAY, end - from);
            for (int i = from; i < end; i++) {
                putHead(out, UNSIGNED, tokens[i]);
            }
            putHead(out, ARRAY, 0);
            return hash(out);
        }

        @Override
        public String hex(long hash) {
            return Long.toHexString(hash);
        }

        /// The head of a CBOR item, as short as it can be (RFC 8949, 4.2.1).
        private static void putHead(ByteBuffer out, int majorType, long value) {
            if (value >>> 32 != 0) {
                out.put((byte) (majorType | 27)).putLong(value);
            } else if (value > 0xffff) {
                out.put((byte) (majorType | 26)).putInt((int) value);
            } else if (value > 0xff) {
                out.put((byte) (majorType | 25)).putShort((short) value);
            } else if (value > 23) {
                out.put((byte) (majorType | 24)).put((byte) value);
            } else {
                out.put((byte) (majorType | value));
            }
        }

        private static long hash(ByteBuffer cbor) {
            try {
                MessageDigest sha256 = MessageDigest.getInstance("SHA-256");
                sha256.update(cbor.flip());
                return ByteBuffer.wrap(sha256.digest()).getLong();
            } catch (NoSuchAlgorithmException e) {
                throw new IllegalStateException("every Java platform has SHA-256", e);
            }
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
