package dev.baton.bench;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class ServingMetricsTest {
    private static final RequestResult FIRST =
            new RequestResult(true, 100, 3, 0.2, List.of(0.1, 0.3), 0.6, 10.0, 0, "abc", "");
    private static final RequestResult SECOND = new RequestResult(true, 50, 1, 0.4, List.of(), 0.4, 10.5, 0, "a", "");
    private static final RequestResult THIRD =
            new RequestResult(true, 10, 2, 0.1, List.of(0.2), 0.3, 12.0, 0, "ab", "");
    private static final RequestResult FAILED =
            new RequestResult(false, 7, 0, 0, List.of(), 0, 10.1, 0, "", "HTTP 500");

    private final ServingMetrics metrics = ServingMetrics.of(
            List.of(FIRST, SECOND, THIRD, FAILED), 2.5, List.of(50.0), Goodput.parse(List.of("ttft:300", "e2el:600")));

    @Test
    void failedRequestsCountAsFailedAndNothingElse() {
        assertThat(metrics.completed()).isEqualTo(3);
        assertThat(metrics.failed()).isEqualTo(1);
        assertThat(metrics.totalInputTokens()).isEqualTo(160);
        assertThat(metrics.totalOutputTokens()).isEqualTo(6);
        assertThat(metrics.requestThroughput()).isEqualTo(3 / 2.5);
        assertThat(metrics.totalTokenThroughput()).isEqualTo(166 / 2.5);
    }

    @Test
    void tpotIsTheTimeAfterTheFirstTokenOverTheOtherTokensAndLeavesOutAnswersOfOneToken() {
        Distribution tpot = metrics.latency(Metric.TPOT);
        assertThat(tpot.meanMillis()).isEqualTo((0.4 / 2 + 0.2) / 2 * 1000, within(1e-9));
    }

    @Test
    void interTokenLatenciesAreTakenTogether() {
        assertThat(metrics.latency(Metric.ITL).meanMillis()).isEqualTo(200, within(1e-9));
        assertThat(metrics.latency(Metric.ITL).medianMillis()).isEqualTo(200, within(1e-9));
    }

    @Test
    void goodRequestsMeetEveryObjective() {
        assertThat(metrics.requestGoodput()).isEqualTo(2 / 2.5);
    }

    @Test
    void peaksAreTheFullestSecondAndTheMostAtOneMoment() {
        assertThat(metrics.maxOutputTokensPerSecond()).isEqualTo(4);
        assertThat(metrics.maxConcurrentRequests()).isEqualTo(2);
    }

    @Test
    void requestThatBeginsWhenAnotherEndsIsNotConcurrent() {
        RequestResult next = new RequestResult(true, 1, 1, 0.1, List.of(), 0.1, 10.6, 0, "", "");
        assertThat(ServingMetrics.of(List.of(FIRST, next), 1, List.of(), Goodput.none())
                        .maxConcurrentRequests())
                .isEqualTo(1);
    }

    @Test
    void nothingButFailuresIsZeroEverywhere() {
        ServingMetrics none = ServingMetrics.of(List.of(FAILED), 1, List.of(99.0), Goodput.none());
        assertThat(none.completed()).isZero();
        assertThat(none.latency(Metric.TTFT).meanMillis()).isZero();
        assertThat(none.maxConcurrentRequests()).isZero();
    }

    @ParameterizedTest
    @ValueSource(strings = {"ttft", "ttft:", "ttft:-1", "itl:5", "speed:5", ":5"})
    void objectivesThatAreNoneAreRefused(String pair) {
        assertThatThrownBy(() -> Goodput.parse(List.of(pair))).isInstanceOf(BenchException.class);
    }

    @Test
    void unknownMetricIsRefusedWithTheKnownOnes() {
        assertThat(Metric.parse("e2el,ttft")).containsExactly(Metric.TTFT, Metric.E2EL);
        assertThatThrownBy(() -> Metric.parse("ttft,latency"))
                .isInstanceOf(BenchException.class)
                .hasMessageContaining("'latency'")
                .hasMessageContaining("e2el");
    }
}
