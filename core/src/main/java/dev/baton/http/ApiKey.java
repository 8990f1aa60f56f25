package dev.baton.http;

import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.time.Duration;
import java.util.HexFormat;
import java.util.Locale;
import java.util.Set;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.LongAdder;
import java.util.regex.Pattern;

/// One client's key: its name, the hash of what the client shows, what the client may do, and how much it does.
///
/// The key itself is not kept, nor is it ever written anywhere: logs and metrics have the name. Requests are
/// limited by a token bucket that holds a minute's worth and is refilled evenly. Thread-safe.
public final class ApiKey {
    private static final Pattern NAME = Pattern.compile("[A-Za-z0-9._-]{1,64}");
    private static final Pattern HASH = Pattern.compile("sha256:(?:([A-Za-z0-9._-]{1,64}):)?([0-9a-fA-F]{64})");
    private static final double NANOS_PER_MINUTE = 60e9;
    private static final int UNLIMITED = 0;

    private final String name;
    private final String salt;
    private final byte[] digest;
    private final int requestsPerMinute;
    private final int maxConcurrent;
    private final Set<String> models;

    private final AtomicInteger inFlight = new AtomicInteger();
    private final LongAdder requests = new LongAdder();
    private final LongAdder overRate = new LongAdder();
    private final LongAdder overConcurrency = new LongAdder();
    // guarded by this
    private double tokens;
    private long refilledNanos;

    private ApiKey(
            String name, String salt, byte[] digest, int requestsPerMinute, int maxConcurrent, Set<String> models) {
        if (!NAME.matcher(name).matches()) {
            throw new IllegalArgumentException(
                    "an API key's name has 1 to 64 letters, digits, '.', '_' or '-', not '" + name + "'");
        }
        if (requestsPerMinute < 0 || maxConcurrent < 0) {
            throw new IllegalArgumentException("a limit of the API key " + name + " is below 0");
        }
        this.name = name;
        this.salt = salt;
        this.digest = digest;
        this.requestsPerMinute = requestsPerMinute;
        this.maxConcurrent = maxConcurrent;
        this.models = Set.copyOf(models);
        this.tokens = requestsPerMinute;
        this.refilledNanos = System.nanoTime();
    }

    /// A key without limits.
    ///
    /// @param key what the client shows
    public static ApiKey of(String name, String key) {
        return new ApiKey(name, "", sha256(key), UNLIMITED, UNLIMITED, Set.of());
    }

    /// A key that is known by its hash only, without limits.
    ///
    /// @param hash `sha256:HEX` of the key, or `sha256:SALT:HEX` of salt and key, one after the other
    /// @throws IllegalArgumentException if name or hash is not of its form
    public static ApiKey hashed(String name, String hash) {
        java.util.regex.Matcher parts = HASH.matcher(hash);
        if (!parts.matches()) {
            throw new IllegalArgumentException("the hash of the API key " + name
                    + " is not of the form sha256:HEX or sha256:SALT:HEX, with 64" + " hexadecimal digits");
        }
        String salt = parts.group(1) == null ? "" : parts.group(1);
        byte[] digest = HexFormat.of().parseHex(parts.group(2).toLowerCase(Locale.ROOT));
        return new ApiKey(name, salt, digest, UNLIMITED, UNLIMITED, Set.of());
    }

    /// The same with limits, and with nothing used of them.
    ///
    /// @param requestsPerMinute 0 for any number
    /// @param maxConcurrent requests in flight at a time, 0 for any number
    /// @param models the models that may be asked for; none: all
    /// @throws IllegalArgumentException if a number is negative
    public ApiKey withLimits(int requestsPerMinute, int maxConcurrent, Set<String> models) {
        return new ApiKey(name, salt, digest, requestsPerMinute, maxConcurrent, models);
    }

    /// The name, for logs and metrics.
    public String name() {
        return name;
    }

    /// Whether its client may ask for a model.
    public boolean mayUse(String model) {
        return models.isEmpty() || models.contains(model);
    }

    /// Requests in flight.
    public int inFlight() {
        return inFlight.get();
    }

    /// Requests that were admitted, ever.
    public long requests() {
        return requests.sum();
    }

    /// Requests that were refused because there were too many in a minute.
    public long overRate() {
        return overRate.sum();
    }

    /// Requests that were refused because too many were in flight.
    public long overConcurrency() {
        return overConcurrency.sum();
    }

    /// What is hashed before the key; empty for nothing.
    String salt() {
        return salt;
    }

    /// Whether that is the hash of this key with its salt; takes the same time whatever the bytes are.
    boolean hasHash(byte[] hash) {
        return MessageDigest.isEqual(hash, digest);
    }

    static byte[] sha256(String text) {
        try {
            return MessageDigest.getInstance("SHA-256").digest(text.getBytes(StandardCharsets.UTF_8));
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException("every JDK has SHA-256", e);
        }
    }

    /// What became of a request of this key.
    ///
    /// @param refusal why it must not go on; empty if it may
    /// @param retryAfter when it might, if not now
    /// @param headers what the client is told about its limits
    record Admission(String refusal, Duration retryAfter, HttpHeaders headers) {
        boolean isAdmitted() {
            return refusal.isEmpty();
        }
    }

    /// Counts a request as in flight, until [#release()], unless it is over a limit.
    Admission admit(long nowNanos) {
        if (inFlight.incrementAndGet() > maxConcurrent && maxConcurrent != UNLIMITED) {
            inFlight.decrementAndGet();
            overConcurrency.increment();
            return new Admission(
                    "Too many requests in flight for this API key: its limit is " + maxConcurrent + ".",
                    Duration.ofSeconds(1),
                    HttpHeaders.none());
        }
        Admission admission =
                requestsPerMinute == UNLIMITED ? new Admission("", Duration.ZERO, HttpHeaders.none()) : take(nowNanos);
        if (admission.isAdmitted()) {
            requests.increment();
        } else {
            inFlight.decrementAndGet();
            overRate.increment();
        }
        return admission;
    }

    private synchronized Admission take(long nowNanos) {
        double perNano = requestsPerMinute / NANOS_PER_MINUTE;
        tokens = Math.min(requestsPerMinute, tokens + Math.max(0, nowNanos - refilledNanos) * perNano);
        refilledNanos = nowNanos;
        boolean admitted = tokens >= 1;
        if (admitted) {
            tokens--;
        }
        Duration untilFull = Duration.ofNanos((long) ((requestsPerMinute - tokens) / perNano));
        HttpHeaders headers = HttpHeaders.of("x-ratelimit-limit-requests", Integer.toString(requestsPerMinute))
                .with("x-ratelimit-remaining-requests", Integer.toString((int) tokens))
                .with("x-ratelimit-reset-requests", text(untilFull));
        return admitted
                ? new Admission("", Duration.ZERO, headers)
                : new Admission(
                        "Rate limit reached for requests of this API key: its limit is " + requestsPerMinute
                                + " a minute.",
                        Duration.ofNanos((long) Math.ceil((1 - tokens) / perNano)),
                        headers);
    }

    /// As OpenAI writes it: `0s`, `120ms`, `8.64s`, `6m0s`.
    static String text(Duration time) {
        long millis = time.toMillis();
        if (millis < 1000) {
            return millis == 0 ? "0s" : millis + "ms";
        }
        String minutes = millis < 60_000 ? "" : millis / 60_000 + "m";
        String seconds =
                String.format(Locale.ROOT, "%.3f", millis % 60_000 / 1e3).replaceFirst("\\.?0+$", "");
        return minutes + (seconds.isEmpty() ? "0" : seconds) + "s";
    }

    /// A request that was admitted is over.
    void release() {
        inFlight.decrementAndGet();
    }

    @Override
    public String toString() {
        return name;
    }
}
