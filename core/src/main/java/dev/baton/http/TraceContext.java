package dev.baton.http;

import java.util.Optional;
import java.util.concurrent.ThreadLocalRandom;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/// Where a span stands in its trace: the header field `traceparent` of W3C Trace Context, version 00. Immutable.
///
/// @param traceId 32 hexadecimal digits, not all 0
/// @param spanId 16 hexadecimal digits, not all 0
/// @param sampled whether the trace is recorded
public record TraceContext(String traceId, String spanId, boolean sampled) {
    /// The header field's name.
    public static final String HEADER = "traceparent";

    private static final Pattern FORM = Pattern.compile("00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})");

    /// Reads the field; one that is malformed counts as none.
    public static Optional<TraceContext> parse(Optional<String> header) {
        Matcher parts = FORM.matcher(header.orElse(""));
        if (!parts.matches() || isZero(parts.group(1)) || isZero(parts.group(2))) {
            return Optional.empty();
        }
        boolean sampled = (Integer.parseInt(parts.group(3), 16) & 1) == 1;
        return Optional.of(new TraceContext(parts.group(1), parts.group(2), sampled));
    }

    private static boolean isZero(String digits) {
        return digits.chars().allMatch(digit -> digit == '0');
    }

    /// A new span of a trace, or of a new one.
    static TraceContext under(Optional<TraceContext> parent) {
        ThreadLocalRandom random = ThreadLocalRandom.current();
        String trace =
                parent.map(TraceContext::traceId).orElseGet(() -> hex(random.nextLong()) + hex(random.nextLong()));
        return new TraceContext(trace, hex(random.nextLong()), true);
    }

    /// Never 0, not even by chance.
    private static String hex(long value) {
        return String.format("%016x", value == 0 ? 1 : value);
    }

    /// The field's value.
    public String header() {
        return "00-" + traceId + "-" + spanId + (sampled ? "-01" : "-00");
    }
}
