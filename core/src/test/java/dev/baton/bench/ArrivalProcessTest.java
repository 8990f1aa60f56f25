package dev.baton.bench;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.Arrays;
import java.util.SplittableRandom;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class ArrivalProcessTest {
    private static final int COUNT = 200_000;

    /// A gamma distribution of shape k and scale 1 has mean k, variance k and skewness 2 / sqrt(k).
    @ParameterizedTest
    @ValueSource(doubles = {0.3, 0.9, 1, 1.5, 4, 100})
    void gammaSamplesHaveTheDistributionsMoments(double shape) {
        SplittableRandom random = new SplittableRandom(7);
        double[] samples = IntStream.range(0, COUNT)
                .mapToDouble(i -> ArrivalProcess.gamma(shape, random))
                .toArray();
        double mean = Statistics.mean(samples);
        double std = Statistics.std(samples);
        double skewness = IntStream.range(0, COUNT)
                .mapToDouble(i -> Math.pow((samples[i] - mean) / std, 3))
                .average()
                .orElseThrow();
        assertThat(Arrays.stream(samples)).allMatch(sample -> sample > 0 && Double.isFinite(sample));
        assertThat(mean).isEqualTo(shape, within(0.02 * shape));
        assertThat(std * std).isEqualTo(shape, within(0.05 * shape));
        assertThat(skewness).isEqualTo(2 / Math.sqrt(shape), within(0.05 + 0.1 / Math.sqrt(shape)));
    }

    @ParameterizedTest
    @ValueSource(doubles = {0.25, 1, 100, Double.POSITIVE_INFINITY})
    void lastRequestIsSentWhenTheRateSaysWhateverTheSeed(double burstiness) {
        for (long seed = 0; seed < 5; seed++) {
            double[] times = new ArrivalProcess(5, burstiness).timesSeconds(30, new SplittableRandom(seed));
            assertThat(times).isSorted().hasSize(30);
            assertThat(times[29]).isEqualTo(6, within(1e-9));
        }
    }

    @Test
    void highBurstinessIsNearlyUniform() {
        double[] times = new ArrivalProcess(1, 100).timesSeconds(1000, new SplittableRandom(3));
        double[] intervals = IntStream.range(1, 1000)
                .mapToDouble(i -> times[i] - times[i - 1])
                .toArray();
        assertThat(Statistics.std(intervals)).isBetween(0.08, 0.12);
    }

    @Test
    void infiniteRateSendsAllAtOnce() {
        double[] times = new ArrivalProcess(Double.POSITIVE_INFINITY, 1).timesSeconds(4, new SplittableRandom(0));
        assertThat(times).containsOnly(0);
    }

    @Test
    void sameSeedGivesTheSameTimes() {
        ArrivalProcess poisson = new ArrivalProcess(2, 1);
        assertThat(poisson.timesSeconds(50, new SplittableRandom(1)))
                .isEqualTo(poisson.timesSeconds(50, new SplittableRandom(1)))
                .isNotEqualTo(poisson.timesSeconds(50, new SplittableRandom(2)));
    }

    @ParameterizedTest
    @ValueSource(doubles = {0, -1, Double.NaN})
    void ratesThatAreNoneAreRefused(double rate) {
        assertThatThrownBy(() -> new ArrivalProcess(rate, 1))
                .isInstanceOf(BenchException.class)
                .hasMessageContaining("--request-rate");
        assertThatThrownBy(() -> new ArrivalProcess(1, rate))
                .isInstanceOf(BenchException.class)
                .hasMessageContaining("--burstiness");
    }
}
