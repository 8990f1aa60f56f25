package dev.baton.http;

import io.vertx.core.http.HttpMethod;
import io.vertx.core.http.HttpServerRequest;
import io.vertx.core.http.HttpServerResponse;
import java.util.List;
import java.util.Locale;

/// Which pages of other origins a browser lets read the answers (cross-origin resource sharing, WHATWG Fetch).
///
/// The settings and the answers are those of vLLM's server: `*` stands for every one.
///
/// @param allowedOrigins origins such as `https://example.org`; none: no page of another origin
/// @param allowedMethods methods that a preflight may ask for
/// @param allowedHeaders header fields that a preflight may ask for, beside those that are always allowed
/// @param allowCredentials whether cookies and the like may come along; an origin is then named instead of `*`
public record Cors(
        List<String> allowedOrigins,
        List<String> allowedMethods,
        List<String> allowedHeaders,
        boolean allowCredentials) {
    private static final String ANY = "*";
    private static final List<String> ALWAYS_ALLOWED =
            List.of("accept", "accept-language", "content-language", "content-type");
    private static final String ALL_METHODS = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT";
    private static final String MAX_AGE_SECONDS = "600";

    public Cors {
        allowedOrigins = List.copyOf(allowedOrigins);
        allowedMethods = List.copyOf(allowedMethods);
        allowedHeaders = List.copyOf(allowedHeaders);
    }

    /// No page of another origin.
    public static Cors none() {
        return new Cors(List.of(), List.of(ANY), List.of(ANY), false);
    }

    private boolean allows(String origin) {
        return allowedOrigins.contains(ANY) || allowedOrigins.contains(origin);
    }

    /// Adds what a browser needs to see to the answer, and answers a preflight.
    ///
    /// @return whether the request is answered
    boolean handle(HttpServerRequest request) {
        String origin = request.getHeader("origin");
        if (origin == null || allowedOrigins.isEmpty()) {
            return false;
        }
        String method = request.getHeader("access-control-request-method");
        if (request.method().equals(HttpMethod.OPTIONS) && method != null) {
            preflight(request, origin, method);
            return true;
        }
        if (allows(origin)) {
            allow(request.response(), origin);
        }
        return false;
    }

    private void allow(HttpServerResponse response, String origin) {
        boolean isOpenToAll = allowedOrigins.contains(ANY) && !allowCredentials;
        response.putHeader("access-control-allow-origin", isOpenToAll ? ANY : origin);
        if (!isOpenToAll) {
            response.putHeader("vary", "Origin");
        }
        if (allowCredentials) {
            response.putHeader("access-control-allow-credentials", "true");
        }
    }

    private void preflight(HttpServerRequest request, String origin, String method) {
        HttpServerResponse response = request.response().putHeader("content-type", "text/plain; charset=utf-8");
        String asked = request.getHeader("access-control-request-headers");
        String refused = "";
        if (!allows(origin)) {
            refused = "origin";
        } else {
            allow(response, origin);
            if (!allowedMethods.contains(ANY) && !allowedMethods.contains(method)) {
                refused = "method";
            } else if (asked != null && !allowsAll(asked)) {
                refused = "headers";
            }
        }
        if (!refused.isEmpty()) {
            response.setStatusCode(400).end("Disallowed CORS " + refused);
            return;
        }
        response.putHeader(
                        "access-control-allow-methods",
                        allowedMethods.contains(ANY) ? ALL_METHODS : String.join(", ", allowedMethods))
                .putHeader("access-control-max-age", MAX_AGE_SECONDS);
        if (asked != null) {
            response.putHeader("access-control-allow-headers", asked);
        }
        response.end("OK");
    }

    private boolean allowsAll(String fields) {
        if (allowedHeaders.contains(ANY)) {
            return true;
        }
        List<String> allowed = allowedHeaders.stream()
                .map(field -> field.toLowerCase(Locale.ROOT))
                .toList();
        for (String field : fields.split(",", -1)) {
            String name = field.strip().toLowerCase(Locale.ROOT);
            if (!allowed.contains(name) && !ALWAYS_ALLOWED.contains(name)) {
                return false;
            }
        }
        return true;
    }
}
