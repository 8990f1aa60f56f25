package dev.baton.grammar;

import static org.assertj.core.api.Assertions.assertThat;

import java.math.BigDecimal;
import java.math.RoundingMode;
import java.util.Random;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class NumberRangesTest {
    private static BigDecimal random(Random random, int digits) {
        int scale = random.nextInt(4);
        long bound = (long) Math.pow(10, 1 + random.nextInt(digits));
        return BigDecimal.valueOf(random.nextLong(-bound, bound + 1), scale);
    }

    private static boolean within(BigDecimal value, BigDecimal bound, boolean isOpen, int side) {
        int order = value.compareTo(bound) * side;
        return order > 0 || (order == 0 && !isOpen);
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 2, 3, 4, 5, 6})
    void numbersAreAcceptedExactlyInTheirRange(int seed) {
        Random random = new Random(seed);
        int inside = 0;
        int outside = 0;
        for (int round = 0; round < 150; round++) {
            boolean integer = random.nextBoolean();
            boolean lowOpen = random.nextBoolean();
            boolean highOpen = random.nextBoolean();
            boolean hasLow = random.nextInt(5) > 0;
            boolean hasHigh = random.nextInt(5) > 0;
            BigDecimal low = random(random, 5);
            BigDecimal high = low.add(random(random, 4).abs());
            String schema = "{\"type\":\"" + (integer ? "integer" : "number") + '"'
                    + (hasLow ? ",\"" + (lowOpen ? "exclusiveMinimum" : "minimum") + "\":" + low.toPlainString() : "")
                    + (hasHigh
                            ? ",\"" + (highOpen ? "exclusiveMaximum" : "maximum") + "\":" + high.toPlainString()
                            : "")
                    + "}";
            Grammar grammar;
            try {
                grammar = Grammar.jsonSchema(schema);
            } catch (GrammarException e) {
                assertThat(e).hasMessageContaining("matches no text");
                continue;
            }
            for (int i = 0; i < 30; i++) {
                BigDecimal value =
                        i == 0 ? low : i == 1 ? high : i % 2 == 0 ? random(random, 6) : near(random, low, high);
                if (integer) {
                    value = value.setScale(0, RoundingMode.FLOOR);
                }
                boolean expected =
                        (!hasLow || within(value, low, lowOpen, 1)) && (!hasHigh || within(value, high, highOpen, -1));
                assertThat(Walks.accepts(grammar, value.toPlainString()))
                        .as("%s of %s", value.toPlainString(), schema)
                        .isEqualTo(expected);
                inside += expected ? 1 : 0;
                outside += expected ? 0 : 1;
            }
        }
        assertThat(inside).isGreaterThan(200);
        assertThat(outside).isGreaterThan(200);
    }

    private static BigDecimal near(Random random, BigDecimal low, BigDecimal high) {
        BigDecimal step = BigDecimal.valueOf(random.nextInt(-3, 4), random.nextInt(6));
        return (random.nextBoolean() ? low : high).add(step);
    }
}
