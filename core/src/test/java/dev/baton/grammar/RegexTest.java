package dev.baton.grammar;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.Optional;
import java.util.Random;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class RegexTest {
    private static String randomRegex(Random random, int depth) {
        switch (depth == 0 ? random.nextInt(4) : random.nextInt(12)) {
            case 0, 1 -> {
                return new String[] {"a", "b", "é", "😀", "\\n", "\\."}[random.nextInt(6)];
            }
            case 2 -> {
                return new String[] {"[ab]", "[^a]", "[a-zé]", "\\d", "\\w", "\\s", ".", "[^\\d😀]"}[random.nextInt(8)];
            }
            case 3 -> {
                return "(?:)";
            }
            case 4, 5, 6 -> {
                return randomRegex(random, depth - 1) + randomRegex(random, depth - 1);
            }
            case 7, 8 -> {
                return "(?:" + randomRegex(random, depth - 1) + "|" + randomRegex(random, depth - 1) + ")";
            }
            default -> {
                String[] counts = {"*", "+", "?", "{2}", "{1,3}", "{0,40}", "{30,}", "*?", "{2,}?"};
                return "(" + randomRegex(random, depth - 1) + ")" + counts[random.nextInt(counts.length)];
            }
        }
    }

    /// A text that is read a bounded number of times: Java's own matcher goes back and forth without end on some.
    private static final class Patience implements CharSequence {
        private final String text;
        private int left = 100_000;

        Patience(String text) {
            this.text = text;
        }

        @Override
        public int length() {
            return text.length();
        }

        @Override
        public char charAt(int index) {
            if (--left < 0) {
                throw new ArithmeticException("out of patience");
            }
            return text.charAt(index);
        }

        @Override
        public CharSequence subSequence(int start, int end) {
            return text.subSequence(start, end);
        }
    }

    private static String randomText(Random random) {
        StringBuilder text = new StringBuilder();
        for (int n = random.nextInt(6); n > 0; n--) {
            String piece = new String[] {"a", "b", "é", "😀", "\n", ".", "7", " ", "日"}[random.nextInt(9)];
            text.append(random.nextInt(12) == 0 ? piece.repeat(30) : piece);
        }
        return text.toString();
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 2, 3, 4, 5})
    void randomPatternsMatchWhatJavaMatches(int seed) {
        Random random = new Random(seed);
        int matched = 0;
        for (int round = 0; round < 150; round++) {
            String pattern = randomRegex(random, 4);
            Grammar grammar = Grammar.regex(pattern);
            // In Java '.' leaves out more line ends than a line feed; the texts here have no other.
            Pattern java = Pattern.compile(pattern);
            for (int i = 0; i < 12; i++) {
                String text = randomText(random);
                boolean expected;
                try {
                    expected = java.matcher(new Patience(text)).matches();
                } catch (ArithmeticException e) {
                    continue;
                }
                assertThat(Walks.accepts(grammar, text))
                        .as("%s on '%s'", pattern, text)
                        .isEqualTo(expected);
                matched += expected ? 1 : 0;
            }
        }
        assertThat(matched).isGreaterThan(100);
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "[0-9]{3}", "(red|green|blue)+", "\\d{4}-\\d{2}-\\d{2}", "(?i)select \\w+ from \\w+;",
                        "[\\p{Lu}][\\p{Ll}]{2,40}",
                "https?://[a-z.]{1,60}(/[^ ]*)?", "(\\w+ ){3,60}\\w+[.]", "(?:a|ab|abc){25,30}", "[^\"\\\\]{0,300}",
                        "\\p{Script=Greek}{4}"
            })
    void textsUnderTheMaskMatch(String pattern) {
        Grammar grammar = Grammar.regex(pattern);
        Pattern java = Pattern.compile(pattern, Pattern.DOTALL);
        int ended = 0;
        for (int seed = 0; seed < 30; seed++) {
            TokenVocabulary vocabulary = Vocabularies.pieces(seed % 5);
            Optional<String> text =
                    Walks.random(new GrammarCompiler(vocabulary).matcher(grammar), vocabulary, new Random(seed));
            if (text.isPresent()) {
                ended++;
                assertThat(java.matcher(text.get()).matches()).as(text.get()).isTrue();
                TokenVocabulary other = Vocabularies.pieces(seed % 5 + 1);
                Walks.assertAllowsSomeTokens(
                        new GrammarCompiler(other).matcher(grammar), other, text.get(), new Random(seed));
            }
        }
        assertThat(ended).isGreaterThan(20);
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '~',
            quoteCharacter = '`',
            value = {
                "^abc$ ~ abc",
                "^a|b$ ~ b",
                "(^a$|^b$) ~ a",
                "\\Aab\\z ~ ab",
                "(?P<year>\\d+) ~ 12",
                "(?<y>x)(?#note)y ~ xy",
                "(?i)ä ~ Ä",
                "(?i:a)b ~ Ab",
                "a{,2} ~ aa",
                "a{x} ~ a{x}",
                "[]a] ~ ]",
                "[a-] ~ -",
                "\\x41\\u00e9\\u{1F600} ~ Aé😀",
                "\\ud83d\\ude00 ~ 😀",
                "(?s:.) ~ .",
                "\\/\\-\\# ~ /-#",
                "\\pLx ~ éx",
                "\\P{L} ~ 1",
                "\\cA? ~ \u0001"
            })
    void dialectIsRead(String pattern, String text) {
        assertThat(Walks.accepts(Grammar.regex(pattern), text)).isTrue();
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '~',
            quoteCharacter = '`',
            value = {
                "[ ~ '[' without ']'",
                "(a ~ '(' without ')'",
                "a) ~ ')' without '('",
                "*a ~ nothing to repeat",
                "a** ~ repeats a repetition",
                "a{3,2} ~ at least 3 and at most 2",
                "(?=a) ~ look-around",
                "(?<!a) ~ look-around",
                "(a)\\1 ~ back-reference",
                "(?P=n) ~ back-reference",
                "\\bfoo ~ word boundary",
                "a++ ~ possessive",
                "(?>a) ~ atomic",
                "a^b ~ anchor '^'",
                "a$b ~ anchor '$'",
                "(?x)a ~ (?x",
                "[[:alpha:]] ~ POSIX",
                "\\q ~ escape \\q",
                "\\p{Nope} ~ \\p{nope}",
                "[z-a] ~ bad range",
                "\\ud800 ~ surrogate",
                "a{9999999999} ~ 9 digits",
                "\\xg1 ~ hexadecimal",
                "[^\\s\\S] ~ matches no text"
            })
    void whatIsNotSupportedIsNamed(String pattern, String message) {
        assertThatThrownBy(() -> Grammar.regex(pattern))
                .isInstanceOf(GrammarException.class)
                .hasMessageContaining(message);
    }

    @Test
    void emptyPatternIsTheEmptyText() {
        assertThat(Walks.accepts(Grammar.regex(""), "")).isTrue();
        assertThat(Walks.accepts(Grammar.regex(""), "a")).isFalse();
    }

    @Test
    void patternThatNestsTooDeepIsRefused() {
        assertThatThrownBy(() -> Grammar.regex("(".repeat(5_000) + ")".repeat(5_000)))
                .hasMessageContaining("more than 200 deep");
    }
}
