package dev.baton.grammar;

import static org.assertj.core.api.Assertions.assertThat;

import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/// The mask says what taking a token says, whatever was remembered.
class MaskTest {
    private static final String JSON = """
            root ::= value
            value ::= object | array | string | number | "true" | "false" | "null"
            object ::= "{" ws (pair ("," ws pair)*)? "}" ws
            pair ::= string ws ":" ws value ws
            array ::= "[" ws (value ws ("," ws value ws)*)? "]"
            string ::= "\\"" char* "\\""
            char ::= [^"\\\\\\x00-\\x1f] | "\\\\" (["\\\\/bfnrt] | "u" [0-9a-fA-F]{4})
            number ::= "-"? ("0" | [1-9] [0-9]*) ("." [0-9]+)? ([eE] [-+]? [0-9]+)?
            ws ::= [ \\n\\t]*
            """;

    static Stream<Grammar> grammars() {
        List<Grammar> grammars = new ArrayList<>();
        JsonSchemaTest.cases().forEach(given -> grammars.add(Grammar.jsonSchema(given.schema())));
        grammars.add(Grammar.ebnf(JSON));
        grammars.add(Grammar.ebnf("root ::= root \"a\" | \"b\" | root \"é\" root"));
        grammars.add(Grammar.ebnf("root ::= \"a\" root \"b\" | \"ab\" | root root"));
        grammars.add(Grammar.ebnf("root ::= x root | x\nx ::= [a-c]{1,3} y\ny ::= \"\" | \" \" y"));
        grammars.add(Grammar.regex("(\\w+ ){2,90}\\w+[.]"));
        grammars.add(Grammar.regex("(ab|a|abc){30,50}"));
        grammars.add(Grammar.regex("(?s).*"));
        grammars.add(Grammar.regex("[^a]*\\p{L}\\d{3,}"));
        grammars.add(Grammar.choice(List.of("red", "re", "green", "日本", "", "red \"x\"")));
        return grammars.stream();
    }

    @ParameterizedTest
    @MethodSource("grammars")
    void maskHoldsExactlyTheTokensThatAreAccepted(Grammar grammar) {
        for (int seed = 0; seed < 6; seed++) {
            TokenVocabulary vocabulary = Vocabularies.pieces(seed);
            GrammarMatcher matcher = new GrammarCompiler(vocabulary).matcher(grammar);
            Random random = new Random(seed);
            long[] mask = new long[vocabulary.maskWords()];
            for (int step = 0; step < 40 && !matcher.isTerminated(); step++) {
                matcher.fillMask(mask);
                int taken = 0;
                GrammarMatcher next = matcher;
                for (int token = 0; token < vocabulary.size(); token++) {
                    GrammarMatcher tried = matcher.copy();
                    boolean accepted = tried.accept(token);
                    assertThat(Walks.isSet(mask, token))
                            .as("token %s in step %s", token, step)
                            .isEqualTo(accepted);
                    if (accepted && !vocabulary.isEnd(token) && random.nextInt(++taken) == 0) {
                        next = tried;
                    }
                }
                assertThat(taken > 0 || matcher.canEnd()).isTrue();
                matcher = next;
            }
        }
    }

    @Test
    void refusedTokenChangesNothing() {
        TokenVocabulary vocabulary = Vocabularies.pieces(1);
        GrammarMatcher matcher = new GrammarCompiler(vocabulary).matcher(Grammar.jsonObject());
        long[] before = new long[vocabulary.maskWords()];
        long[] after = new long[vocabulary.maskWords()];
        assertThat(matcher.accept("{\"a\":[[1,{".getBytes(StandardCharsets.UTF_8)))
                .isTrue();
        matcher.fillMask(before);
        assertThat(matcher.accept("\"k\":{}}]]}x".getBytes(StandardCharsets.UTF_8)))
                .isFalse();
        assertThat(matcher.accept(-1)).isFalse();
        assertThat(matcher.accept(vocabulary.size())).isFalse();
        assertThat(matcher.accept(vocabulary.size() - 1)).isFalse();
        matcher.fillMask(after);
        assertThat(after).isEqualTo(before);
        assertThat(matcher.accept("\"k\":{}}]]}".getBytes(StandardCharsets.UTF_8)))
                .isTrue();
        assertThat(matcher.isTerminated()).isTrue();
    }

    @Test
    void copyGoesItsOwnWay() {
        TokenVocabulary vocabulary = Vocabularies.bytes();
        GrammarMatcher matcher = new GrammarCompiler(vocabulary).matcher(Grammar.choice(List.of("ab", "ac")));
        matcher.accept('a');
        GrammarMatcher copy = matcher.copy();
        assertThat(copy.accept('b')).isTrue();
        assertThat(matcher.accept('c')).isTrue();
        assertThat(copy.isTerminated()).isTrue();
        assertThat(matcher.accept(257)).isTrue();
        assertThat(copy.accept(257)).isTrue();
    }

    @Test
    void vocabularyThatCannotSpellTheNextByteSaysSo() {
        TokenVocabulary vocabulary =
                TokenVocabulary.of(3, id -> id == 0 ? new byte[] {'a'} : new byte[0], new int[] {2});
        GrammarMatcher matcher = new GrammarCompiler(vocabulary).matcher(Grammar.choice(List.of("ab")));
        long[] mask = new long[1];
        assertThat(matcher.fillMask(mask)).isTrue();
        assertThat(matcher.accept(0)).isTrue();
        assertThat(matcher.fillMask(mask)).isFalse();
        assertThat(matcher.isTerminated()).isFalse();
    }

    @Test
    void fullCacheIsDroppedAndMatchersMoveOver() {
        TokenVocabulary vocabulary = Vocabularies.pieces(2);
        Grammar grammar = Grammar.ebnf(JSON);
        CompiledGrammar small = new CompiledGrammar(grammar.automaton(), vocabulary, 40_000);
        GrammarCompiler large = new GrammarCompiler(vocabulary);
        Random random = new Random(3);
        NodeSpace first = small.space();
        boolean moved = false;
        for (int round = 0; round < 30; round++) {
            GrammarMatcher matcher = new GrammarMatcher(small);
            GrammarMatcher reference = large.matcher(grammar);
            long[] mask = new long[vocabulary.maskWords()];
            long[] expected = new long[vocabulary.maskWords()];
            for (int step = 0; step < 60 && !reference.isTerminated(); step++) {
                assertThat(matcher.fillMask(mask)).isEqualTo(reference.fillMask(expected));
                assertThat(mask).isEqualTo(expected);
                int token = random.nextInt(vocabulary.size() - 1);
                while (!Walks.isSet(mask, token)) {
                    token = (token + 1) % (vocabulary.size() - 1);
                }
                assertThat(matcher.accept(token)).isTrue();
                assertThat(reference.accept(token)).isTrue();
                moved |= small.space() != first;
            }
        }
        assertThat(moved).isTrue();
    }

    @Test
    void threadsThatShareAGrammarSeeTheSameMasks() throws Exception {
        TokenVocabulary vocabulary = Vocabularies.pieces(4);
        Grammar grammar = Grammar.jsonObject();
        GrammarCompiler shared = new GrammarCompiler(vocabulary);
        Callable<Void> work = () -> {
            for (int seed = 0; seed < 20; seed++) {
                GrammarMatcher matcher = shared.matcher(grammar);
                GrammarMatcher alone = new GrammarCompiler(vocabulary).matcher(grammar);
                Random random = new Random(seed);
                long[] mask = new long[vocabulary.maskWords()];
                long[] expected = new long[vocabulary.maskWords()];
                for (int step = 0; step < 50 && !alone.isTerminated(); step++) {
                    matcher.fillMask(mask);
                    alone.fillMask(expected);
                    assertThat(mask).isEqualTo(expected);
                    int token = random.nextInt(vocabulary.size() - 1);
                    while (!Walks.isSet(mask, token)) {
                        token = (token + 1) % (vocabulary.size() - 1);
                    }
                    matcher.accept(token);
                    alone.accept(token);
                }
            }
            return null;
        };
        try (ExecutorService threads = Executors.newFixedThreadPool(4)) {
            for (Future<Void> done : threads.invokeAll(List.of(work, work, work, work))) {
                done.get();
            }
        }
    }

    @Test
    void maskAllocatesNothingOnceItsSituationsWereMet() {
        TokenVocabulary vocabulary = Vocabularies.pieces(5);
        GrammarCompiler compiler = new GrammarCompiler(vocabulary);
        Grammar grammar = Grammar.jsonObject();
        byte[] text = "{\"a\": [1, {\"name\": \"x y\"}, \"é\"], \"b\": null}".getBytes(StandardCharsets.UTF_8);
        long[] mask = new long[vocabulary.maskWords()];
        com.sun.management.ThreadMXBean threads = (com.sun.management.ThreadMXBean) ManagementFactory.getThreadMXBean();
        long fewest = Long.MAX_VALUE;
        for (int round = 0; round < 20; round++) {
            GrammarMatcher matcher = compiler.matcher(grammar);
            long allocated = 0;
            matcher.fillMask(mask);
            for (int i = 0; i < text.length; i++) {
                matcher.accept(text[i] & 0xff);
                matcher.fillMask(mask); // the first one makes the matcher's scratch
                long before = threads.getCurrentThreadAllocatedBytes();
                matcher.fillMask(mask);
                allocated += threads.getCurrentThreadAllocatedBytes() - before;
            }
            fewest = Math.min(fewest, allocated);
        }
        assertThat(fewest).isZero();
    }
}
