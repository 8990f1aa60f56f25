package dev.baton.router;

import dev.baton.discovery.EngineAddress;
import dev.baton.discovery.EngineRole;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Queue;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicLong;
import org.jspecify.annotations.Nullable;

/// The engines' own metrics as those of one fleet, under their own names, with the label `role`: counters and
/// histograms summed over the engines of a role, numbers of requests too, any other gauge engine by engine with the
/// label `address`. Only names with a colon are taken (`vllm:...`), which leaves out what is about processes.
///
/// A sum of counters never falls, as Prometheus wants it: an engine's increments are added up, so one that starts
/// anew or leaves keeps what it has counted. Gauges of engines that were not heard of for a while are left out. Of
/// histograms whose bounds differ, the bounds that all have are kept.
///
/// Reading engines costs a put into a map; the sums are made when they are asked for, and take a lock: not on an
/// event loop. Thread-safe.
final class FleetMetrics {
    /// Counters and histograms, and as many gauges; more are dropped and counted.
    static final int MAX_SERIES = 50_000;

    private static final String INFINITE = "+Inf";

    /// What an engine said last.
    private record Scrape(EngineAddress engine, EngineRole role, String text, long number, long atNanos) {}

    /// An engine's counts as they were when they were last added up.
    private static final class Counted {
        private final Map<String, Double> last = new HashMap<>();
        private long number = -1;
    }

    /// One name: its series by their labels.
    private static final class Family {
        private final String type;
        private final String help;
        private final Map<String, Double> values = new TreeMap<>();
        private final Map<String, Buckets> buckets = new TreeMap<>();

        private Family(String type, String help) {
            this.type = type;
            this.help = help;
        }
    }

    /// A histogram's cumulative counts by upper bound.
    private static final class Buckets {
        private final TreeMap<Double, Double> counts = new TreeMap<>();
        private double sum;
        private double count;
        /// Whether one engine's bounds are all there: others add no further ones.
        private boolean complete;
    }

    private final long staleNanos;
    private final int maxSeries;
    private final Map<EngineAddress, Scrape> latest = new ConcurrentHashMap<>();
    /// What engines said before they started anew, changed their role or left; added up before the latest.
    private final Queue<Scrape> ended = new ConcurrentLinkedQueue<>();

    private final AtomicLong numbers = new AtomicLong();
    private final Map<String, Family> families = new TreeMap<>(); // under the lock of this
    private final Map<EngineAddress, Counted> counted = new HashMap<>(); // under the lock of this
    private int numSeries; // under the lock of this
    private int numGauges; // under the lock of this
    private long dropped; // under the lock of this
    private volatile long droppedSeries;

    /// @param stale time after which an engine's gauges are left out
    FleetMetrics(Duration stale) {
        this(stale, MAX_SERIES);
    }

    FleetMetrics(Duration stale, int maxSeries) {
        this.staleNanos = stale.toNanos();
        this.maxSeries = maxSeries;
    }

    /// Takes what an engine says now.
    ///
    /// @param restarted whether its counters began again since the last time
    void scraped(EngineAddress engine, EngineRole role, String text, boolean restarted) {
        Scrape before =
                latest.put(engine, new Scrape(engine, role, text, numbers.getAndIncrement(), System.nanoTime()));
        if (before != null && (restarted || before.role() != role)) {
            ended.add(before);
            Thread.ofVirtual().name("baton-metrics").start(this::addEnded);
        }
    }

    /// An engine has left. Its counts stay.
    void gone(EngineAddress engine) {
        Scrape before = latest.remove(engine);
        if (before != null) {
            ended.add(before);
            Thread.ofVirtual().name("baton-metrics").start(this::addEnded);
        }
    }

    /// An engine has left for good: if it comes back, it is another one.
    void forgotten(EngineAddress engine) {
        gone(engine);
        Thread.ofVirtual().name("baton-metrics").start(() -> {
            synchronized (this) {
                addEnded();
                counted.remove(engine);
            }
        });
    }

    /// Series that were dropped because there are too many.
    long droppedSeries() {
        return droppedSeries;
    }

    /// The fleet's metrics in Prometheus' text format.
    synchronized byte[] text() {
        long now = System.nanoTime();
        dropped = 0;
        numGauges = 0;
        Map<String, Family> gauges = new TreeMap<>();
        addEnded();
        latest.values().stream()
                .sorted((a, b) -> Long.compare(a.number(), b.number()))
                .forEach(scrape -> add(scrape, now - scrape.atNanos() < staleNanos ? gauges : new TreeMap<>()));
        StringBuilder out = new StringBuilder(64 << 10);
        families.forEach((name, family) -> write(name, family, out));
        gauges.forEach((name, family) -> {
            if (!families.containsKey(name)) {
                write(name, family, out);
            }
        });
        droppedSeries = dropped;
        return out.toString().getBytes(StandardCharsets.UTF_8);
    }

    private synchronized void addEnded() {
        for (Scrape scrape = ended.poll(); scrape != null; scrape = ended.poll()) {
            add(scrape, new TreeMap<>());
        }
    }

    /// Adds what an engine has counted since it was last added, and its gauges to `gauges`.
    private void add(Scrape scrape, Map<String, Family> gauges) {
        Counted before = counted.computeIfAbsent(scrape.engine(), engine -> new Counted());
        if (scrape.number() < before.number) {
            return; // a later one was added already
        }
        before.number = scrape.number();
        MetricsText.read(scrape.text(), new Adder(scrape, before, gauges));
    }

    private final class Adder implements MetricsText.Visitor {
        private final Scrape scrape;
        private final Counted before;
        private final Map<String, Family> gauges;
        private final Map<String, String> types = new HashMap<>();
        private final Map<String, String> helps = new HashMap<>();
        /// The bounds of each histogram of this engine, to find those that it does not have.
        private final Map<Buckets, List<Double>> bounds = new HashMap<>();

        private Adder(Scrape scrape, Counted before, Map<String, Family> gauges) {
            this.scrape = scrape;
            this.before = before;
            this.gauges = gauges;
        }

        @Override
        public void type(String family, String type) {
            types.put(family, type);
        }

        @Override
        public void help(String family, String help) {
            helps.put(family, help);
        }

        @Override
        public boolean wants(String name) {
            return name.indexOf(':') > 0 && !name.endsWith("_created");
        }

        @Override
        public void sample(String name, String labels, double value) {
            if (Double.isNaN(value)) {
                return;
            }
            switch (types.getOrDefault(name, "")) {
                case "counter" -> count(name, labels, value);
                case "gauge", "untyped" -> gauge(name, types.getOrDefault(name, ""), labels, value);
                case "" -> part(name, labels, value);
                default -> {} // a summary's quantile
            }
        }

        /// A sample whose name is its family's with something behind it.
        private void part(String name, String labels, double value) {
            int cut = name.lastIndexOf('_');
            String family = cut < 0 ? name : name.substring(0, cut);
            String type = types.getOrDefault(family, "");
            String part = cut < 0 ? "" : name.substring(cut + 1);
            if (type.equals("counter") && part.equals("total")) {
                count(name, labels, value);
            } else if (type.equals("histogram") || (type.equals("summary") && !part.equals("bucket"))) {
                histogram(family, type, part, labels, value);
            }
        }

        private void count(String name, String labels, double value) {
            Family family = family(families, name, "counter");
            String key = key(labels, "");
            if (family != null && (family.values.containsKey(key) || hasRoom())) {
                family.values.merge(key, increase(name, labels, value), Double::sum);
            }
        }

        /// A summary's quantiles cannot be added, its sum and count can.
        private void histogram(String name, String type, String part, String labels, double value) {
            Family family = family(families, name, type);
            if (family == null) {
                return;
            }
            String key = key(labels, "le");
            Buckets buckets = family.buckets.get(key);
            if (buckets == null) {
                if (!hasRoom()) {
                    return;
                }
                buckets = new Buckets();
                family.buckets.put(key, buckets);
            }
            switch (part) {
                case "sum" -> buckets.sum += increase(name + "_sum", labels, value);
                case "count" -> {
                    buckets.count += increase(name + "_count", labels, value);
                    keepCommonBounds(buckets);
                }
                case "bucket" -> {
                    double bound = bound(labels);
                    bounds.computeIfAbsent(buckets, ignored -> new ArrayList<>())
                            .add(bound);
                    double more = increase(name + "_bucket", labels, value);
                    if (!buckets.complete || buckets.counts.containsKey(bound)) {
                        buckets.counts.merge(bound, more, Double::sum);
                    }
                }
                default -> {}
            }
        }

        /// The count comes after the buckets. An engine's buckets are cumulative, so that those which others
        /// have as well stay right when the rest is dropped.
        private void keepCommonBounds(Buckets buckets) {
            List<Double> own = bounds.get(buckets);
            if (own != null) {
                buckets.counts.keySet().retainAll(own);
                buckets.complete = true;
            }
        }

        private double bound(String labels) {
            for (MetricsText.Label label : MetricsText.labels(labels)) {
                if (label.name().equals("le")) {
                    return label.value().equals(INFINITE)
                            ? Double.POSITIVE_INFINITY
                            : Double.parseDouble(label.value());
                }
            }
            throw new NumberFormatException("a bucket without a bound");
        }

        private void gauge(String name, String type, String labels, double value) {
            Family family = family(gauges, name, type);
            if (family == null) {
                return;
            }
            boolean summed = name.contains("num_requests")
                    || name.contains("num_running_reqs")
                    || name.contains("num_queue_reqs");
            String key =
                    summed ? key(labels, "") : key(labels, "", scrape.engine().toString());
            if (family.values.containsKey(key) || numGauges < maxSeries) {
                numGauges += family.values.containsKey(key) ? 0 : 1;
                family.values.merge(key, value, Double::sum);
            } else {
                dropped++;
            }
        }

        /// By how much a count has grown since it was last added.
        private double increase(String name, String labels, double value) {
            String series = name + '{' + labels;
            Double last = before.last.put(series, value);
            return last == null || value < last ? value : value - last;
        }

        /// Null where the fleet has it as another type.
        private @Nullable Family family(Map<String, Family> all, String name, String type) {
            Family family = all.computeIfAbsent(name, ignored -> new Family(type, helps.getOrDefault(name, "")));
            return family.type.equals(type) ? family : null;
        }

        private String key(String labels, String without) {
            return key(labels, without, "");
        }

        private String key(String labels, String without, String address) {
            StringBuilder key = new StringBuilder();
            for (MetricsText.Label label : MetricsText.labels(labels)) {
                if (!label.name().equals(without)) {
                    boolean ours = label.name().equals("role") || label.name().equals("address");
                    append(key, ours ? "exported_" + label.name() : label.name(), label.value());
                }
            }
            if (!address.isEmpty()) {
                append(key, "address", address);
            }
            append(key, "role", scrape.role().word());
            return key.toString();
        }
    }

    private static void append(StringBuilder key, String name, String value) {
        key.append(key.isEmpty() ? "" : ",")
                .append(name)
                .append("=\"")
                .append(value)
                .append('"');
    }

    private boolean hasRoom() {
        if (numSeries == maxSeries) {
            dropped++;
            return false;
        }
        numSeries++;
        return true;
    }

    private static void write(String name, Family family, StringBuilder out) {
        if (family.values.isEmpty() && family.buckets.isEmpty()) {
            return;
        }
        if (!family.help.isEmpty()) {
            out.append("# HELP ").append(name).append(' ').append(family.help).append('\n');
        }
        out.append("# TYPE ").append(name).append(' ').append(family.type).append('\n');
        family.values.forEach((labels, value) -> line(name, labels, value, out));
        family.buckets.forEach((labels, buckets) -> {
            buckets.counts.forEach((bound, count) -> line(
                    name + "_bucket",
                    labels + ",le=\"" + (bound.isInfinite() ? INFINITE : bound.toString()) + "\"",
                    count,
                    out));
            line(name + "_count", labels, buckets.count, out);
            line(name + "_sum", labels, buckets.sum, out);
        });
    }

    private static void line(String name, String labels, double value, StringBuilder out) {
        out.append(name).append('{').append(labels).append("} ");
        if (Double.isInfinite(value)) {
            out.append(value > 0 ? INFINITE : "-Inf");
        } else {
            out.append(value);
        }
        out.append('\n');
    }
}
