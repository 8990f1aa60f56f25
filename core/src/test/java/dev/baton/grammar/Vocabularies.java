package dev.baton.grammar;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Random;
import java.util.Set;

/// Vocabularies for tests. The last id is the end token; one id before it has no text.
final class Vocabularies {
    private static final String[] PIECES = {
        "{\"", "\":", "\": ", "\",", "\"}", "},{", "}}", "]}", "[[", "[]", "{}", ", ", ",\"", "\": \"", "\",\"", "\"],",
        "true", "false", "null", "tr", "ue", "ull", "12", "34", "00", "0.", "1e", "-1", "2024", "-0", "\\n", "\\u",
        "\\\"", "\\\\", "name", " name", "value", "id", "a\"", "b\":", "ab", "abc", "bc", " the", " of", "hello",
        " world", "  ", "    ", "\n", "\n  ", "\t", "\r\n", "é", "è", "日", "日本", "本語", "😀", "ü\"", "=\"", "\u00a0"
    };

    private Vocabularies() {}

    /// One token per byte: id equals byte, 256 has no text, 257 ends.
    static TokenVocabulary bytes() {
        return of(List.of());
    }

    /// Bytes, and pieces as byte pair encoding makes them, some of them twice, some only part of a character.
    static TokenVocabulary pieces(long seed) {
        Random random = new Random(seed);
        List<byte[]> tokens = new ArrayList<>();
        for (String piece : PIECES) {
            if (random.nextInt(4) > 0) {
                tokens.add(piece.getBytes(StandardCharsets.UTF_8));
            }
        }
        for (int i = 0; i < 60; i++) {
            byte[] left = tokens.get(random.nextInt(tokens.size()));
            byte[] right = tokens.get(random.nextInt(tokens.size()));
            int cut = random.nextInt(left.length + 1);
            byte[] both = new byte[left.length - cut + right.length];
            System.arraycopy(left, cut, both, 0, left.length - cut);
            System.arraycopy(right, 0, both, left.length - cut, right.length);
            tokens.add(both);
        }
        return of(tokens);
    }

    private static TokenVocabulary of(List<byte[]> pieces) {
        int size = 258 + pieces.size();
        return TokenVocabulary.of(
                size,
                id -> {
                    if (id < 256) {
                        return new byte[] {(byte) id};
                    }
                    return id < 256 + pieces.size() ? pieces.get(id - 256) : new byte[0];
                },
                new int[] {size - 1});
    }

    /// A vocabulary as large as a real one: bytes, runs of blanks, words with and without a blank, numbers, signs.
    static TokenVocabulary large(int size, long seed) {
        Random random = new Random(seed);
        Set<String> texts = new HashSet<>();
        for (String piece : PIECES) {
            texts.add(piece);
        }
        String signs = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";
        for (int i = 2; i <= 64; i++) {
            texts.add(" ".repeat(i));
            texts.add("\n" + " ".repeat(i));
        }
        for (int i = 0; i < 1000; i++) {
            texts.add(Integer.toString(i));
        }
        String syllables = "ka to mi ne ru so in er an on st th ing ed re al tion ver com pre is a e o u";
        String[] parts = syllables.split(" ");
        while (texts.size() < size - 258) {
            StringBuilder text = new StringBuilder(random.nextInt(3) > 0 ? " " : "");
            int kind = random.nextInt(20);
            if (kind == 0) {
                for (int n = 1 + random.nextInt(5); n > 0; n--) {
                    text.append(signs.charAt(random.nextInt(signs.length())));
                }
            } else if (kind < 5) {
                for (int n = 1 + random.nextInt(4); n > 0; n--) {
                    text.appendCodePoint(0x400 + random.nextInt(0x9000));
                }
            } else {
                for (int n = 1 + random.nextInt(4); n > 0; n--) {
                    text.append(parts[random.nextInt(parts.length)]);
                }
                if (kind == 5) {
                    text.setCharAt(0, Character.toUpperCase(text.charAt(0)));
                }
            }
            texts.add(text.toString());
        }
        List<byte[]> tokens = new ArrayList<>();
        texts.stream().sorted().forEach(text -> tokens.add(text.getBytes(StandardCharsets.UTF_8)));
        return of(tokens.subList(0, size - 258));
    }
}
