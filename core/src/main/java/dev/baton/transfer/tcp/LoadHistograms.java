package dev.baton.transfer.tcp;

import dev.baton.metrics.Metrics;
import dev.baton.metrics.SharedHistogram;

/// What loads take, in the histograms that vLLM has for NIXL, with its buckets. Thread-safe.
final class LoadHistograms {
    private final SharedHistogram xferSeconds =
            new SharedHistogram(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 5);
    private final SharedHistogram bytes = new SharedHistogram(powersOfFour(11, 12)); // 2 KiB to 8 GiB
    private final SharedHistogram descriptors =
            new SharedHistogram(10, 20, 30, 50, 75, 100, 200, 400, 1000, 2000, 4000, 10_000, 20_000, 50_000);

    private static double[] powersOfFour(int firstExponent, int count) {
        double[] powers = new double[count];
        for (int i = 0; i < count; i++) {
            powers[i] = Math.scalb(1.0, firstExponent + 2 * i);
        }
        return powers;
    }

    void observe(long nanos, long numBytes, long numDescriptors) {
        xferSeconds.observe(nanos / 1e9);
        bytes.observe((double) numBytes);
        descriptors.observe((double) numDescriptors);
    }

    void addTo(Metrics metrics) {
        metrics.histogram("vllm:nixl_xfer_time_seconds", "Seconds of a load.", xferSeconds);
        metrics.histogram("vllm:nixl_bytes_transferred", "Bytes of a load.", bytes);
        metrics.histogram("vllm:nixl_num_descriptors", "Pieces of a load.", descriptors);
    }
}
