package dev.baton.http;

import java.util.ArrayList;
import java.util.Collection;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Collectors;

/// The keys of which a client must show one, as `Authorization: Bearer KEY`, on the paths where work is done.
///
/// As in vLLM: only paths that begin with `/v1`, `/v2`, `/inference` or `/cohere` are guarded, and the method
/// OPTIONS is not. So health, metrics, `/tokenize` and `/abort_requests` stay open: keep the port to yourself as
/// well. Only hashes of the keys are kept, and what is shown is compared with every one of them in the same time,
/// whatever the bytes. A key in the address is none: addresses are logged everywhere. Immutable but for what the
/// keys count; thread-safe.
public final class ApiKeys {
    private static final List<String> GUARDED_PREFIXES = List.of("/v1", "/v2", "/inference", "/cohere");
    private static final String SCHEME = "bearer";
    private static final ApiKeys NONE = new ApiKeys(List.of());

    private final List<ApiKey> keys;
    private final Map<String, List<ApiKey>> bySalt;

    private ApiKeys(List<ApiKey> keys) {
        this.keys = keys;
        bySalt = keys.stream().collect(Collectors.groupingBy(ApiKey::salt));
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
        return new ApiKeys(List.copyOf(named));
    }

    /// These keys and more.
    ///
    /// @throws IllegalArgumentException if two have the same name
    public ApiKeys and(Collection<ApiKey> more) {
        List<ApiKey> all = new ArrayList<>(keys);
        all.addAll(more);
        Set<String> names = new HashSet<>();
        for (ApiKey key : all) {
            if (!names.add(key.name())) {
                throw new IllegalArgumentException("two API keys have the name " + key.name());
            }
        }
        return new ApiKeys(List.copyOf(all));
    }

    /// All of them.
    public List<ApiKey> all() {
        return keys;
    }

    /// Whether a key has to be shown.
    public boolean areRequired() {
        return !keys.isEmpty();
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
        for (Map.Entry<String, List<ApiKey>> salted : bySalt.entrySet()) {
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
        return keys.size() + (keys.size() == 1 ? " key" : " keys");
    }
}
