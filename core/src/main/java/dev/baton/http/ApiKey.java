package dev.baton.http;

import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.time.Duration;
import java.util.HexFormat;
import java.util.Locale;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.LongAdder;
import java.util.regex.Pattern;

/// One client's key: its name, the hash of what the client shows, what the client may do, and how much it does.
///
/// The key itself is not kept, nor is it ever written anywhere: logs and metrics have the name. Requests and
/// tokens are limited by buckets that hold a minute's worth and are refilled evenly. Thread-safe.
public final class ApiKey {
    private static final Pattern NAME = Pattern.compile("[A-Za-z0-9._-]{1,64}");
    private static final Pattern HASH = Pattern.compile("sha256:(?:([A-Za-z0-9._-]{1,64}):)?([0-9a-fA-F]{64})");
    private static final int UNLIMITED = 0;

    private final String name;
    private final String salt;
    private final byte[] digest;
    private final int requestsPerMinute;
    private final int tokensPerMinute;
    private final int maxConcurrent;
    private final Set<String> models;
    private final Usage usage;

    /// What a client has used: it goes on counting when the key or its limits are changed.
    private static final class Usage {
        private final AtomicInteger inFlight = new AtomicInteger();
        private final LongAdder requests = new LongAdder();
        private final LongAdder overRate = new LongAdder();
        private final LongAdder overConcurrency = new LongAdder();
        private final MinuteBucket requestsLeft = new MinuteBucket(); // guarded by this usage
        private final MinuteBucket tokensLeft = new MinuteBucket(); // guarded by this usage
    }

    private ApiKey(
            String name,
            String salt,
            byte[] digest,
            int requestsPerMinute,
            int tokensPerMinute,
            int maxConcurrent,
            Set<String> models,
            Usage usage) {
        if (!NAME.matcher(name).matches()) {
            throw new IllegalArgumentException(
                    "an API key's name has 1 to 64 letters, digits, '.', '_' or '-', not '" + name + "'");
        }
        if (requestsPerMinute < 0 || tokensPerMinute < 0 || maxConcurrent < 0) {
            throw new IllegalArgumentException("a limit of the API key " + name + " is below 0");
        }
        this.name = name;
        this.salt = salt;
        this.digest = digest;
        this.requestsPerMinute = requestsPerMinute;
        this.tokensPerMinute = tokensPerMinute;
        this.maxConcurrent = maxConcurrent;
        this.models = Set.copyOf(models);
        this.usage = usage;
    }

    private static ApiKey unlimited(String name, String salt, byte[] digest) {
        return new ApiKey(name, salt, digest, UNLIMITED, UNLIMITED, UNLIMITED, Set.of(), new Usage());
    }

    /// A key without limits.
    ///
    /// @param key what the client shows
    public static ApiKey of(String name, String key) {
        return unlimited(name, "", sha256(key));
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
        return unlimited(name, salt, digest);
    }

    /// The same with limits, and with nothing used of them.
    ///
    /// @param requestsPerMinute 0 for any number
    /// @param maxConcurrent requests in flight at a time, 0 for any number
    /// @param models the models that may be asked for; none: all
    /// @throws IllegalArgumentException if a number is negative
    public ApiKey withLimits(int requestsPerMinute, int maxConcurrent, Set<String> models) {
        return new ApiKey(name, salt, digest, requestsPerMinute, tokensPerMinute, maxConcurrent, models, new Usage());
    }

    /// The same with a limit of prompt and output tokens, and with nothing used of it.
    ///
    /// @param tokens of prompts and outputs in a minute, 0 for any number
    /// @throws IllegalArgumentException if the number is negative
    public ApiKey withTokensPerMinute(int tokens) {
        return new ApiKey(name, salt, digest, requestsPerMinute, tokens, maxConcurrent, models, new Usage());
    }

    /// The same, with what another key of this name has used.
    ApiKey after(ApiKey before) {
        return new ApiKey(name, salt, digest, requestsPerMinute, tokensPerMinute, maxConcurrent, models, before.usage);
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
        return usage.inFlight.get();
    }

    /// Requests that were admitted, ever.
    public long requests() {
        return usage.requests.sum();
    }

    /// Requests that were refused because there were too many, or too many tokens, in a minute.
    public long overRate() {
        return usage.overRate.sum();
    }

    /// Requests that were refused because too many were in flight.
    public long overConcurrency() {
        return usage.overConcurrency.sum();
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
        if (usage.inFlight.incrementAndGet() > maxConcurrent && maxConcurrent != UNLIMITED) {
            usage.inFlight.decrementAndGet();
            usage.overConcurrency.increment();
            return new Admission(
                    "Too many requests in flight for this API key: its limit is " + maxConcurrent + ".",
                    Duration.ofSeconds(1),
                    HttpHeaders.none());
        }
        Admission admission =
                requestsPerMinute == UNLIMITED ? new Admission("", Duration.ZERO, HttpHeaders.none()) : take(nowNanos);
        if (admission.isAdmitted()) {
            usage.requests.increment();
        } else {
            usage.inFlight.decrementAndGet();
            usage.overRate.increment();
        }
        return admission;
    }

    private Admission take(long nowNanos) {
        synchronized (usage) {
            MinuteBucket bucket = usage.requestsLeft;
            boolean admitted = bucket.left(requestsPerMinute, nowNanos) >= 1;
            if (admitted) {
                bucket.take(1);
            }
            double left = admitted ? bucket.left(requestsPerMinute, nowNanos) : 0;
            HttpHeaders headers = HttpHeaders.of("x-ratelimit-limit-requests", Integer.toString(requestsPerMinute))
                    .with("x-ratelimit-remaining-requests", Integer.toString((int) left))
                    .with(
                            "x-ratelimit-reset-requests",
                            text(bucket.untilThereIs(requestsPerMinute, requestsPerMinute)));
            return admitted
                    ? new Admission("", Duration.ZERO, headers)
                    : new Admission(
                            "Rate limit reached for requests of this API key: its limit is " + requestsPerMinute
                                    + " a minute.",
                            bucket.untilThereIs(1, requestsPerMinute),
                            headers);
        }
    }

    /// Whether tokens are counted.
    public boolean limitsTokens() {
        return tokensPerMinute != UNLIMITED;
    }

    /// Most tokens of prompts and outputs in a minute; 0 for any number.
    public int tokensPerMinute() {
        return tokensPerMinute;
    }

    /// Takes tokens out of the minute's worth before it is known how many a request really has; [#correctTokens]
    /// follows. One request may have more than a minute's worth, and is admitted when that is full.
    ///
    /// @return after which time there is enough; empty if there was and they are taken
    public Optional<Duration> takeTokens(long tokens, long nowNanos) {
        if (!limitsTokens()) {
            return Optional.empty();
        }
        synchronized (usage) {
            double needed = Math.min(tokens, tokensPerMinute);
            if (usage.tokensLeft.left(tokensPerMinute, nowNanos) >= needed) {
                usage.tokensLeft.take((double) tokens);
                return Optional.empty();
            }
            usage.overRate.increment();
            return Optional.of(usage.tokensLeft.untilThereIs(needed, tokensPerMinute));
        }
    }

    /// Puts right what [#takeTokens] took. More than was taken delays the requests that follow.
    ///
    /// @param taken as it was told
    /// @param used how many there were
    public void correctTokens(long taken, long used) {
        if (limitsTokens()) {
            synchronized (usage) {
                usage.tokensLeft.take((double) used - taken);
            }
        }
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
        usage.inFlight.decrementAndGet();
    }

    @Override
    public String toString() {
        return name;
    }
}
