package dev.baton.grammar;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.charset.StandardCharsets;
import java.util.Random;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// A source from outside costs bounded time and memory.
@Timeout(60)
class LimitsTest {
    @ParameterizedTest
    @ValueSource(
            strings = {
                "(((((a{999999999}){999999999}){999999999}){999999999}){999999999})",
                "(a?){1,999999999}b",
                "(a*)*b",
                "((a|aa)+)+c",
                "(x+x+)+y",
                "[^a]{0,999999999}",
                "(\\p{L}{1,200}\\p{N}?){1,200}"
            })
    void nestedRepetitionsAreCheap(String pattern) {
        TokenVocabulary vocabulary = Vocabularies.pieces(1);
        GrammarMatcher matcher = new GrammarCompiler(vocabulary).matcher(Grammar.regex(pattern));
        long[] mask = new long[vocabulary.maskWords()];
        for (int step = 0; step < 50; step++) {
            assertThat(matcher.fillMask(mask)).isTrue();
            if (!matcher.accept('a') && !matcher.accept('x')) {
                break;
            }
        }
    }

    /// The text's last n characters matter at every place: 2 to the n situations.
    @Test
    void exponentialPatternIsEitherAnsweredOrRefused() {
        TokenVocabulary vocabulary = Vocabularies.pieces(1);
        GrammarMatcher matcher =
                new GrammarCompiler(vocabulary).matcher(Grammar.regex("([a-z]|[^\"])*a([a-z]{300}|[^\"]{301})"));
        long[] mask = new long[vocabulary.maskWords()];
        Random random = new Random(1);
        for (int step = 0; step < 400; step++) {
            try {
                assertThat(matcher.fillMask(mask)).isTrue();
                assertThat(matcher.accept('a' + random.nextInt(2))).isTrue();
            } catch (GrammarException e) {
                assertThat(e).hasMessageContaining("too");
                return;
            }
        }
    }

    @Test
    void schemaOfThousandsOfOptionalPropertiesCompiles() {
        String properties = IntStream.range(0, 3_000)
                .mapToObj(i -> "\"property" + i + "\":{\"type\":\"integer\"}")
                .collect(Collectors.joining(","));
        Grammar grammar = Grammar.jsonSchema("{\"type\":\"object\",\"properties\":{" + properties + "}}");
        assertThat(Walks.accepts(grammar, "{\"property7\":1,\"property2999\":2}"))
                .isTrue();
        assertThat(Walks.accepts(grammar, "{\"property8\":1,\"property7\":2}")).isFalse();
    }

    @Test
    void thousandsOfChoicesShareTheirPrefixes() {
        Grammar grammar = Grammar.choice(
                IntStream.range(0, 20_000).mapToObj(i -> "choice " + i).toList());
        assertThat(Walks.accepts(grammar, "choice 19999")).isTrue();
        assertThat(Walks.accepts(grammar, "choice 20000")).isFalse();
    }

    @Test
    void schemaThatIsNestedTooDeepIsRefused() {
        String schema = "{\"items\":".repeat(500) + "{}" + "}".repeat(500);
        assertThatThrownBy(() -> Grammar.jsonSchema(schema)).isInstanceOf(GrammarException.class);
    }

    @Test
    void unionsOfUnionsAreBounded() {
        String union = "{\"anyOf\":[{\"required\":[\"a\"]},{\"required\":[\"b\"]},{\"required\":[\"c\"]}]}";
        String schema = "{\"type\":\"object\",\"properties\":{\"a\":{},\"b\":{},\"c\":{}},\"allOf\":["
                + String.join(",", java.util.Collections.nCopies(30, union)) + "]}";
        try {
            assertThat(Walks.accepts(Grammar.jsonSchema(schema), "{\"a\":1,\"b\":1,\"c\":1}"))
                    .isTrue();
        } catch (GrammarException e) {
            assertThat(e).hasMessageContaining("more than");
        }
    }

    @Test
    void grammarTooLargeIsRefused() {
        String source = IntStream.range(0, 60_000)
                        .mapToObj(i -> "r" + i + " ::= [a-z0-9éüö日本]{1,24} r" + (i + 1) + " | [^\\\\x00-\\\\x1f]{3}")
                        .collect(Collectors.joining("\n"))
                + "\nr60000 ::= \"a\"\nroot ::= r0";
        assertThatThrownBy(() -> Grammar.ebnf(source)).isInstanceOf(GrammarException.class);
    }

    @Test
    void compilerForgetsTheGrammarsUsedLongestAgo() {
        GrammarCompiler compiler = new GrammarCompiler(Vocabularies.bytes());
        for (int i = 0; i < 1_000; i++) {
            assertThat(compiler.matcher(Grammar.regex("a{" + i + "}b")).accept("x".getBytes(StandardCharsets.UTF_8)))
                    .isFalse();
        }
        assertThat(compiler.size()).isEqualTo(64);
    }
}
