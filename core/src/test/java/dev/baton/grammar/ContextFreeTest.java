package dev.baton.grammar;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class ContextFreeTest {
    private static final String[] NAMES = {"root", "a", "b", "c"};

    /// Random rules, among them left-recursive, right-recursive, ambiguous and empty ones, counted short and long.
    private static String randomGrammar(Random random) {
        StringBuilder text = new StringBuilder();
        for (String name : NAMES) {
            text.append(name).append(" ::= ").append(randomExpr(random, 3)).append('\n');
        }
        return text.toString();
    }

    private static String randomExpr(Random random, int depth) {
        switch (depth == 0 ? random.nextInt(3) : random.nextInt(9)) {
            case 0 -> {
                return "\"" + "xyz".charAt(random.nextInt(3)) + "\"";
            }
            case 1 -> {
                return NAMES[random.nextInt(NAMES.length)];
            }
            case 2 -> {
                return random.nextInt(3) == 0 ? "\"\"" : "[x-" + "yz".charAt(random.nextInt(2)) + "]";
            }
            case 3, 4 -> {
                return "(" + randomExpr(random, depth - 1) + " | " + randomExpr(random, depth - 1) + ")";
            }
            case 5, 6 -> {
                return randomExpr(random, depth - 1) + " " + randomExpr(random, depth - 1);
            }
            default -> {
                int min = random.nextInt(3);
                String[] counts = {
                    "*", "+", "?", "{" + min + "," + (min + 1) + "}", "{" + min + ",30}", "{" + min + ",}", "{26}"
                };
                return "(" + randomExpr(random, depth - 1) + ")" + counts[random.nextInt(counts.length)];
            }
        }
    }

    /// Where an expression can end in a text, by brute force: a least fixed point over all rules. Positions are
    /// bits.
    private static final class Recogniser {
        private final String text;
        private final Map<Expr.Rule, long[]> ends = new HashMap<>(); // by where a rule begins
        private boolean changed;

        Recogniser(String text) {
            this.text = text;
        }

        boolean matches(Expr root) {
            long found;
            do {
                changed = false;
                found = ends(root, 1);
                for (Expr.Rule rule : List.copyOf(ends.keySet())) {
                    long[] known = ends.get(rule);
                    for (int from = 0; from <= text.length(); from++) {
                        long now = ends(rule.body(), 1L << from);
                        changed |= (now & ~known[from]) != 0;
                        known[from] |= now;
                    }
                }
            } while (changed);
            return (found >>> text.length() & 1) != 0;
        }

        private long ends(Expr expr, long from) {
            long result = 0;
            switch (expr) {
                case Expr.Literal literal -> {
                    for (long rest = from; rest != 0; rest &= rest - 1) {
                        int at = Long.numberOfTrailingZeros(rest);
                        if (text.startsWith(literal.text(), at)) {
                            result |= 1L << at + literal.text().length();
                        }
                    }
                }
                case Expr.Chars chars -> {
                    for (int at = 0; at < text.length(); at++) {
                        if ((from >>> at & 1) != 0 && chars.set().contains(text.charAt(at))) {
                            result |= 2L << at;
                        }
                    }
                }
                case Expr.Seq seq -> {
                    result = from;
                    for (Expr part : seq.parts()) {
                        result = ends(part, result);
                    }
                }
                case Expr.Alt alt -> {
                    for (Expr option : alt.options()) {
                        result |= ends(option, from);
                    }
                }
                case Expr.Repeat repeat -> {
                    long now = from;
                    for (int i = 0; i <= Math.min(repeat.max(), 40) && now != 0; i++) {
                        if (i >= repeat.min()) {
                            result |= now;
                        }
                        now = ends(repeat.part(), now);
                    }
                }
                case Expr.Ref ref -> {
                    if (!ends.containsKey(ref.rule())) {
                        ends.put(ref.rule(), new long[text.length() + 1]);
                        changed = true;
                    }
                    for (long rest = from; rest != 0; rest &= rest - 1) {
                        result |= ends.get(ref.rule())[Long.numberOfTrailingZeros(rest)];
                    }
                }
            }
            return result;
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 2, 3, 4, 5, 6, 7, 8})
    void randomGrammarsAcceptWhatBruteForceDerives(int seed) {
        Random random = new Random(seed);
        int accepted = 0;
        int grammars = 0;
        while (grammars < 60) {
            String source = randomGrammar(random);
            Grammar grammar;
            try {
                grammar = Grammar.ebnf(source);
            } catch (GrammarException e) {
                assertThat(e).hasMessageContaining("matches no text");
                assertThat(new Recogniser("").matches(EbnfParser.parse(source))).isFalse();
                continue;
            }
            grammars++;
            Expr root = EbnfParser.parse(source);
            for (String text : texts(random)) {
                boolean expected = new Recogniser(text).matches(root);
                assertThat(Walks.accepts(grammar, text))
                        .as("'%s' of%n%s", text, source)
                        .isEqualTo(expected);
                accepted += expected ? 1 : 0;
            }
        }
        assertThat(accepted).isGreaterThan(60);
    }

    private static List<String> texts(Random random) {
        List<String> texts = new ArrayList<>(List.of("", "x", "y", "xx", "xy", "yx", "zz"));
        for (int i = 0; i < 12; i++) {
            StringBuilder text = new StringBuilder();
            for (int n = random.nextInt(9); n > 0; n--) {
                text.append("xyz".charAt(random.nextInt(3)));
            }
            texts.add(text.toString());
        }
        texts.add("x".repeat(26));
        return texts;
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 2, 3, 4})
    void everyPrefixUnderTheMaskCanBeCompleted(int seed) {
        Random random = new Random(seed);
        TokenVocabulary vocabulary = Vocabularies.bytes();
        long[] mask = new long[vocabulary.maskWords()];
        for (int round = 0; round < 80; round++) {
            GrammarMatcher matcher;
            try {
                matcher = new GrammarCompiler(vocabulary).matcher(Grammar.ebnf(randomGrammar(random)));
            } catch (GrammarException e) {
                continue;
            }
            for (int step = 0; step < 30 && !matcher.isTerminated(); step++) {
                assertThat(matcher.fillMask(mask)).isTrue();
                int first = random.nextInt(3);
                for (int i = 0; i < 3; i++) {
                    if (matcher.accept('x' + (first + i) % 3)) {
                        break;
                    }
                }
            }
        }
    }

    @Test
    void longRightRecursionTakesNoTimePerElement() {
        Grammar grammar = Grammar.ebnf("root ::= item | item \",\" root\nitem ::= \"a\" | \"(\" root \")\"");
        assertThat(Walks.accepts(grammar, "a,".repeat(20_000) + "a")).isTrue();
        assertThat(Walks.accepts(grammar, "(".repeat(2_000) + "a" + ")".repeat(2_000)))
                .isTrue();
    }

    @Test
    void escapesCommentsAndClassesAreRead() {
        Grammar grammar = Grammar.ebnf("""
                # a comment
                root ::= "\\x41\\u00e9\\U0001F600\\n\\"" [^a-c\\]] # another
                  | [\\-\\d] rest-1
                rest-1 ::= . ("b" | "c"){2}
                """);
        assertThat(Walks.accepts(grammar, "Aé😀\n\"d")).isTrue();
        assertThat(Walks.accepts(grammar, "Aé😀\n\"]")).isFalse();
        assertThat(Walks.accepts(grammar, "-\nbc")).isTrue();
        assertThat(Walks.accepts(grammar, "7日cb")).isTrue();
        assertThat(Walks.accepts(grammar, "7日c")).isFalse();
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '~',
            quoteCharacter = '`',
            value = {
                "root ::= x ~ uses the rule 'x'",
                "rot ::= \"a\" ~ no rule 'root'",
                "root ::= root ~ matches no text",
                "root ::= \"a ~ without its closing",
                "root ::= [a ~ '[' without ']'",
                "root ::= (\"a\" ~ '(' without ')'",
                "root ::= \"a\"{3,2} ~ bad repetition",
                "root ::= \"a\" ) ~ has ')'",
                "root := \"a\" ::= ~ '::='",
                "root ::= Token(1) ~ macro 'Token'",
                "root ::= (=\"a\") \"a\" ~ look-ahead",
                "root ::= \"\\q\" ~ escape \\q",
                "root ::= \"\\ud800\" ~ surrogate",
            })
    void whatIsMalformedIsNamed(String source, String message) {
        assertThatThrownBy(() -> Grammar.ebnf(source))
                .isInstanceOf(GrammarException.class)
                .hasMessageContaining(message);
    }

    @Test
    void ruleThatIsDefinedTwiceIsRefusedWithItsLine() {
        assertThatThrownBy(() -> Grammar.ebnf("root ::= \"a\"\nroot ::= \"b\""))
                .hasMessageContaining("rule 'root' twice")
                .hasMessageContaining("line 2");
    }
}
