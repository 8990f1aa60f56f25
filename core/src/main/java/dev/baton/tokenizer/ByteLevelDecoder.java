package dev.baton.tokenizer;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/// Decodes byte-level BPE (GPT-2, Llama 3, Qwen, DeepSeek): every character of a token stands for one byte.
final class ByteLevelDecoder implements TokenDecoder {
    private static final short[] BYTE_OF_CHARACTER = byteOfCharacter();

    private final byte[][] bytes; // (ids, bytes of the token)

    ByteLevelDecoder(Vocabulary vocabulary) {
        bytes = new byte[vocabulary.size()][];
        for (int id = 0; id < bytes.length; id++) {
            bytes[id] = toBytes(vocabulary.text(id));
        }
    }

    /// GPT-2's alphabet: printable Latin-1 characters stand for themselves, the other 68 bytes for U+0100 and up.
    private static short[] byteOfCharacter() {
        short[] bytes = new short[0x100 + 68];
        Arrays.fill(bytes, (short) -1);
        int next = 0x100;
        for (int value = 0; value < 0x100; value++) {
            boolean itself = (value >= '!' && value <= '~') || (value >= 0xa1 && value <= 0xac) || value >= 0xae;
            bytes[itself ? value : next++] = (short) value;
        }
        return bytes;
    }

    /// A token with a character outside the alphabet, such as an added token with a space, is itself.
    private static byte[] toBytes(@Nullable String token) {
        if (token == null) {
            return new byte[0];
        }
        byte[] bytes = new byte[token.length()];
        for (int i = 0; i < bytes.length; i++) {
            char c = token.charAt(i);
            if (c >= BYTE_OF_CHARACTER.length || BYTE_OF_CHARACTER[c] < 0) {
                return token.getBytes(StandardCharsets.UTF_8);
            }
            bytes[i] = (byte) BYTE_OF_CHARACTER[c];
        }
        return bytes;
    }

    @Override
    public byte[] bytes(int id) {
        return bytes[id].clone();
    }

    @Override
    public Stream stream(boolean continuing) {
        return new ByteStream();
    }

    private final class ByteStream implements Stream {
        private final Utf8Stream characters = new Utf8Stream();

        @Override
        public void accept(int id, StringBuilder out) {
            for (byte next : bytes[id]) {
                characters.accept(next, out);
            }
        }

        @Override
        public void finish(StringBuilder out) {
            characters.finish(out);
        }
    }
}
