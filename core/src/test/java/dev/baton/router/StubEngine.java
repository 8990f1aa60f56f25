package dev.baton.router;

import dev.baton.discovery.EngineAddress;
import dev.baton.http.Json;
import java.io.BufferedInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.SocketException;
import java.net.SocketTimeoutException;
import java.net.StandardSocketOptions;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Queue;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.BooleanSupplier;
import java.util.function.Supplier;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/// A scripted engine on a real socket, as strict as vLLM about what a prefill and a decode leg may say. Plain
/// sockets instead of an HTTP library, so that it can die at any byte and sees at once when its client leaves.
final class StubEngine implements AutoCloseable {
    static final Set<String> PREFILL_PARAMS = Set.of(
            "do_remote_decode",
            "do_remote_prefill",
            "remote_engine_id",
            "remote_block_ids",
            "remote_host",
            "remote_port");

    private static final List<Path> KERNEL_TABLES = List.of(Path.of("/proc/net/tcp"), Path.of("/proc/net/tcp6"));
    private static final Duration READ_WITHIN = Duration.ofSeconds(20);

    /// What an engine does with a generation request.
    interface Script {
        void answer(Call call) throws IOException;
    }

    /// One request as it came.
    record Received(String method, String path, Map<String, String> headers, String text) {
        JsonNode json() {
            return Json.parse(text.getBytes(StandardCharsets.UTF_8));
        }

        String requestId() {
            return headers.getOrDefault("x-request-id", "");
        }
    }

    final Queue<Received> received = new ConcurrentLinkedQueue<>();
    final Queue<Received> aborts = new ConcurrentLinkedQueue<>();
    final Queue<String> violations = new ConcurrentLinkedQueue<>();
    final AtomicInteger disconnects = new AtomicInteger();
    final AtomicLong disconnectedNanos = new AtomicLong();
    final AtomicInteger probes = new AtomicInteger();
    volatile Script script;
    volatile int healthStatus = 200;
    volatile boolean healthStalls;
    /// What its answers to probes say of its connector; nothing while it is empty.
    volatile String peer = "";
    final Queue<Received> introductions = new ConcurrentLinkedQueue<>();
    /// What `/metrics` answers; 404 while it is empty.
    volatile Supplier<String> metrics = () -> "";

    private final boolean prefiller;
    private final Set<Socket> connections = ConcurrentHashMap.newKeySet();
    private volatile ServerSocket server;
    private final int port;

    private StubEngine(boolean prefiller) throws IOException {
        this.prefiller = prefiller;
        this.server = listen(0);
        this.port = server.getLocalPort();
        this.script = prefiller ? StubEngine::prefill : StubEngine::decode;
        serve(server);
    }

    static StubEngine prefiller() throws IOException {
        return new StubEngine(true);
    }

    static StubEngine decoder() throws IOException {
        return new StubEngine(false);
    }

    EngineAddress address() {
        return new EngineAddress("127.0.0.1", port);
    }

    /// The process dies: nobody listens, all connections are reset.
    void kill() throws IOException {
        server.close();
        for (Socket connection : connections) {
            try {
                connection.setOption(StandardSocketOptions.SO_LINGER, 0);
                connection.close();
            } catch (SocketException e) { // closed by its own thread in this moment
                connections.remove(connection);
            }
        }
    }

    /// The process is back on the same port.
    void restart() throws IOException {
        server = listen(port);
        serve(server);
    }

    @Override
    public void close() throws IOException {
        kill();
    }

    private static ServerSocket listen(int port) throws IOException {
        ServerSocket socket = new ServerSocket();
        socket.setReuseAddress(true);
        socket.bind(new InetSocketAddress(InetAddress.getLoopbackAddress(), port), 512);
        return socket;
    }

    private void serve(ServerSocket listening) {
        Thread.ofVirtual().start(() -> {
            while (!listening.isClosed()) {
                try {
                    Socket socket = listening.accept();
                    socket.setTcpNoDelay(true);
                    connections.add(socket);
                    if (listening.isClosed()) { // killed between the two lines above
                        socket.close();
                    }
                    Thread.ofVirtual().start(() -> converse(socket));
                } catch (IOException e) {
                    return; // killed
                }
            }
        });
    }

    private void converse(Socket socket) {
        try (socket) {
            InputStream in = new BufferedInputStream(socket.getInputStream());
            while (true) {
                Received request = read(in);
                if (request == null) {
                    return;
                }
                handle(new Call(this, socket, in, request));
            }
        } catch (IOException | RuntimeException e) {
            if (e instanceof RuntimeException) {
                violations.add("the stub failed: " + e);
            }
        } finally {
            connections.remove(socket);
        }
    }

    private void handle(Call call) throws IOException {
        Received request = call.request;
        switch (request.path()) {
            case "/health" -> {
                probes.incrementAndGet();
                if (healthStalls) {
                    call.stall();
                } else {
                    call.respond(healthStatus, "text/plain" + (peer.isEmpty() ? "" : "\r\nx-kv-peer: " + peer), "");
                }
            }
            case "/metrics" -> {
                String text = metrics.get();
                call.respond(text.isEmpty() ? 404 : 200, "text/plain; version=0.0.4", text);
            }
            case "/kv_peers" -> {
                introductions.add(request);
                call.respond(200, "application/json", "");
            }
            case "/abort_requests" -> {
                aborts.add(request);
                call.respond(200, "application/json", "{}");
            }
            case "/v1/models" ->
                call.respond(200, "application/json", "{\"object\":\"list\",\"data\":[{\"id\":\"stub\"}]}");
            case "/tokenize" -> {
                received.add(request);
                call.respond(200, "application/json", "{\"count\":2,\"max_model_len\":99,\"tokens\":[7,8]}");
            }
            default -> {
                received.add(request);
                script.answer(call);
            }
        }
    }

    /// What vLLM with a NIXL connector answers to a prefill leg.
    static void prefill(Call call) throws IOException {
        JsonNode body = call.request.json();
        if (!call.valid(body)) {
            return;
        }
        call.require(body.path("max_tokens").asInt(0) == 1, "max_tokens is not 1");
        call.require(!body.has("min_tokens") && !body.has("min_completion_tokens"), "a minimum is left");
        call.require(body.path("stream").isBoolean() && !body.path("stream").asBoolean(), "stream is not false");
        boolean chat = call.request.path().equals("/v1/chat/completions");
        call.require(!chat || body.path("max_completion_tokens").asInt(0) == 1, "max_completion_tokens is not 1");
        ObjectNode params = (ObjectNode) body.path("kv_transfer_params");
        call.require(Set.copyOf(params.propertyNames()).equals(PREFILL_PARAMS), "params " + params);
        call.require(params.path("do_remote_decode").asBoolean(false), "do_remote_decode is not true");
        ObjectNode answer = JsonNodeFactory.instance.objectNode();
        answer.put("id", "cmpl-" + call.request.requestId());
        answer.putArray("choices").addObject().put("text", " x").put("finish_reason", "length");
        ObjectNode handoff = answer.putObject("kv_transfer_params");
        handoff.put("do_remote_prefill", true);
        handoff.put("do_remote_decode", false);
        handoff.put("remote_request_id", call.request.requestId());
        handoff.put("remote_port", call.engine.port);
        handoff.putArray("remote_block_ids").addArray().add(1).add(2);
        handoff.putObject("opaque").put("π", 0.1).putNull("nothing").put("big", 9_007_199_254_740_993L);
        call.respond(200, "application/json", Json.text(answer));
    }

    /// What vLLM answers to a decode leg: the prompt as the text of `max_tokens` chunks.
    static void decode(Call call) throws IOException {
        JsonNode body = call.request.json();
        if (!call.valid(body)) {
            return;
        }
        JsonNode params = body.path("kv_transfer_params");
        if (!params.isMissingNode()) {
            call.require(params.path("do_remote_prefill").asBoolean(false), "do_remote_prefill is not true");
            call.require(
                    params.path("remote_request_id").asString("").equals(call.request.requestId()),
                    "the legs have different ids");
            call.require(
                    params.path("opaque").toString().equals("{\"π\":0.1,\"nothing\":null,\"big\":9007199254740993}"),
                    "the hand-off was changed: " + params);
        }
        int tokens = body.path("max_tokens").asInt(16);
        if (!body.path("stream").asBoolean(false)) {
            call.respond(200, "application/json", Json.text(whole(body, tokens)));
            return;
        }
        call.startEvents();
        for (int i = 0; i < tokens; i++) {
            call.event(chunk(body, i));
        }
        call.event("[DONE]");
        call.endEvents();
    }

    static ObjectNode whole(JsonNode body, int tokens) {
        ObjectNode answer = JsonNodeFactory.instance.objectNode();
        answer.put("object", "text_completion");
        answer.putArray("choices").addObject().put("index", 0).put("text", body.path("prompt") + "*" + tokens);
        return answer;
    }

    static String chunk(JsonNode body, int index) {
        return "{\"choices\":[{\"index\":0,\"text\":" + body.path("prompt") + ",\"n\":" + index + "}]}";
    }

    /// All bytes of the stream that [#decode] writes.
    static String stream(JsonNode body) {
        StringBuilder stream = new StringBuilder();
        for (int i = 0; i < body.path("max_tokens").asInt(16); i++) {
            stream.append("data: ").append(chunk(body, i)).append("\n\n");
        }
        return stream.append("data: [DONE]\n\n").toString();
    }

    private static Received read(InputStream in) throws IOException {
        String start = line(in);
        if (start == null) {
            return null;
        }
        Map<String, String> headers = new TreeMap<>();
        for (String line = line(in); line != null && !line.isEmpty(); line = line(in)) {
            int colon = line.indexOf(':');
            headers.put(
                    line.substring(0, colon).toLowerCase(Locale.ROOT),
                    line.substring(colon + 1).strip());
        }
        byte[] body = in.readNBytes(Integer.parseInt(headers.getOrDefault("content-length", "0")));
        String[] words = start.split(" ");
        return new Received(words[0], words[1], headers, new String(body, StandardCharsets.UTF_8));
    }

    private static String line(InputStream in) throws IOException {
        ByteArrayOutputStream line = new ByteArrayOutputStream();
        for (int b = in.read(); b != '\n'; b = in.read()) {
            if (b < 0) {
                return null;
            }
            line.write(b);
        }
        return line.toString(StandardCharsets.ISO_8859_1).strip();
    }

    /// One request under way.
    static final class Call {
        final StubEngine engine;
        final Received request;
        private final Socket socket;
        private final InputStream in;
        private final OutputStream out;

        private Call(StubEngine engine, Socket socket, InputStream in, Received request) throws IOException {
            this.engine = engine;
            this.socket = socket;
            this.in = in;
            this.out = socket.getOutputStream();
            this.request = request;
        }

        void require(boolean holds, String violation) {
            if (!holds) {
                engine.violations.add(
                        (engine.prefiller ? "prefiller: " : "decoder: ") + violation + " in " + request.text());
            }
        }

        /// vLLM's own checks; answers 400 where they fail.
        boolean valid(JsonNode body) throws IOException {
            require(request.headers().get("content-type").equals("application/json"), "content type");
            require(!request.requestId().isEmpty(), "no X-Request-Id");
            require(!request.headers().containsKey("x-data-parallel-rank"), "an internal header came through");
            String wrong = "";
            if (body.has("stream_options") && !body.path("stream").asBoolean(false)) {
                wrong = "Stream options can only be defined when `stream=True`.";
            } else if (body.path("max_tokens").asInt(16) < 1) {
                wrong = "max_tokens must be at least 1, got " + body.path("max_tokens") + ".";
            } else if (body.path("min_tokens").asInt(0)
                    > body.path("max_tokens").asInt(16)) {
                wrong = "min_tokens must be less than or equal to max_tokens.";
            } else if (body.path("prompt").asString("").equals("too long")) {
                wrong = "This model's maximum context length is 99 tokens.";
            }
            if (wrong.isEmpty()) {
                return true;
            }
            respond(
                    400,
                    "application/json",
                    "{\"error\":{\"message\":\"" + wrong
                            + "\",\"type\":\"BadRequestError\",\"param\":null,\"code\":400}}");
            return false;
        }

        void respond(int status, String type, String body) throws IOException {
            byte[] bytes = body.getBytes(StandardCharsets.UTF_8);
            write("HTTP/1.1 " + status + " X\r\nserver: stub\r\ncontent-type: " + type + "\r\ncontent-length: "
                    + bytes.length + "\r\n\r\n" + body);
        }

        void startEvents() throws IOException {
            startEvents("content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n");
        }

        /// @param headers lines, each with its end
        void startEvents(String headers) throws IOException {
            write("HTTP/1.1 200 OK\r\nserver: stub\r\n" + headers + "transfer-encoding: chunked\r\n\r\n");
        }

        void event(String payload) throws IOException {
            raw("data: " + payload + "\n\n");
        }

        /// One HTTP chunk.
        void raw(String text) throws IOException {
            byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
            write(Integer.toHexString(bytes.length) + "\r\n" + text + "\r\n");
        }

        void endEvents() throws IOException {
            write("0\r\n\r\n");
        }

        private void write(String text) throws IOException {
            try {
                out.write(text.getBytes(StandardCharsets.UTF_8));
                out.flush();
            } catch (IOException e) {
                disconnected();
                throw e;
            }
        }

        /// The process dies in the midst of this.
        void die() throws IOException {
            socket.setOption(StandardSocketOptions.SO_LINGER, 0);
            socket.close();
        }

        /// Waits until the other side has read all that was written: a reset takes the rest of it along.
        void awaitRead() throws IOException {
            long end = System.nanoTime() + READ_WITHIN.toNanos();
            while (!isRead()) {
                if (System.nanoTime() - end > 0) {
                    throw new IOException("nobody reads what was written");
                }
                Fleet.pause(Duration.ofMillis(2));
            }
        }

        /// Whether the kernel holds nothing of this connection any more, in either direction.
        private boolean isRead() throws IOException {
            boolean known = false;
            String ends = "(?=.*:%04X )(?=.*:%04X ).*".formatted(socket.getLocalPort(), socket.getPort());
            for (Path table : KERNEL_TABLES) {
                if (!Files.exists(table)) {
                    continue;
                }
                for (String line : Files.readAllLines(table)) {
                    if (line.matches(ends)) {
                        known = true;
                        if (!line.contains(" 00000000:00000000 ")) {
                            return false;
                        }
                    }
                }
            }
            if (!known) { // a kernel that does not say
                Fleet.pause(Duration.ofMillis(300));
            }
            return true;
        }

        /// Says nothing more until the client leaves.
        void stall() throws IOException {
            try {
                if (in.read() < 0) {
                    disconnected();
                }
            } catch (SocketException e) {
                disconnected();
            }
            socket.close();
        }

        /// Waits for something, unless the client leaves before.
        ///
        /// @return whether it has come about
        boolean awaitUnlessGone(BooleanSupplier condition) throws IOException {
            socket.setSoTimeout(5);
            try {
                while (!condition.getAsBoolean()) {
                    try {
                        if (in.read() < 0) {
                            disconnected();
                            return false;
                        }
                    } catch (SocketTimeoutException e) {
                        continue; // still there
                    } catch (SocketException e) {
                        disconnected();
                        return false;
                    }
                }
                return true;
            } finally {
                if (!socket.isClosed()) {
                    socket.setSoTimeout(0);
                }
            }
        }

        private void disconnected() {
            engine.disconnectedNanos.compareAndSet(0, System.nanoTime());
            engine.disconnects.incrementAndGet();
        }
    }

    static List<String> allViolations(List<StubEngine> engines) {
        return engines.stream().flatMap(engine -> engine.violations.stream()).toList();
    }
}
