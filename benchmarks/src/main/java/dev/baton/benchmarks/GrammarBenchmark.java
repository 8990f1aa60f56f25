package dev.baton.benchmarks;

import dev.baton.grammar.Grammar;
import dev.baton.grammar.GrammarCompiler;
import dev.baton.grammar.GrammarMatcher;
import dev.baton.grammar.TokenVocabulary;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashSet;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.Warmup;

/// The mask of 131,072 tokens at one place of a JSON object: met before (`warm`), as in decode, or met for the
/// first
/// time with nothing remembered (`cold`).
///
/// `java -jar benchmarks/target/benchmarks.jar GrammarBenchmark -prof gc`
@State(Scope.Thread)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Warmup(iterations = 3, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(1)
public class GrammarBenchmark {
    private static final int SIZE = 131_072;

    /// The text so far: inside of a string, behind a value, at the beginning of a number.
    @Param({"{\"name\": \"Ada", "{\"tags\": [{\"a\": \"b\"", "{\"n\": 1"})
    public String text = "";

    private final TokenVocabulary vocabulary = vocabulary();
    private final long[] mask = new long[vocabulary.maskWords()];
    private GrammarMatcher warm = matcher();

    @Setup
    public void check() {
        warm = matcher();
        warm.fillMask(mask);
        for (int token = 0; token < SIZE; token += 7) {
            boolean allowed = (mask[token >>> 6] >>> token & 1) != 0;
            if (warm.copy().accept(token) != allowed) {
                throw new IllegalStateException("the mask is wrong for token " + token);
            }
        }
    }

    private GrammarMatcher matcher() {
        GrammarMatcher matcher = new GrammarCompiler(vocabulary).matcher(Grammar.jsonObject());
        if (!matcher.accept(text.getBytes(StandardCharsets.UTF_8))) {
            throw new IllegalStateException("not the beginning of an object: " + text);
        }
        return matcher;
    }

    @Benchmark
    public boolean warm() {
        return warm.fillMask(mask);
    }

    @Benchmark
    public boolean cold() {
        return matcher().fillMask(mask);
    }

    /// Bytes, words with and without a blank before them, signs, numbers, and characters of other scripts.
    private static TokenVocabulary vocabulary() {
        Random random = new Random(1);
        Set<String> texts = new LinkedHashSet<>();
        String signs = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ ";
        String[] syllables = "ka to mi ne ru so in er an on st th ing ed re al tion ver com pre is a e o u".split(" ");
        while (texts.size() < SIZE - 257) {
            StringBuilder word = new StringBuilder(random.nextInt(3) > 0 ? " " : "");
            int kind = random.nextInt(20);
            for (int n = 1 + random.nextInt(4); n > 0; n--) {
                if (kind == 0) {
                    word.append(signs.charAt(random.nextInt(signs.length())));
                } else if (kind < 5) {
                    word.appendCodePoint(0x400 + random.nextInt(0x9000));
                } else {
                    word.append(kind == 5 ? Integer.toString(random.nextInt(1000)) : syllables[random.nextInt(25)]);
                }
            }
            texts.add(word.toString());
        }
        byte[][] tokens = new byte[SIZE][];
        int id = 0;
        for (; id < 256; id++) {
            tokens[id] = new byte[] {(byte) id};
        }
        for (String word : texts) {
            tokens[id++] = word.getBytes(StandardCharsets.UTF_8);
        }
        tokens[id] = new byte[0];
        return TokenVocabulary.of(SIZE, token -> tokens[token], new int[] {SIZE - 1});
    }
}
