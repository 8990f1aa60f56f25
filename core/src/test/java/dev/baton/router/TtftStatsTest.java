package dev.baton.router;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class TtftStatsTest {
    @Test
    void engineThatDoesWhatIsNotItsRoleIsNotReported() {
        TtftStats stats = new TtftStats();
        stats.decoded(-1, 5);
        stats.prefilled(-1, 5);
        assertThat(stats.reportIfTraffic()).isEmpty();
    }

    @Test
    void reportHasTheFormOfTheSeeds() {
        TtftStats stats = new TtftStats();
        for (double value : new double[] {30, 10, 20, 40}) {
            stats.prefilled(0, value);
        }
        stats.prefilled(1, 42.34);
        stats.prefilled(1, 43.36);
        assertThat(stats.reportIfTraffic()).hasValue("""

                ===============================
                Num requests: 6
                Prefiller 1 TTFT stats:
                 - Average (ms): 25.0
                 - Median (ms): 25.0
                 - 99th Percentile (ms): 39.7
                Prefiller 2 TTFT stats:
                 - Average (ms): 42.9
                 - Median (ms): 42.9
                 - 99th Percentile (ms): 43.3
                ===============================""");
    }

    @Test
    void silentWithoutNewRequests() {
        TtftStats stats = new TtftStats();
        assertThat(stats.reportIfTraffic()).isEmpty();
        stats.prefilled(1, 5);
        assertThat(stats.reportIfTraffic())
                .hasValueSatisfying(
                        report -> assertThat(report).contains("Prefiller 2").doesNotContain("Prefiller 1"));
        assertThat(stats.reportIfTraffic()).isEmpty();
    }

    @Test
    void valuesThatAreReadStayInTheOrderInWhichTheyCame() {
        TtftStats stats = new TtftStats();
        for (int i = 0; i < TtftStats.WINDOW; i++) {
            stats.decoded(0, TtftStats.WINDOW - i);
        }
        assertThat(stats.reportIfTraffic()).isPresent();
        stats.decoded(0, 0); // takes the place of the oldest, which is the largest
        assertThat(stats.ofDecoder(0))
                .hasValueSatisfying(
                        summary -> assertThat(summary.averageMillis()).isEqualTo((TtftStats.WINDOW - 1) / 2.0));
    }

    /// Expected values are those of `numpy.percentile(values, percent)`.
    @ParameterizedTest
    @CsvSource({"0, 1", "50, 3", "99, 4.96", "100, 5", "10, 1.4", "62.5, 3.5"})
    void percentileInterpolatesAsNumpyDoes(double percent, double expected) {
        assertThat(TtftStats.percentile(new double[] {1, 2, 3, 4, 5}, percent))
                .isEqualTo(expected, org.assertj.core.data.Offset.offset(1e-12));
    }

    @Test
    void percentileOfOneValueIsThatValue() {
        assertThat(TtftStats.percentile(new double[] {7}, 99)).isEqualTo(7);
        assertThat(TtftStats.percentile(new double[0], 99)).isNaN();
    }

    @Test
    void olderValuesAreForgottenButStillCounted() {
        TtftStats stats = new TtftStats();
        for (int i = 0; i < TtftStats.WINDOW; i++) {
            stats.prefilled(0, 1000);
        }
        for (int i = 0; i < TtftStats.WINDOW; i++) {
            stats.prefilled(0, 1);
        }
        TtftStats.Summary summary = stats.ofPrefiller(0).orElseThrow();
        assertThat(summary.requests()).isEqualTo(2L * TtftStats.WINDOW);
        assertThat(summary.p99Millis()).isEqualTo(1);
        stats.prefilled(0, 1e9);
        assertThat(stats.ofPrefiller(0).orElseThrow().averageMillis()).isGreaterThan(1);
    }

    /// The whole window is sorted on the event loop.
    @Test
    void lastFourThousandValuesDecide() {
        TtftStats stats = new TtftStats();
        for (int i = 0; i < 60_000; i++) {
            stats.prefilled(0, 1000);
        }
        for (int i = 0; i < 4096; i++) {
            stats.prefilled(0, 1);
        }
        assertThat(stats.ofPrefiller(0).orElseThrow()).isEqualTo(new TtftStats.Summary(64_096, 1, 1, 1));
    }
}
