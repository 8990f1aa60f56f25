package dev.baton.http;

import java.util.ArrayList;
import java.util.Collection;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Collectors;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// The keys of which a client must show one, as `Authorization: Bearer KEY`, on the paths where work is done.
///
/// As in vLLM: only paths that begin with `/v1`, `/v2`, `/inference` or `/cohere` are guarded, and Baton's own
/// `/kv_peers`, which has an engine call on another; the method OPTIONS is not. So health, metrics, `/tokenize`
/// and `/abort_requests` stay open: keep the port to yourself as well. Only hashes of the keys are kept, and
/// what is shown is compared with every one of them in the same time, whatever the bytes. A key in the address
/// is none: addresses are logged everywhere. Keys of a source change with it while a server has them.
/// Thread-safe.
public final class ApiKeys {
    private static final List<String> GUARDED_PREFIXES = List.of("/v1", "/v2", "/inference", "/cohere", "/kv_peers");
    private static final String SCHEME = "bearer";
    private static final Logger LOG = LoggerFactory.getLogger(ApiKeys.class);
    private static final ApiKeys NONE = new ApiKeys(List.of(), Optional.empty());

    private final List<ApiKey> fixed;
    private final Optional<ApiKeySource> source;
    private volatile Known known;
    private String complaint = ""; // touched by who reads the source

    /// The keys at one time.
    private record Known(List<ApiKey> keys, Map<String, List<ApiKey>> bySalt) {
        private static Known of(List<ApiKey> keys) {
            return new Known(keys, keys.stream().collect(Collectors.groupingBy(ApiKey::salt)));
        }
    }

    private ApiKeys(List<ApiKey> fixed, Optional<ApiKeySource> source) {
        this.fixed = fixed;
        this.source = source;
        this.known = Known.of(fixed);
    }

    /// Everybody is admitted.
    public static ApiKeys none() {
        return NONE;
    }

    /// These keys, without limits, under the names `key-1`, `key-2` and so on; empty ones do not count, and without
    /// any everybody is admitted.
    public static ApiKeys of(Collection<String> keys) {
        List<ApiKey> named = new ArrayList<>(keys.size());
        for (String key : keys) {
            if (!key.isEmpty()) {
                named.add(ApiKey.of("key-" + (named.size() + 1), key));
            }
        }
        return new ApiKeys(List.copyOf(named), Optional.empty());
    }

    /// These keys and more.
    ///
    /// @throws IllegalArgumentException if two have the same name
    public ApiKeys and(Collection<ApiKey> more) {
        return new ApiKeys(together(known.keys(), more), Optional.empty());
    }

    /// These keys and those of a source, which is asked again every few seconds by a server that has them.
    ///
    /// @throws IllegalArgumentException if the source does not say its keys now, or two have the same name
    public ApiKeys and(ApiKeySource changing) {
        ApiKeys all = new ApiKeys(known.keys(), Optional.of(changing));
        changing.readIfChanged().ifPresent(all::replace);
        return all;
    }

    private static List<ApiKey> together(List<ApiKey> keys, Collection<ApiKey> more) {
        List<ApiKey> all = new ArrayList<>(keys);
        all.addAll(more);
        Set<String> names = new HashSet<>();
        for (ApiKey key : all) {
            if (!names.add(key.name())) {
                throw new IllegalArgumentException("two API keys have the name " + key.name());
            }
        }
        return List.copyOf(all);
    }

    /// What keys of the same names have used is not forgotten.
    private void replace(Collection<ApiKey> ofSource) {
        Map<String, ApiKey> before = known.keys().stream().collect(Collectors.toMap(ApiKey::name, key -> key));
        List<ApiKey> now = together(fixed, ofSource).stream()
                .map(key -> Optional.ofNullable(before.get(key.name()))
                        .map(key::after)
                        .orElse(key))
                .toList();
        known = Known.of(now);
    }

    /// Whether they can change.
    boolean areReadAgain() {
        return source.isPresent();
    }

    /// Asks the source. What it cannot say changes nothing, and is logged once. One thread at a time.
    void readAgain() {
        try {
            Optional<List<ApiKey>> changed = source.flatMap(ApiKeySource::readIfChanged);
            if (changed.isPresent()) {
                replace(changed.get());
                LOG.info("the API keys have changed: there are {}", this);
            }
            complaint = "";
        } catch (IllegalArgumentException e) {
            String why = String.valueOf(e.getMessage());
            if (!why.equals(complaint)) {
                complaint = why;
                LOG.warn("{}; the keys stay as they were", why);
            }
        }
    }

    /// All of them.
    public List<ApiKey> all() {
        return known.keys();
    }

    /// Whether a key has to be shown.
    public boolean areRequired() {
        return !known.keys().isEmpty();
    }

    /// Whether a request needs a key.
    ///
    /// @param path without the query
    public boolean guard(String method, String path) {
        return areRequired()
                && !method.equals("OPTIONS")
                && GUARDED_PREFIXES.stream().anyMatch(path::startsWith);
    }

    /// The key that a client shows.
    ///
    /// @param authorization the value of the header field
    public Optional<ApiKey> identify(Optional<String> authorization) {
        String value = authorization.orElse("");
        int blank = value.indexOf(' ');
        if (blank < 0 || !value.substring(0, blank).equalsIgnoreCase(SCHEME)) {
            return Optional.empty();
        }
        String shown = value.substring(blank + 1);
        Optional<ApiKey> found = Optional.empty();
        for (Map.Entry<String, List<ApiKey>> salted : known.bySalt().entrySet()) {
            byte[] hash = ApiKey.sha256(salted.getKey() + shown);
            for (ApiKey key : salted.getValue()) {
                if (key.hasHash(hash)) {
                    found = Optional.of(key);
                }
            }
        }
        return found;
    }

    @Override
    public String toString() {
        int number = known.keys().size();
        return number + (number == 1 ? " key" : " keys");
    }
}
