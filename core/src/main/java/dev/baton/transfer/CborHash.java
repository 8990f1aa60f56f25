package dev.baton.transfer;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.Arrays;

/// The SHA-256 of a value in canonical CBOR (RFC 8949, 4.2.1): vLLM's `sha256_cbor`, by which it and LMCache name
/// blocks of tokens.
///
/// The value is given item by item; an array's items follow its length. Used once, by one thread.
public final class CborHash {
    private static final int UNSIGNED = 0;
    private static final int BYTES = 2 << 5;
    private static final int TEXT = 3 << 5;
    private static final int ARRAY = 4 << 5;
    private static final byte NULL = (byte) 0xf6;

    private static final int MAX_HEAD_BYTES = 1 + Long.BYTES;
    private static final int FIRST_BYTES = 256;

    private ByteBuffer out = ByteBuffer.allocate(FIRST_BYTES);

    /// An array of that many items, which are to follow.
    public CborHash array(int length) {
        return head(ARRAY, length);
    }

    /// A number of 64 bits without a sign.
    public CborHash unsigned(long value) {
        return head(UNSIGNED, value);
    }

    /// The numbers `values[from .. end)`, none of them negative.
    public CborHash unsigned(int[] values, int from, int end) {
        for (int i = from; i < end; i++) {
            head(UNSIGNED, values[i]);
        }
        return this;
    }

    /// A text.
    public CborHash text(String text) {
        return content(TEXT, text.getBytes(StandardCharsets.UTF_8));
    }

    /// Bytes.
    public CborHash bytes(byte[] bytes) {
        return content(BYTES, bytes);
    }

    /// Python's `None`.
    public CborHash none() {
        room(1);
        out.put(NULL);
        return this;
    }

    private CborHash content(int majorType, byte[] content) {
        head(majorType, content.length);
        room(content.length);
        out.put(content);
        return this;
    }

    /// The head of an item, as short as it can be.
    private CborHash head(int majorType, long value) {
        room(MAX_HEAD_BYTES);
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
        return this;
    }

    private void room(int bytes) {
        if (out.remaining() < bytes) {
            int needed = out.position() + bytes;
            byte[] larger = Arrays.copyOf(out.array(), Math.max(needed, 2 * out.capacity()));
            out = ByteBuffer.wrap(larger).position(out.position());
        }
    }

    /// The 32 bytes of the hash.
    public byte[] digest() {
        try {
            MessageDigest sha256 = MessageDigest.getInstance("SHA-256");
            sha256.update(out.flip());
            return sha256.digest();
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException("every Java platform has SHA-256", e);
        }
    }
}
