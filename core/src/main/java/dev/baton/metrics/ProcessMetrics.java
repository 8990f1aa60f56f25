package dev.baton.metrics;

import com.sun.management.OperatingSystemMXBean;
import com.sun.management.UnixOperatingSystemMXBean;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;

/// The metrics that every Prometheus client reports of its process, under their usual names.
public final class ProcessMetrics {
    private static final Path STATUS = Path.of("/proc/self/status");
    private static final double NANOS = 1e9;
    private static final double MILLIS = 1e3;

    private ProcessMetrics() {}

    /// Adds what this platform tells.
    public static void addTo(Metrics metrics) {
        metrics.gauge(
                "process_start_time_seconds",
                "Start time of the process since the Unix epoch.",
                () -> ManagementFactory.getRuntimeMXBean().getStartTime() / MILLIS);
        if (ManagementFactory.getOperatingSystemMXBean() instanceof OperatingSystemMXBean system) {
            metrics.realCounter(
                    "process_cpu_seconds", "CPU time of the process.", () -> system.getProcessCpuTime() / NANOS);
        }
        if (ManagementFactory.getOperatingSystemMXBean() instanceof UnixOperatingSystemMXBean unix) {
            metrics.gauge("process_open_fds", "Open file descriptors.", unix::getOpenFileDescriptorCount);
            metrics.gauge("process_max_fds", "Most open file descriptors.", unix::getMaxFileDescriptorCount);
        }
        if (Files.isReadable(STATUS)) {
            metrics.gauge("process_resident_memory_bytes", "Resident memory.", () -> statusBytes("VmRSS:"));
            metrics.gauge("process_virtual_memory_bytes", "Virtual memory.", () -> statusBytes("VmSize:"));
        }
    }

    /// A line such as `VmRSS:   1024 kB`; NaN if there is none.
    private static double statusBytes(String field) {
        try {
            for (String line : Files.readAllLines(STATUS)) {
                if (line.startsWith(field)) {
                    String kib =
                            line.substring(field.length()).replace("kB", "").strip();
                    return Long.parseLong(kib) * 1024.0;
                }
            }
            return Double.NaN;
        } catch (IOException | NumberFormatException e) {
            return Double.NaN;
        }
    }
}
