package dev.baton.bench;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.util.Arrays;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class StatisticsTest {
    private static final double[] SAMPLES = {0.031, 0.5, 0.25, 0.125, 0.9, 0.0004, 0.7};
    private static final double LAST_DIGITS = 1e-15;

    /// Expected values: `numpy.percentile` 2.3.
    @ParameterizedTest
    @CsvSource({
        "0, 0.0004",
        "1, 0.002236",
        "25, 0.078",
        "50, 0.25",
        "90, 0.78",
        "99, 0.8879999999999999",
        "99.9, 0.8988000000000002",
        "100, 0.9"
    })
    void percentileEqualsNumpys(double percent, double expected) {
        double[] sorted = SAMPLES.clone();
        Arrays.sort(sorted);
        assertThat(Statistics.percentile(sorted, percent)).isEqualTo(expected, within(LAST_DIGITS));
    }

    @Test
    void percentileOfOneSampleIsTheSample() {
        assertThat(Statistics.percentile(new double[] {4.5}, 99)).isEqualTo(4.5);
    }

    @Test
    void medianOfAnEvenNumberIsTheMiddleOfTheTwoInTheMiddle() {
        assertThat(Statistics.percentile(new double[] {1, 2, 4, 8}, 50)).isEqualTo(3);
    }

    /// Expected values: `numpy.mean` and `numpy.std`.
    @Test
    void meanAndDeviationEqualNumpys() {
        assertThat(Statistics.mean(SAMPLES)).isEqualTo(0.3580571428571429, within(LAST_DIGITS));
        assertThat(Statistics.std(SAMPLES)).isEqualTo(0.32329812361765087, within(LAST_DIGITS));
    }

    @Test
    void nothingMeasuredIsZero() {
        assertThat(Statistics.mean(new double[0])).isZero();
        assertThat(Statistics.std(new double[0])).isZero();
        assertThat(Statistics.percentile(new double[0], 99)).isZero();
    }
}
