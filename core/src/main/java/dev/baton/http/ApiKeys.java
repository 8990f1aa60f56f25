package dev.baton.http;

import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.Collection;
import java.util.List;
import java.util.Optional;

/// The keys of which a client must show one, as `Authorization: Bearer KEY`, on the paths where work is done.
///
/// As in vLLM: only paths that begin with `/v1`, `/v2`, `/inference` or `/cohere` are guarded, and the method
/// OPTIONS is not. So health, metrics, `/tokenize` and `/abort_requests` stay open: keep the port to yourself as
/// well. Only digests of the keys are kept, and a digest is compared with every key's in the same time, whatever
/// their bytes. Immutable.
public final class ApiKeys {
    private static final List<String> GUARDED_PREFIXES = List.of("/v1", "/v2", "/inference", "/cohere");
    private static final String SCHEME = "bearer ";
    private static final ApiKeys NONE = new ApiKeys(List.of());

    private final List<byte[]> digests;

    private ApiKeys(List<byte[]> digests) {
        this.digests = digests;
    }

    /// Everybody is admitted.
    public static ApiKeys none() {
        return NONE;
    }

    /// These keys; empty ones do not count, and without any everybody is admitted.
    public static ApiKeys of(Collection<String> keys) {
        return new ApiKeys(
                keys.stream().filter(key -> !key.isEmpty()).map(ApiKeys::digest).toList());
    }

    /// Whether a key has to be shown.
    public boolean areRequired() {
        return !digests.isEmpty();
    }

    /// Whether a request may go on.
    ///
    /// @param path without the query
    /// @param authorization the value of the header field
    public boolean admits(String method, String path, Optional<String> authorization) {
        if (digests.isEmpty()
                || method.equals("OPTIONS")
                || GUARDED_PREFIXES.stream().noneMatch(path::startsWith)) {
            return true;
        }
        return isShownBy(authorization);
    }

    /// Whether a header field shows one of the keys, as `Bearer KEY`, whatever the path.
    ///
    /// @param authorization the value of the header field
    public boolean isShownBy(Optional<String> authorization) {
        return authorization
                .filter(value -> value.regionMatches(true, 0, SCHEME, 0, SCHEME.length()))
                .map(value -> isKey(value.substring(SCHEME.length())))
                .orElse(false);
    }

    /// Whether a text is one of the keys.
    public boolean isKey(String text) {
        byte[] shown = digest(text);
        boolean known = false;
        for (byte[] digest : digests) {
            known |= MessageDigest.isEqual(shown, digest);
        }
        return known;
    }

    private static byte[] digest(String key) {
        try {
            return MessageDigest.getInstance("SHA-256").digest(key.getBytes(StandardCharsets.UTF_8));
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException("every JDK has SHA-256", e);
        }
    }

    @Override
    public String toString() {
        return digests.size() + (digests.size() == 1 ? " key" : " keys");
    }
}
