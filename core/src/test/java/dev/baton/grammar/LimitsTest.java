package dev.baton.grammar;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.charset.StandardCharsets;
import java.util.Collections;
import java.util.Random;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.LockSupport;
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
                + String.join(",", Collections.nCopies(30, union)) + "]}";
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

    @ParameterizedTest
    @ValueSource(strings = {"root ::= \"a\"", "start: \"a\""})
    void repetitionsOfRepetitionsAreRefusedBeforeTheStackEnds(String source) {
        assertThat(Walks.accepts(Grammar.ebnf(source + "+?"), "aa")).isTrue();
        assertThatThrownBy(() -> Grammar.ebnf(source + "*".repeat(100_000)))
                .isInstanceOf(GrammarException.class)
                .hasMessageContaining("times over");
    }

    @Test
    void constantKeepsItsExponent() {
        String constant = "1.2345678901234567890123456789012345678901234E+999999999";
        assertThat(Walks.accepts(Grammar.jsonSchema("{\"const\":" + constant + "}"), constant))
                .isTrue();
    }

    @Test
    void patternWithManyWaysUnderALengthIsRefused() {
        String schema = "{\"type\":\"string\",\"pattern\":\"" + "a?".repeat(1000) + "\",\"maxLength\":39}";
        assertThatThrownBy(() -> Grammar.jsonSchema(schema))
                .isInstanceOf(GrammarException.class)
                .hasMessageContaining("too large to be counted");
    }

    @Test
    void scriptHasFewSpellings() {
        assertThat(Walks.accepts(Grammar.regex("\\p{Script=Greek}\\p{sc=Greek}\\p{Greek}"), "αβγ"))
                .isTrue();
        assertThatThrownBy(() -> Grammar.regex("\\p{a1=Greek}"))
                .isInstanceOf(GrammarException.class)
                .hasMessageContaining("a1=greek");
    }

    @Test
    @Timeout(20)
    void longEnumsAreIntersectedInLinearTime() {
        String schema = "{\"allOf\":[{\"enum\":[%s]},{\"enum\":[%s,7]}]}"
                .formatted(numbers(0, 150_000), numbers(200_000, 350_000));
        assertThat(Walks.accepts(Grammar.jsonSchema(schema), "7")).isTrue();
    }

    private static String numbers(int from, int to) {
        return IntStream.range(from, to).mapToObj(Integer::toString).collect(Collectors.joining(","));
    }

    @Test
    @Timeout(20)
    void tupleOfManyItemsCompilesInLinearTime() {
        String schema = "{\"type\":\"array\",\"minItems\":30000,\"prefixItems\":["
                + String.join(",", Collections.nCopies(30_000, "{\"type\":\"null\"}")) + "]}";
        assertThat(Walks.accepts(Grammar.jsonSchema(schema, JsonSchemaOptions.compact()), "[null,null]"))
                .isFalse();
    }

    /// 3 to the 30 objects of 3,000 properties each.
    @Test
    @Timeout(20)
    void combinationsOfLargeObjectsAreRefused() {
        String properties =
                IntStream.range(0, 3_000).mapToObj(i -> "\"p" + i + "\":{}").collect(Collectors.joining(","));
        String unions = IntStream.range(0, 30)
                .mapToObj(i -> "{\"anyOf\":[{\"required\":[\"p%d\"]},{\"required\":[\"p%d\"]}]}".formatted(i, 100 + i))
                .collect(Collectors.joining(","));
        assertThatThrownBy(() -> Grammar.jsonSchema(
                        "{\"type\":\"object\",\"properties\":{" + properties + "},\"allOf\":[" + unions + "]}"))
                .isInstanceOf(GrammarException.class)
                .hasMessageContaining("too many");
    }

    /// What waits may end without another byte at every level, so that all of them are asked what may follow.
    @Test
    void thousandsOfCallersThatMayEndAreNoRecursion() {
        byte[] open = "(".repeat(16).getBytes(StandardCharsets.UTF_8);
        byte[] twoEnds = "yy".getBytes(StandardCharsets.UTF_8);
        TokenVocabulary vocabulary = TokenVocabulary.of(
                5,
                id -> switch (id) {
                    case 0 -> open;
                    case 1 -> twoEnds;
                    case 2 -> new byte[] {'y'};
                    case 3 -> new byte[] {'z'};
                    default -> new byte[0];
                },
                new int[] {4});
        GrammarMatcher matcher = new GrammarCompiler(vocabulary)
                .matcher(Grammar.ebnf("root ::= \"(\" root rest | \"y\"\nrest ::= (\"y\" last)?\nlast ::= \"z\""));
        for (int i = 0; i < 4_000; i++) {
            assertThat(matcher.accept(0)).isTrue();
        }
        long[] mask = new long[1];
        assertThat(matcher.fillMask(mask)).isTrue();
        assertThat(mask[0]).isEqualTo(0b00111);
    }

    /// How many ways there are to read n letters grows with the factorial of n, and the work with its square.
    @ParameterizedTest
    @ValueSource(booleans = {false, true})
    void ambiguousTextIsRefusedBeforeAStepTakesLong(boolean masks) {
        TokenVocabulary vocabulary = Vocabularies.bytes();
        GrammarMatcher matcher =
                new GrammarCompiler(vocabulary).matcher(Grammar.ebnf("root ::= root root root | root root | \"a\""));
        long[] mask = new long[vocabulary.maskWords()];
        assertThatThrownBy(() -> {
                    for (int step = 0; step < 20_000; step++) {
                        assertThat(!masks || step % 16 > 0 || matcher.fillMask(mask))
                                .isTrue();
                        assertThat(matcher.accept('a')).isTrue();
                    }
                })
                .isInstanceOf(GrammarException.class)
                .hasMessageContaining("too costly");
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "(\\w+ ){2,90}\\w+[.]",
                "(ab|a|abc){30,50}",
                "(?s).*",
                "[^a]*\\p{L}\\d{3,}",
                "(\\p{L}{1,200}\\p{N}?){1,200}"
            })
    void ordinaryColdMaskNeedsASmallPartOfAStepsWork(String pattern) {
        TokenVocabulary vocabulary = Vocabularies.large(131_072, 7);
        CompiledGrammar compiled = new CompiledGrammar(Grammar.regex(pattern).automaton(), vocabulary, Long.MAX_VALUE);
        assertThat(new GrammarMatcher(compiled).fillMask(new long[vocabulary.maskWords()]))
                .isTrue();
        assertThat(NodeSpace.MAX_MASK_WORK - compiled.space().workLeft()).isBetween(100L, NodeSpace.MAX_MASK_WORK / 4);
    }

    @Test
    void rememberedGrammarIsNotReadAgain() {
        GrammarCompiler compiler = new GrammarCompiler(Vocabularies.bytes());
        compiler.matcher("source", () -> Grammar.regex("ab"));
        GrammarMatcher again = compiler.matcher("source", () -> {
            throw new IllegalStateException("read again");
        });
        assertThat(again.accept("ab".getBytes(StandardCharsets.UTF_8))).isTrue();
    }

    @Test
    void fewGrammarsAreReadAtATimeAndAFailureMakesRoom() {
        GrammarCompiler compiler = new GrammarCompiler(Vocabularies.bytes());
        AtomicInteger reading = new AtomicInteger();
        AtomicInteger most = new AtomicInteger();
        AtomicInteger refused = new AtomicInteger();
        try (ExecutorService threads = Executors.newVirtualThreadPerTaskExecutor()) {
            for (int i = 0; i < 24; i++) {
                int number = i;
                threads.execute(() -> {
                    try {
                        compiler.matcher(number, () -> {
                            most.accumulateAndGet(reading.incrementAndGet(), Math::max);
                            LockSupport.parkNanos(5_000_000);
                            reading.decrementAndGet();
                            return Grammar.regex(number % 2 == 0 ? "a{" + number + "}b" : "(");
                        });
                    } catch (GrammarException e) {
                        refused.incrementAndGet();
                    }
                });
            }
        }
        assertThat(most.get()).isBetween(2, 4);
        assertThat(refused).hasValue(12);
        assertThat(compiler.size()).isEqualTo(12);
    }

    /// Each is 21 MiB of edges, since every one of its letters may be left out.
    @Test
    @Timeout(240)
    void compilerForgetsLargeGrammarsEarlier() {
        GrammarCompiler compiler = new GrammarCompiler(Vocabularies.bytes());
        for (int i = 0; i < 14; i++) {
            compiler.matcher(Grammar.regex("a?".repeat(1_900 + i)));
        }
        assertThat(compiler.size()).isBetween(8, 13);
        assertThat(compiler.sizeBytes()).isBetween(200L << 20, 256L << 20);
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
