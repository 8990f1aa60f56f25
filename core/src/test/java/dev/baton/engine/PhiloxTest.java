package dev.baton.engine;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

class PhiloxTest {
    /// Known answers of the authors' library Random123 (`kat_vectors`, philox4x32-10), first two words.
    @Test
    void givesTheKnownAnswers() {
        assertThat(Philox.bits(0, 0, 0, 0, 0, 0)).isEqualTo(0xe169c58d_6627e8d5L);
        assertThat(Philox.bits(-1, -1, -1, -1, -1, -1)).isEqualTo(0x41c83b0e_408f276dL);
        assertThat(Philox.bits(0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0))
                .isEqualTo(0x94fdcceb_d16cfe09L);
    }

    @Test
    void numbersOfOneSeedAreUniform() {
        int[] tenths = new int[10];
        double sum = 0;
        for (int i = 0; i < 100_000; i++) {
            double number = Philox.uniform(7, i);
            assertThat(number).isGreaterThanOrEqualTo(0).isLessThan(1);
            tenths[(int) (number * 10)]++;
            sum += number;
        }
        assertThat(sum / 100_000).isBetween(0.497, 0.503);
        for (int count : tenths) {
            assertThat(count).isBetween(9_600, 10_400);
        }
    }
}
