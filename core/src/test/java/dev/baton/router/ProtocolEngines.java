package dev.baton.router;

import com.sun.net.httpserver.HttpServer;
import dev.baton.discovery.ConnectorEndpoint;
import dev.baton.discovery.EngineInfo;
import dev.baton.discovery.EngineRole;
import dev.baton.http.Json;
import dev.baton.router.backend.BackendKind;
import dev.baton.wire.MsgPack;
import dev.baton.wire.Zmtp;
import dev.baton.wire.ZmtpSender;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/// A pair of stub engines that are as strict about one hand-over protocol as the real ones: where those would
/// crash, wait for ever or compute a prompt twice, these note a violation.
final class ProtocolEngines implements AutoCloseable {
    static final String PREFILLER_ZMQ = "127.0.0.1:21001";
    static final String DECODER_ZMQ = "127.0.0.1:22001";
    static final ConnectorEndpoint.NixlSideChannel SIDE_CHANNEL =
            new ConnectorEndpoint.NixlSideChannel("engine-1", "127.0.0.1", 5600, 1, 1);
    static final ConnectorEndpoint.LmCacheReceiver RECEIVER =
            new ConnectorEndpoint.LmCacheReceiver("127.0.0.1", List.of(7300, 7301), List.of(7400, 7401));
    private static final String MOONCAKE_ENGINE = "mooncake-engine";
    private static final int SGLANG_PORT = 8999;
    private static final Duration STORE_TIME = Duration.ofMillis(150);

    final StubEngine prefiller = StubEngine.prefiller();
    final StubEngine decoder = StubEngine.decoder();
    private final BackendKind kind;
    private final HttpServer bootstrap;
    /// What has arrived under a name of the protocol's: a room, a transfer, a request id.
    private final Map<String, CountDownLatch> meetings = new ConcurrentHashMap<>();
    private final Set<String> used = ConcurrentHashMap.newKeySet();
    /// Where the prefiller announces.
    volatile int announcementPort;

    ProtocolEngines(BackendKind kind) throws IOException {
        this.kind = kind;
        prefiller.script = this::prefill;
        decoder.script = this::decode;
        bootstrap = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        bootstrap.createContext("/query", exchange -> {
            byte[] answer = ("{\"0\":{\"engine_id\":\"" + MOONCAKE_ENGINE
                            + "\",\"worker_addr\":{\"0\":{\"0\":\"tcp://x:1\"}}}}")
                    .getBytes(StandardCharsets.UTF_8);
            exchange.sendResponseHeaders(200, answer.length);
            exchange.getResponseBody().write(answer);
            exchange.close();
        });
        bootstrap.start();
    }

    int bootstrapPort() {
        return bootstrap.getAddress().getPort();
    }

    EngineInfo prefillerInfo() {
        EngineInfo info = EngineInfo.of(prefiller.address(), EngineRole.PREFILLER);
        return switch (kind) {
            case P2P_NCCL, P2P_NCCL_PPD, VLLM -> info.withEndpoint(new ConnectorEndpoint.P2pNccl(PREFILLER_ZMQ));
            case NIXL_PUSH -> info.withEndpoint(SIDE_CHANNEL);
            case MOONCAKE -> info.withEndpoint(new ConnectorEndpoint.Bootstrap(bootstrapPort()));
            case SGLANG -> info.withEndpoint(new ConnectorEndpoint.Bootstrap(SGLANG_PORT));
            default -> info;
        };
    }

    EngineInfo decoderInfo() {
        EngineInfo info = EngineInfo.of(decoder.address(), EngineRole.DECODER);
        return switch (kind) {
            case P2P_NCCL, P2P_NCCL_PPD, VLLM -> info.withEndpoint(new ConnectorEndpoint.P2pNccl(DECODER_ZMQ));
            case LMCACHE_PD -> info.withEndpoint(RECEIVER);
            default -> info;
        };
    }

    private CountDownLatch meeting(String name) {
        return meetings.computeIfAbsent(name, unused -> new CountDownLatch(1));
    }

    /// A real engine would wait for minutes or for ever.
    private void await(StubEngine.Call call, String name) {
        try {
            call.require(meeting(name).await(20, TimeUnit.SECONDS), "nobody came to " + name);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    private static void requireOneToken(StubEngine.Call call, JsonNode body) {
        boolean chat = call.request.path().equals("/v1/chat/completions");
        call.require(body.path("max_tokens").asInt(0) == 1, "max_tokens is not 1");
        call.require(!chat || body.path("max_completion_tokens").asInt(0) == 1, "max_completion_tokens is not 1");
        call.require(!body.path("stream").asBoolean(true), "stream is not false");
        call.require(!body.has("stream_options") && !body.has("min_tokens"), "stream_options or min_tokens are left");
    }

    private void requireNew(StubEngine.Call call, String name) {
        call.require(!name.isEmpty() && used.add(name), "'" + name + "' is used twice, or empty");
    }

    private void prefill(StubEngine.Call call) throws IOException {
        JsonNode body = call.request.json();
        JsonNode params = body.path("kv_transfer_params");
        String id = call.request.requestId();
        ObjectNode answer = JsonNodeFactory.instance.objectNode();
        answer.put("id", "cmpl-" + id).put("created", 1).put("model", "stub");
        answer.putArray("choices").addObject().put("text", " x").put("finish_reason", "length");
        if (kind != BackendKind.SGLANG) {
            requireOneToken(call, body);
        }
        switch (kind) {
            case AUTO, BATON, NIXL -> {
                StubEngine.prefill(call);
                return;
            }
            case NIXL_PUSH, MOONCAKE -> {
                String transfer = params.path("transfer_id").asString("");
                requireNew(call, transfer);
                call.require(params.path("do_remote_decode").asBoolean(false), "do_remote_decode is not true");
                call.require(body.path("ignore_eos").asBoolean(false), "the prefill may end as 'stop'");
                boolean ranked = call.request
                        .headers()
                        .getOrDefault("x-data-parallel-rank", "")
                        .equals("0");
                call.require(kind == BackendKind.NIXL_PUSH || ranked, "no data-parallel rank");
                meeting(transfer).countDown();
            }
            case P2P_NCCL, P2P_NCCL_PPD, VLLM -> {
                call.require(
                        id.matches(
                                "___prefill_addr_127\\.0\\.0\\.1:21001___decode_addr_127\\.0\\.0\\.1:22001_[0-9a-f]{32}"),
                        "the id " + id);
                requireNew(call, id);
                call.require(
                        params.path("do_remote_decode").asBoolean(false) == (kind == BackendKind.VLLM),
                        "kv_transfer_params " + params);
                meeting(id).countDown();
            }
            case SHARED_STORE, LMCACHE -> {
                call.require(params.isMissingNode(), "kv_transfer_params " + params);
                meeting(id).countDown();
            }
            case LMCACHE_PD -> {
                JsonNode spec = params.path("disagg_spec");
                call.require(params.path("ret_first_tok").asBoolean(false), "no ret_first_tok");
                call.require(spec.path("receiver_host").asString("").equals(RECEIVER.host()), "receiver " + spec);
                call.require(spec.path("receiver_init_port").toString().equals("[7300,7301]"), "init ports " + spec);
                call.require(spec.path("receiver_alloc_port").toString().equals("[7400,7401]"), "alloc ports " + spec);
                requireNew(call, spec.path("req_id").asString(""));
                answer.putObject("kv_transfer_params").put("first_tok", 7);
                String prompt = body.path("prompt").toString() + body.path("messages");
                Thread.ofVirtual().start(() -> notifyProxy(spec.path("req_id").asString(""), prompt));
            }
            case LMCACHE_MP -> {
                requireNew(call, id);
                String prompt = body.path("prompt").toString() + body.path("messages");
                Thread.ofVirtual().start(() -> postTelemetry(id, prompt));
            }
            case SGLANG -> {
                String room = room(call, body);
                requireNew(call, room);
                meeting(room).countDown();
                await(call, "decoder of " + room);
            }
            case LLM_D -> call.require(false, "the sidecar calls the prefiller, not the router");
        }
        call.respond(200, "application/json", Json.text(answer));
    }

    private void decode(StubEngine.Call call) throws IOException {
        JsonNode body = call.request.json();
        JsonNode params = body.path("kv_transfer_params");
        String id = call.request.requestId();
        switch (kind) {
            case AUTO, BATON, NIXL ->
                call.require(params.path("do_remote_prefill").asBoolean(false), "no hand-off");
            case NIXL_PUSH -> {
                call.require(params.path("do_remote_prefill").asBoolean(false), "do_remote_prefill is not true");
                call.require(params.path("remote_engine_id").asString("").equals("engine-1"), "params " + params);
                call.require(params.path("remote_port").asInt(0) == 5600, "params " + params);
                call.require(params.path("remote_request_id").asString("").equals(id), "params " + params);
                await(call, params.path("transfer_id").asString(""));
            }
            case MOONCAKE -> {
                call.require(params.path("do_remote_prefill").asBoolean(false), "do_remote_prefill is not true");
                call.require(params.path("remote_engine_id").asString("").equals(MOONCAKE_ENGINE), "params " + params);
                call.require(
                        params.path("remote_bootstrap_addr").asString("").equals("http://127.0.0.1:" + bootstrapPort()),
                        "params " + params);
                await(call, params.path("transfer_id").asString(""));
            }
            case P2P_NCCL, P2P_NCCL_PPD, VLLM, SHARED_STORE, LMCACHE -> {
                if (!(kind == BackendKind.P2P_NCCL_PPD && id.matches("d_direct_[0-9a-f]{32}"))) {
                    call.require(meeting(id).getCount() == 0, "it came before its prefill");
                }
            }
            case LMCACHE_PD, LMCACHE_MP -> {
                call.require(params.isMissingNode(), "kv_transfer_params " + params);
                String prompt = body.path("prompt").toString() + body.path("messages");
                call.require(meeting(prompt).getCount() == 0, "it came before its announcement");
            }
            case SGLANG -> {
                String room = room(call, body);
                meeting("decoder of " + room).countDown();
                await(call, room);
            }
            case LLM_D ->
                call.require(
                        call.request
                                .headers()
                                .getOrDefault("x-prefiller-host-port", "")
                                .equals(prefiller.address().toString()),
                        "no prefiller is named");
        }
        answer(call, body);
    }

    private static void answer(StubEngine.Call call, JsonNode body) throws IOException {
        int tokens = body.path("max_tokens").asInt(16);
        if (!body.path("stream").asBoolean(false)) {
            call.respond(200, "application/json", Json.text(StubEngine.whole(body, tokens)));
            return;
        }
        call.startEvents();
        for (int i = 0; i < tokens; i++) {
            call.event(StubEngine.chunk(body, i));
        }
        call.event("[DONE]");
        call.endEvents();
    }

    /// Answers anything; a leg that was handed over only when its prefill has come, so that none is under way any
    /// more.
    void answerOnceThePrefillerIsAsked(StubEngine.Call call) throws IOException {
        boolean handedOver = call.request.json().has("kv_transfer_params");
        if (call.awaitUnlessGone(() -> !handedOver || !prefiller.received.isEmpty())) {
            call.respond(200, "application/json", "{}");
        }
    }

    private static String room(StubEngine.Call call, JsonNode body) {
        call.require(body.path("bootstrap_host").toString().contains("127.0.0.1"), "bootstrap_host");
        call.require(body.path("bootstrap_port").toString().contains("" + SGLANG_PORT), "bootstrap_port");
        return body.path("bootstrap_room").toString();
    }

    /// One for each of two ranks, some time after the answer.
    private void notifyProxy(String transfer, String prompt) {
        Fleet.pause(STORE_TIME);
        meeting(prompt).countDown();
        byte[] message = MsgPack.write(Map.of("type", "ProxyNotif", "req_id", transfer));
        for (int rank = 0; rank < 2; rank++) {
            try (ZmtpSender sender = new ZmtpSender(
                    Zmtp.SocketType.PUSH, new byte[0], "127.0.0.1", announcementPort, Duration.ofSeconds(20))) {
                sender.send(message);
            } catch (IOException e) {
                prefiller.violations.add("a notification was not taken: " + e);
            }
        }
    }

    private void postTelemetry(String id, String prompt) {
        Fleet.pause(STORE_TIME);
        meeting(prompt).countDown();
        ObjectNode event = JsonNodeFactory.instance.objectNode();
        event.put("event", "request_store_finished").put("model_name", "stub").put("world_size", 1);
        event.putArray("request_ids_set").add("cmpl-" + id + "-0-0123abcd");
        try (HttpClient client = HttpClient.newHttpClient()) {
            client.send(
                    HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + announcementPort + "/api/v1/telemetry"))
                            .POST(HttpRequest.BodyPublishers.ofString(Json.text(event)))
                            .build(),
                    HttpResponse.BodyHandlers.discarding());
        } catch (IOException e) {
            prefiller.violations.add("telemetry was not taken: " + e);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    List<String> violations() {
        return StubEngine.allViolations(List.of(prefiller, decoder));
    }

    /// Registers as vLLM's P2pNcclConnector does, until it is closed.
    static AutoCloseable register(int port, List<EngineInfo> engines) {
        Map<ZmtpSender, byte[]> pings = new LinkedHashMap<>();
        for (EngineInfo engine : engines) {
            String address = zmq(engine).orElseThrow();
            ZmtpSender sender = new ZmtpSender(
                    Zmtp.SocketType.DEALER,
                    address.getBytes(StandardCharsets.UTF_8),
                    "127.0.0.1",
                    port,
                    Duration.ofSeconds(2));
            pings.put(
                    sender,
                    MsgPack.write(Map.of(
                            "type",
                            engine.role() == EngineRole.DECODER ? "D" : "P",
                            "http_address",
                            engine.address().toString(),
                            "zmq_address",
                            address)));
        }
        CountDownLatch closing = new CountDownLatch(1);
        Thread pinger = Thread.ofVirtual().start(() -> {
            try {
                do {
                    for (Map.Entry<ZmtpSender, byte[]> ping : pings.entrySet()) {
                        try {
                            ping.getKey().send(ping.getValue());
                        } catch (IOException e) {
                            // nobody listens yet
                        }
                    }
                } while (!closing.await(3, TimeUnit.SECONDS));
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
            pings.keySet().forEach(ZmtpSender::close);
        });
        return () -> {
            closing.countDown();
            pinger.join();
        };
    }

    private static Optional<String> zmq(EngineInfo engine) {
        return engine.endpoint() instanceof ConnectorEndpoint.P2pNccl(String address)
                ? Optional.of(address)
                : Optional.empty();
    }

    @Override
    public void close() throws IOException {
        prefiller.close();
        decoder.close();
        bootstrap.stop(0);
    }
}
