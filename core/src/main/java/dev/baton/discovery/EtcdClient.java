package dev.baton.discovery;

import dev.baton.http.HttpCall;
import dev.baton.http.HttpClient;
import dev.baton.http.HttpClientConfig;
import dev.baton.http.HttpClientRequest;
import dev.baton.http.HttpClientResponse;
import dev.baton.http.HttpException;
import dev.baton.http.HttpHeaders;
import dev.baton.http.HttpResponseListener;
import dev.baton.http.HttpRuntime;
import dev.baton.http.Json;
import java.io.ByteArrayOutputStream;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/// The few calls to etcd that engines and routers need, over the HTTP/JSON gateway that etcd 3.4 and newer have
/// on their client port: bytes are base64, 64-bit numbers are text, a stream is one JSON object a line.
///
/// Calls block. A member that cannot be reached makes the next call go to the next one. Thread-safe.
final class EtcdClient implements AutoCloseable {
    /// Longest answer, and longest line of a stream.
    private static final int MAX_BYTES = 64 << 20;

    private static final Duration DEADLINE = Duration.ofSeconds(5);

    /// A stream that is silent for so long is begun anew, in case that the other side is gone without a word.
    private static final Duration SILENCE = Duration.ofSeconds(60);

    private final EtcdTarget target;
    private final HttpRuntime runtime;
    private final HttpClient client;
    private final AtomicInteger endpoint = new AtomicInteger();

    EtcdClient(EtcdTarget target) {
        this.target = target;
        runtime = HttpRuntime.start(1);
        client = runtime.client(HttpClientConfig.defaults());
    }

    /// One key.
    ///
    /// @param value nothing for a key that was deleted
    record Entry(String key, Optional<byte[]> value) {}

    /// What is under a prefix.
    ///
    /// @param clusterId whose state it is
    /// @param revision of the state
    record Listing(String clusterId, long revision, List<Entry> entries) {}

    /// What happened next.
    ///
    /// @param revision of the state after it
    /// @param compacted whether the changes asked for are no longer known: list again
    record Changes(long revision, boolean compacted, List<Entry> entries) {}

    /// @throws DiscoveryException if etcd does not answer, or not so
    Listing list(String prefix) throws InterruptedException {
        return listing(call("/v3/kv/range", range(prefix)));
    }

    private static Listing listing(JsonNode answer) {
        List<Entry> entries = new ArrayList<>();
        for (JsonNode pair : answer.path("kvs")) {
            entries.add(new Entry(decodedText(pair.path("key")), Optional.of(decoded(pair.path("value")))));
        }
        JsonNode header = answer.path("header");
        return new Listing(header.path("cluster_id").asString(""), number(header.path("revision")), entries);
    }

    /// The same without the entries.
    ///
    /// @throws DiscoveryException if etcd does not answer, or not so
    Listing state(String prefix) throws InterruptedException {
        return listing(call("/v3/kv/range", range(prefix).put("count_only", true)));
    }

    /// @param lease the key goes when this ends
    /// @throws DiscoveryException if etcd does not answer, or refuses
    void put(String key, byte[] value, String lease) throws InterruptedException {
        call(
                "/v3/kv/put",
                object().put("key", encoded(key)).put("value", encoded(value)).put("lease", lease));
    }

    /// @return the new lease's id
    /// @throws DiscoveryException if etcd does not answer, or refuses
    String grant(Duration timeToLive) throws InterruptedException {
        long seconds = Math.max(1, timeToLive.plusMillis(999).toSeconds());
        JsonNode answer = call("/v3/lease/grant", object().put("TTL", Long.toString(seconds)));
        return answer.path("ID")
                .asStringOpt()
                .orElseThrow(() -> new DiscoveryException("etcd granted no lease: " + answer));
    }

    /// @return whether the lease is still there
    /// @throws DiscoveryException if etcd does not answer
    boolean keepAlive(String lease) throws InterruptedException {
        JsonNode answer = call("/v3/lease/keepalive", object().put("ID", lease));
        return number(answer.path("result").path("TTL")) > 0;
    }

    /// Ends a lease, and with it its keys.
    ///
    /// @throws DiscoveryException if etcd does not answer, or refuses
    void revoke(String lease) throws InterruptedException {
        call("/v3/lease/revoke", object().put("ID", lease));
    }

    /// Begins to follow what happens under a prefix.
    ///
    /// @param fromRevision the first that counts
    Watch watch(String prefix, long fromRevision) {
        ObjectNode create = range(prefix).put("start_revision", Long.toString(fromRevision));
        byte[] body = Json.bytes(object().set("create_request", create));
        Lines lines = new Lines();
        HttpHeaders json = HttpHeaders.of("content-type", "application/json");
        HttpCall call =
                client.send(new HttpClientRequest("POST", uri("/v3/watch"), json, body, DEADLINE, SILENCE), lines);
        return new Watch(call, lines);
    }

    /// The changes under a prefix as they happen. One thread's.
    final class Watch implements AutoCloseable {
        private final HttpCall call;
        private final Lines lines;

        private Watch(HttpCall call, Lines lines) {
            this.call = call;
            this.lines = lines;
        }

        /// Waits for the next changes for some time.
        ///
        /// @throws DiscoveryException if the stream has broken
        Optional<Changes> next(Duration time) throws InterruptedException {
            Line line = lines.queue.poll(time.toNanos(), TimeUnit.NANOSECONDS);
            return switch (line) {
                case null -> Optional.empty();
                case Line.Text(byte[] text) -> Optional.of(changes(parsed(text)));
                case Line.Broken(HttpException failure) -> throw failed(failure);
            };
        }

        @Override
        public void close() {
            call.cancel();
        }
    }

    private static Changes changes(JsonNode line) {
        JsonNode result = line.path("result");
        if (!result.isObject()) {
            throw new DiscoveryException("etcd ended the watch: " + line);
        }
        boolean compacted = number(result.path("compact_revision")) > 0;
        if (result.path("canceled").asBoolean(false) && !compacted) {
            throw new DiscoveryException("etcd ended the watch: " + line);
        }
        List<Entry> entries = new ArrayList<>();
        for (JsonNode event : result.path("events")) {
            boolean deleted = event.path("type").asString("PUT").equals("DELETE");
            JsonNode pair = event.path("kv");
            entries.add(new Entry(
                    decodedText(pair.path("key")),
                    deleted ? Optional.empty() : Optional.of(decoded(pair.path("value")))));
        }
        return new Changes(number(result.path("header").path("revision")), compacted, entries);
    }

    private JsonNode call(String path, ObjectNode body) throws InterruptedException {
        HttpClientResponse response;
        try {
            response = client.exchange(HttpClientRequest.postJson(uri(path), Json.bytes(body), DEADLINE), MAX_BYTES)
                    .get();
        } catch (ExecutionException e) {
            if (e.getCause() instanceof HttpException failure) {
                throw failed(failure);
            }
            throw new IllegalStateException("a call to etcd met a bug", e);
        }
        if (response.status() != 200) {
            endpoint.incrementAndGet();
            throw new DiscoveryException("etcd answers %s with %d: %s"
                    .formatted(path, response.status(), response.text().strip()));
        }
        return parsed(response.body());
    }

    private DiscoveryException failed(HttpException failure) {
        EngineAddress address = address();
        endpoint.incrementAndGet();
        return new DiscoveryException("etcd at " + address + " does not answer: " + failure.getMessage());
    }

    private static JsonNode parsed(byte[] json) {
        try {
            return Json.parse(json);
        } catch (Json.MalformedException e) {
            throw new DiscoveryException("etcd's answer is no JSON");
        }
    }

    private EngineAddress address() {
        return target.endpoints()
                .get(Math.floorMod(endpoint.get(), target.endpoints().size()));
    }

    private URI uri(String path) {
        return address().uri(path);
    }

    private static ObjectNode object() {
        return JsonNodeFactory.instance.objectNode();
    }

    /// All keys with a prefix: from it to the first key that has it no more.
    private static ObjectNode range(String prefix) {
        byte[] end = prefix.getBytes(StandardCharsets.UTF_8);
        end[end.length - 1]++; // prefixes end with a slash
        return object().put("key", encoded(prefix)).put("range_end", encoded(end));
    }

    private static String encoded(String text) {
        return encoded(text.getBytes(StandardCharsets.UTF_8));
    }

    private static String encoded(byte[] bytes) {
        return Base64.getEncoder().encodeToString(bytes);
    }

    private static byte[] decoded(JsonNode text) {
        try {
            return Base64.getDecoder().decode(text.asString(""));
        } catch (IllegalArgumentException e) {
            throw new DiscoveryException("etcd's answer has a key or value that is not base64");
        }
    }

    private static String decodedText(JsonNode text) {
        return new String(decoded(text), StandardCharsets.UTF_8);
    }

    /// A 64-bit number, which the gateway writes as text and leaves out when it is 0.
    private static long number(JsonNode number) {
        try {
            return Long.parseLong(number.asString("0"));
        } catch (NumberFormatException e) {
            throw new DiscoveryException("etcd's answer has '" + number + "' where a number is needed");
        }
    }

    @Override
    public void close() {
        runtime.close();
    }

    private sealed interface Line {
        record Text(byte[] text) implements Line {}

        record Broken(HttpException failure) implements Line {}
    }

    /// Cuts a stream into its lines.
    private static final class Lines implements HttpResponseListener {
        private final BlockingQueue<Line> queue = new LinkedBlockingQueue<>();
        private final ByteArrayOutputStream partial = new ByteArrayOutputStream();
        private @Nullable HttpException failure;

        @Override
        public void onHead(int status, HttpHeaders headers) {
            if (status != 200) {
                fail(new HttpException(HttpException.Kind.PROTOCOL, "it answers a watch with " + status));
            }
        }

        @Override
        public void onBytes(byte[] bytes) {
            if (failure != null) {
                return;
            }
            int start = 0;
            for (int i = 0; i < bytes.length; i++) {
                if (bytes[i] == '\n') {
                    partial.write(bytes, start, i - start);
                    start = i + 1;
                    if (partial.size() > 0) {
                        queue.add(new Line.Text(partial.toByteArray()));
                        partial.reset();
                    }
                }
            }
            partial.write(bytes, start, bytes.length - start);
            if (partial.size() > MAX_BYTES) {
                fail(new HttpException(
                        HttpException.Kind.TOO_LARGE, "a change is larger than " + MAX_BYTES + " bytes"));
            }
        }

        @Override
        public void onEnd() {
            fail(new HttpException(HttpException.Kind.CLOSED, "it ended the watch"));
        }

        @Override
        public void onFailure(HttpException why) {
            fail(why);
        }

        private void fail(HttpException why) {
            if (failure == null) {
                failure = why;
                queue.add(new Line.Broken(why));
            }
        }
    }
}
