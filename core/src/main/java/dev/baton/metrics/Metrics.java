package dev.baton.metrics;

import io.prometheus.metrics.core.metrics.Counter;
import io.prometheus.metrics.core.metrics.CounterWithCallback;
import io.prometheus.metrics.core.metrics.GaugeWithCallback;
import io.prometheus.metrics.core.metrics.Histogram;
import io.prometheus.metrics.core.metrics.Info;
import io.prometheus.metrics.core.metrics.Summary;
import io.prometheus.metrics.expositionformats.PrometheusTextFormatWriter;
import io.prometheus.metrics.model.registry.PrometheusRegistry;
import io.prometheus.metrics.model.snapshots.Label;
import io.prometheus.metrics.model.snapshots.Labels;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.function.DoubleSupplier;
import java.util.function.LongSupplier;
import java.util.function.Supplier;
import java.util.stream.DoubleStream;
import java.util.stream.LongStream;

/// The metrics of one process: every series carries the same fixed labels (vLLM's `engine` and `model_name`). Names
/// are given without the suffix `_total`, which counters get in the text form. Thread-safe.
public final class Metrics {
    /// The content type of [#text()].
    public static final String CONTENT_TYPE = PrometheusTextFormatWriter.CONTENT_TYPE;

    private final PrometheusRegistry registry = new PrometheusRegistry();
    private final PrometheusTextFormatWriter writer = PrometheusTextFormatWriter.builder()
            .setIncludeCreatedTimestamps(false)
            .build();
    private final Labels fixed;
    private final List<KeptHistogram> histograms = new CopyOnWriteArrayList<>();

    /// No metrics yet.
    ///
    /// @param fixedLabels name to value
    public Metrics(Map<String, String> fixedLabels) {
        List<Map.Entry<String, String>> entries = fixedLabels.entrySet().stream()
                .sorted(Map.Entry.comparingByKey())
                .toList();
        this.fixed = Labels.of(
                entries.stream().map(Map.Entry::getKey).toList(),
                entries.stream().map(Map.Entry::getValue).toList());
    }

    /// Adds a counter.
    ///
    /// @param labelNames labels whose values are given with each increment
    public Counter counter(String name, String help, String... labelNames) {
        return Counter.builder()
                .name(name)
                .help(help)
                .constLabels(fixed)
                .labelNames(labelNames)
                .register(registry);
    }

    /// Adds a counter that is kept elsewhere and asked for when metrics are read.
    public void counter(String name, String help, LongSupplier value) {
        CounterWithCallback.builder()
                .name(name)
                .help(help)
                .constLabels(fixed)
                .callback(callback -> callback.call((double) value.getAsLong()))
                .register(registry);
    }

    /// Adds a counter with one more label, kept elsewhere and asked for when metrics are read.
    ///
    /// @param values label value to the counter's value
    public void counter(String name, String help, String labelName, Map<String, LongSupplier> values) {
        CounterWithCallback.builder()
                .name(name)
                .help(help)
                .constLabels(fixed)
                .labelNames(labelName)
                .callback(
                        callback -> values.forEach((label, value) -> callback.call((double) value.getAsLong(), label)))
                .register(registry);
    }

    /// The same where label values come and go.
    ///
    /// @param rows label value to the counter's value
    public void counter(String name, String help, String labelName, Supplier<Map<String, Long>> rows) {
        CounterWithCallback.builder()
                .name(name)
                .help(help)
                .constLabels(fixed)
                .labelNames(labelName)
                .callback(callback -> rows.get().forEach((label, value) -> callback.call((double) value, label)))
                .register(registry);
    }

    /// Adds a counter of a quantity with a fraction, kept elsewhere and asked for when metrics are read.
    public void realCounter(String name, String help, DoubleSupplier value) {
        CounterWithCallback.builder()
                .name(name)
                .help(help)
                .constLabels(fixed)
                .callback(callback -> callback.call(value.getAsDouble()))
                .register(registry);
    }

    /// Adds a sum with a count, without quantiles.
    public Summary summary(String name, String help, String... labelNames) {
        return Summary.builder()
                .name(name)
                .help(help)
                .constLabels(fixed)
                .labelNames(labelNames)
                .register(registry);
    }

    /// Adds a gauge that is asked for when metrics are read.
    public void gauge(String name, String help, DoubleSupplier value) {
        GaugeWithCallback.builder()
                .name(name)
                .help(help)
                .constLabels(fixed)
                .callback(callback -> callback.call(value.getAsDouble()))
                .register(registry);
    }

    /// Adds a gauge with one more label.
    ///
    /// @param values label value to the gauge's value
    public void gauge(String name, String help, String labelName, Map<String, DoubleSupplier> values) {
        Map<List<String>, DoubleSupplier> rows = new LinkedHashMap<>();
        values.forEach((label, value) -> rows.put(List.of(label), value));
        gauge(name, help, List.of(labelName), rows);
    }

    /// Adds a gauge with more labels.
    ///
    /// @param values label values, in the order of the names, to the gauge's value
    public void gauge(String name, String help, List<String> labelNames, Map<List<String>, DoubleSupplier> values) {
        GaugeWithCallback.builder()
                .name(name)
                .help(help)
                .constLabels(fixed)
                .labelNames(labelNames.toArray(String[]::new))
                .callback(callback -> values.forEach(
                        (labels, value) -> callback.call(value.getAsDouble(), labels.toArray(String[]::new))))
                .register(registry);
    }

    /// Adds a gauge whose labelled rows come and go.
    ///
    /// @param rows asked when metrics are read: label values, in the order of the names, to the value
    public void gauge(String name, String help, List<String> labelNames, Supplier<Map<List<String>, Double>> rows) {
        GaugeWithCallback.builder()
                .name(name)
                .help(help)
                .constLabels(fixed)
                .labelNames(labelNames.toArray(String[]::new))
                .callback(callback ->
                        rows.get().forEach((labels, value) -> callback.call(value, labels.toArray(String[]::new))))
                .register(registry);
    }

    /// Adds a series that is always 1 and says something in its labels.
    ///
    /// @param name ends in `_info`
    public void facts(String name, String help, Map<String, String> facts) {
        List<Map.Entry<String, String>> entries =
                facts.entrySet().stream().sorted(Map.Entry.comparingByKey()).toList();
        Info.builder()
                .name(name)
                .help(help)
                .constLabels(fixed)
                .labelNames(entries.stream().map(Map.Entry::getKey).toArray(String[]::new))
                .register(registry)
                .addLabelValues(entries.stream().map(Map.Entry::getValue).toArray(String[]::new));
    }

    /// Adds a histogram.
    ///
    /// @param upperBounds of its buckets, ascending; the infinite one is added
    public Histogram histogram(String name, String help, double... upperBounds) {
        return histogram(name, help, List.of(), upperBounds);
    }

    /// Adds a histogram whose label values are given with each observation.
    public Histogram histogram(String name, String help, List<String> labelNames, double... upperBounds) {
        return Histogram.builder()
                .name(name)
                .help(help)
                .constLabels(fixed)
                .classicOnly()
                .classicUpperBounds(upperBounds)
                .labelNames(labelNames.toArray(String[]::new))
                .register(registry);
    }

    /// Adds a histogram that is kept elsewhere and asked for when metrics are read. Its name may end in
    /// `_total`, as one of vLLM's does, which the client library does not allow: its text is made here.
    public void histogram(String name, String help, SingleWriterHistogram values) {
        double[] bounds = LongStream.of(values.upperBounds()).asDoubleStream().toArray();
        histograms.add(new KeptHistogram(name, help, bounds, values::counts, values::sum));
    }

    /// Adds a histogram that several threads keep, asked for when metrics are read.
    public void histogram(String name, String help, SharedHistogram values) {
        histograms.add(new KeptHistogram(name, help, values.upperBounds(), values::counts, values::sum));
    }

    private record KeptHistogram(
            String name, String help, double[] bounds, Supplier<long[]> values, DoubleSupplier sum) {
        void write(String labels, StringBuilder out) {
            long[] counts = values.get();
            out.append("# HELP %s %s\n# TYPE %s histogram\n".formatted(name, help, name));
            long total = 0;
            for (int i = 0; i < counts.length; i++) {
                total += counts[i];
                String bound = i < bounds.length ? Double.toString(bounds[i]) : "+Inf";
                out.append("%s_bucket{%sle=\"%s\"} %d\n".formatted(name, labels, bound, total));
            }
            String all = labels.isEmpty() ? "" : "{" + labels.substring(0, labels.length() - 1) + "}";
            out.append("%s_count%s %d\n".formatted(name, all, total));
            out.append("%s_sum%s %s\n".formatted(name, all, sum.getAsDouble()));
        }
    }

    /// The fixed labels as text, each with a comma behind it.
    private String fixedLabels() {
        StringBuilder text = new StringBuilder();
        for (Label label : fixed) {
            String value =
                    label.getValue().replace("\\", "\\\\").replace("\"", "\\\"").replace("\n", "\\n");
            text.append(label.getName()).append("=\"").append(value).append("\",");
        }
        return text.toString();
    }

    /// Bounds 1, 2, 5, 10, 20, 50, ... up to `max`: vLLM's buckets for numbers of tokens.
    public static double[] oneTwoFive(int max) {
        DoubleStream.Builder bounds = DoubleStream.builder();
        for (long decade = 1; decade <= max; decade *= 10) {
            for (int mantissa : new int[] {1, 2, 5}) {
                if (mantissa * decade <= max) {
                    bounds.add((double) (mantissa * decade));
                }
            }
        }
        return bounds.build().toArray();
    }

    /// All metrics in Prometheus' text format.
    public byte[] text() {
        ByteArrayOutputStream out = new ByteArrayOutputStream(16 << 10);
        try {
            writer.write(out, registry.scrape());
            StringBuilder kept = new StringBuilder();
            histograms.forEach(histogram -> histogram.write(fixedLabels(), kept));
            out.write(kept.toString().getBytes(StandardCharsets.UTF_8));
        } catch (IOException e) {
            throw new MetricsException("the metrics could not be written", e);
        }
        return out.toByteArray();
    }
}
