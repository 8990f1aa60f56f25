package dev.baton.grammar;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Optional;
import java.util.Random;

/// Texts under a mask, and texts against one.
final class Walks {
    private static final String CLOSERS = "}]\"";

    private Walks() {}

    /// A text made of tokens that the masks allow, chosen at random and after a while so that things close;
    /// empty if it would not end.
    static Optional<String> random(GrammarMatcher matcher, TokenVocabulary vocabulary, Random random) {
        long[] mask = new long[vocabulary.maskWords()];
        ByteArrayOutputStream text = new ByteArrayOutputStream();
        int free = random.nextInt(60);
        for (int step = 0; step < 3000; step++) {
            assertThat(matcher.fillMask(mask)).as("a way on after %s", text).isTrue();
            int token = step < free ? anyOf(mask, vocabulary, random) : closing(mask, vocabulary, random);
            assertThat(matcher.accept(token)).isTrue();
            if (vocabulary.isEnd(token)) {
                assertThat(matcher.isTerminated()).isTrue();
                assertThat(matcher.fillMask(mask)).isFalse();
                return Optional.of(decoded(text.toByteArray()));
            }
            text.writeBytes(vocabulary.bytes(token));
        }
        return Optional.empty();
    }

    private static String decoded(byte[] utf8) {
        try {
            return StandardCharsets.UTF_8
                    .newDecoder()
                    .decode(ByteBuffer.wrap(utf8))
                    .toString();
        } catch (CharacterCodingException e) {
            throw new AssertionError("not UTF-8: " + Arrays.toString(utf8), e);
        }
    }

    private static int anyOf(long[] mask, TokenVocabulary vocabulary, Random random) {
        int end = vocabulary.endToken(0);
        if (isSet(mask, end) && random.nextInt(4) == 0) {
            return end;
        }
        int count = 0;
        for (long word : mask) {
            count += Long.bitCount(word);
        }
        int wanted = random.nextInt(count);
        for (int token = 0; token < vocabulary.size(); token++) {
            if (isSet(mask, token) && wanted-- == 0) {
                return token;
            }
        }
        throw new AssertionError();
    }

    private static int closing(long[] mask, TokenVocabulary vocabulary, Random random) {
        if (isSet(mask, vocabulary.endToken(0))) {
            return vocabulary.endToken(0);
        }
        if (random.nextInt(8) > 0) {
            for (int i = 0; i < CLOSERS.length(); i++) {
                if (isSet(mask, CLOSERS.charAt(i))) {
                    return CLOSERS.charAt(i);
                }
            }
        }
        return anyOf(mask, vocabulary, random);
    }

    static boolean isSet(long[] mask, int token) {
        return (mask[token >>> 6] >>> token & 1) != 0;
    }

    /// Whether the text is one of the grammar's, byte by byte; checks the mask on the way.
    static boolean accepts(Grammar grammar, String text) {
        TokenVocabulary vocabulary = Vocabularies.bytes();
        return refusedAt(new GrammarCompiler(vocabulary).matcher(grammar), vocabulary, text) < 0;
    }

    /// The first byte that a text of byte tokens is refused at, its length if only the end is, -1 if it is
    /// accepted.
    static int refusedAt(GrammarMatcher matcher, TokenVocabulary vocabulary, String text) {
        byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
        long[] mask = new long[vocabulary.maskWords()];
        for (int i = 0; i < bytes.length; i++) {
            matcher.fillMask(mask);
            boolean allowed = isSet(mask, bytes[i] & 0xff);
            assertThat(matcher.accept(bytes[i] & 0xff)).isEqualTo(allowed);
            if (!allowed) {
                return i;
            }
        }
        matcher.fillMask(mask);
        assertThat(isSet(mask, vocabulary.endToken(0))).isEqualTo(matcher.canEnd());
        return matcher.canEnd() ? -1 : bytes.length;
    }

    /// Asserts that the masks allow a random split of the text into tokens, and then the end.
    static void assertAllowsSomeTokens(GrammarMatcher matcher, TokenVocabulary vocabulary, String text, Random random) {
        byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
        long[] mask = new long[vocabulary.maskWords()];
        for (int at = 0; at < bytes.length; ) {
            int token = bytes[at] & 0xff;
            int fitting = 0;
            for (int id = 0; id < vocabulary.size(); id++) {
                byte[] piece = vocabulary.bytes(id);
                if (piece.length > 0
                        && at + piece.length <= bytes.length
                        && Arrays.equals(piece, Arrays.copyOfRange(bytes, at, at + piece.length))
                        && random.nextInt(++fitting) == 0) {
                    token = id;
                }
            }
            matcher.fillMask(mask);
            assertThat(isSet(mask, token))
                    .as(
                            "token '%s' at byte %s of %s",
                            new String(vocabulary.bytes(token), StandardCharsets.UTF_8), at, text)
                    .isTrue();
            assertThat(matcher.accept(token)).isTrue();
            at += vocabulary.bytes(token).length;
        }
        matcher.fillMask(mask);
        assertThat(isSet(mask, vocabulary.endToken(0)))
                .as("the end of %s", text)
                .isTrue();
    }
}
