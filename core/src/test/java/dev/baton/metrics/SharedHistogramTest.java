package dev.baton.metrics;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

class SharedHistogramTest {
    @Test
    void observationsOfManyThreadsAreAllThereAndInTheirBuckets() {
        SharedHistogram histogram = new SharedHistogram(0.5, 1, 2);
        IntStream.range(0, 8_000)
                .parallel()
                .forEach(i -> histogram.observe(new double[] {0.25, 0.5, 0.75, 2, 2.5, 1, 1.5, 100}[i % 8]));
        assertThat(histogram.counts()).containsExactly(2_000, 2_000, 2_000, 2_000);
        assertThat(histogram.sum()).isEqualTo(108.5 * 1_000);
    }

    @Test
    void textIsThatOfPrometheus() {
        SharedHistogram histogram = new SharedHistogram(0.001, 4);
        histogram.observe(0.0005);
        histogram.observe(8);
        Metrics metrics = new Metrics(Map.of("engine", "0"));
        metrics.histogram("a:seconds", "Help.", histogram);
        assertThat(new String(metrics.text(), StandardCharsets.UTF_8)).isEqualTo("""
                # HELP a:seconds Help.
                # TYPE a:seconds histogram
                a:seconds_bucket{engine="0",le="0.001"} 1
                a:seconds_bucket{engine="0",le="4.0"} 1
                a:seconds_bucket{engine="0",le="+Inf"} 2
                a:seconds_count{engine="0"} 2
                a:seconds_sum{engine="0"} 8.0005
                """);
    }

    @Test
    void boundsMustAscend() {
        assertThatThrownBy(() -> new SharedHistogram(1, 1)).isInstanceOf(IllegalArgumentException.class);
        assertThatThrownBy(() -> new SharedHistogram(1, Double.NaN)).isInstanceOf(IllegalArgumentException.class);
    }
}
