package dev.baton.router;

import dev.baton.http.HttpExchange;
import dev.baton.http.HttpHeaders;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Set;

/// Which header fields cross the router. Towards engines only a short list passes, so that no client can speak
/// to what stands behind (addresses in ids, data-parallel ranks, priorities). Towards clients everything passes
/// but what belongs to the connection or to the fleet.
final class ForwardedHeaders {
    private static final List<String> TO_ENGINES = List.of("traceparent", "tracestate");
    private static final String AUTHORIZATION = "authorization";

    private static final Set<String> NOT_TO_CLIENTS = Set.of(
            "connection",
            "keep-alive",
            "proxy-authenticate",
            "proxy-connection",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
            "content-length",
            "date",
            "server",
            RequestId.HEADER);

    private static final String[] INTERNAL_PREFIXES = {"x-kv-", "x-baton-"};

    private ForwardedHeaders() {}

    /// The engine is shown the router's key for engines. Where there is none, it is shown what the client
    /// shows, unless the router has keys of its own: those are between client and router, also on the paths
    /// that need none.
    static HttpHeaders toEngine(HttpExchange exchange, String requestId, RouterConfig config) {
        List<HttpHeaders.Field> fields = new ArrayList<>(TO_ENGINES.size() + 3);
        fields.add(new HttpHeaders.Field("content-type", "application/json"));
        fields.add(new HttpHeaders.Field(RequestId.HEADER, requestId));
        Optional<String> clients =
                config.server().apiKeys().areRequired() ? Optional.empty() : exchange.header(AUTHORIZATION);
        config.engineKey()
                .map(key -> "Bearer " + key)
                .or(() -> clients)
                .ifPresent(value -> fields.add(new HttpHeaders.Field(AUTHORIZATION, value)));
        for (String name : TO_ENGINES) {
            exchange.header(name).ifPresent(value -> fields.add(new HttpHeaders.Field(name, value)));
        }
        return HttpHeaders.of(fields);
    }

    private static boolean isInternal(String name) {
        for (String prefix : INTERNAL_PREFIXES) {
            if (name.startsWith(prefix)) {
                return true;
            }
        }
        return false;
    }

    static HttpHeaders toClient(HttpHeaders answer, RequestId id) {
        return answer.without(name -> NOT_TO_CLIENTS.contains(name) || isInternal(name))
                .with(RequestId.HEADER, id.client());
    }
}
