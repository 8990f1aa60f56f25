package dev.baton.wire;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import dev.baton.transfer.tcp.KvThreads;
import java.io.BufferedReader;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;
import org.zeromq.SocketType;
import org.zeromq.ZContext;
import org.zeromq.ZMQ;

/// This room's ZeroMQ against two others: JeroMQ, and libzmq through the pyzmq of `VLLM_PYTHON` or of `python3`.
@ExtendWith(KvThreads.class)
@Timeout(120)
class ZmtpInteropTest {
    private static final Duration PATIENCE = Duration.ofSeconds(10);
    private static final ZmtpServer.Limits LIMITS = new ZmtpServer.Limits(64, 8 << 20, Duration.ofMinutes(1));

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    // JeroMQ.

    /// About one in a hundred connections that JeroMQ 0.6.0 opens never comes about, whoever listens: such a one is
    /// tried once more.
    @Test
    void jeroMqAsks() throws IOException {
        try (ZmtpServer server =
                        ZmtpServer.start("baton-kv-test", Zmtp.SocketType.ROUTER, "127.0.0.1", 0, LIMITS, Zmtp::send);
                ZContext context = new ZContext(1)) {
            context.setLinger(0);
            for (int size : new int[] {0, 1, 255, 256, 5 << 20}) {
                byte[] answer = null;
                for (int i = 0; i < 3 && answer == null; i++) {
                    try (ZMQ.Socket socket = context.createSocket(SocketType.REQ)) {
                        socket.setReceiveTimeOut(5_000);
                        socket.connect("tcp://127.0.0.1:" + server.port());
                        socket.send(new byte[size]);
                        answer = socket.recv();
                    }
                }
                assertThat(answer).hasSize(size);
            }
        }
    }

    @Test
    void jeroMqAnswersAndTakes() throws Exception {
        try (ZContext context = new ZContext(1);
                ZmtpRequests requests = new ZmtpRequests()) {
            context.setLinger(0);
            ZMQ.Socket router = context.createSocket(SocketType.ROUTER);
            router.setReceiveTimeOut(10_000);
            int port = router.bindToRandomPort("tcp://127.0.0.1");
            Thread echo = Thread.ofPlatform().start(() -> {
                for (int i = 0; i < 300; i++) {
                    byte[] identity = router.recv();
                    byte[] delimiter = router.recv();
                    byte[] question = router.recv();
                    router.sendMore(identity);
                    router.sendMore(delimiter);
                    router.send(question);
                }
            });
            for (int i = 0; i < 300; i++) {
                byte[] question = bytes("é".repeat(i));
                assertThat(requests.ask("127.0.0.1", port, question, 1 << 20, PATIENCE, PATIENCE)
                                .getFirst())
                        .isEqualTo(question);
            }
            assertThat(echo.join(PATIENCE)).isTrue();

            ZMQ.Socket pull = context.createSocket(SocketType.PULL);
            pull.setReceiveTimeOut(10_000);
            int pullPort = pull.bindToRandomPort("tcp://127.0.0.1");
            try (ZmtpSender sender =
                    new ZmtpSender(Zmtp.SocketType.PUSH, new byte[0], "127.0.0.1", pullPort, PATIENCE)) {
                sender.send(bytes("pushed"));
                assertThat(pull.recv()).isEqualTo(bytes("pushed"));
            }
        }
    }

    // libzmq.

    private static Optional<String> python() throws IOException, InterruptedException {
        String set = System.getenv("VLLM_PYTHON");
        String python = set == null ? "python3" : set;
        if (set != null && !Files.isExecutable(Path.of(set))) {
            return Optional.empty();
        }
        try {
            Process process = new ProcessBuilder(python, "-c", "import zmq").start();
            return process.waitFor(60, TimeUnit.SECONDS) && process.exitValue() == 0
                    ? Optional.of(python)
                    : Optional.empty();
        } catch (IOException e) {
            return Optional.empty();
        }
    }

    private static Process start(String script, int... ports) throws IOException, InterruptedException {
        Optional<String> python = python();
        Assumptions.assumeTrue(python.isPresent(), "neither VLLM_PYTHON nor python3 has pyzmq");
        String common = """
                import sys, time, zmq
                context = zmq.Context()
                ports = [int(port) for port in sys.argv[1:]]
                def say(*words): print(*words, flush=True)
                """;
        List<String> command = new ArrayList<>(List.of(python.get(), "-c", common + script));
        Arrays.stream(ports).mapToObj(Integer::toString).forEach(command::add);
        return new ProcessBuilder(command)
                .redirectError(ProcessBuilder.Redirect.INHERIT)
                .start();
    }

    @Test
    void libzmqAsksPushesAndRegisters() throws Exception {
        BlockingQueue<String> heard = new LinkedBlockingQueue<>();
        try (ZmtpServer server = ZmtpServer.start(
                        "baton-kv-test", Zmtp.SocketType.ROUTER, "127.0.0.1", 0, LIMITS, (from, message) -> {
                            heard.add(new String(from.peerIdentity(), StandardCharsets.UTF_8));
                            from.send(message);
                        });
                ZmtpServer pull = ZmtpServer.start(
                        "baton-kv-test",
                        Zmtp.SocketType.PULL,
                        "127.0.0.1",
                        0,
                        LIMITS,
                        (_, message) -> heard.add("pushed %d".formatted(message.getFirst().length)))) {
            Process process = start("""
                    for i in range(100):
                        with context.socket(zmq.REQ if i % 2 else zmq.DEALER) as socket:
                            socket.linger = 0
                            socket.rcvtimeo = 20000
                            socket.identity = b"me %d" % i
                            if i % 3 == 0:
                                socket.heartbeat_ivl, socket.heartbeat_timeout = 5, 10000
                            socket.connect(f"tcp://127.0.0.1:{ports[0]}")
                            for size in (i, 1 << 16, 3 << 20):
                                frames = [b"x" * size] if i % 2 else [b"", b"x" * size]
                                socket.send_multipart(frames)
                                if i % 10 == 0: time.sleep(0.03)
                                assert socket.recv_multipart() == frames
                    push = context.socket(zmq.PUSH)
                    push.connect(f"tcp://127.0.0.1:{ports[1]}")
                    push.send(b"y" * 1000)
                    say("fine")
                    push.close()
                    context.term()
                    """, server.port(), pull.port());
            try (BufferedReader answers = process.inputReader(StandardCharsets.UTF_8)) {
                assertThat(answers.readLine()).isEqualTo("fine");
                List<String> all = new ArrayList<>();
                await().atMost(PATIENCE).until(() -> {
                    heard.drainTo(all);
                    return all.size() == 301;
                });
                assertThat(all).contains("me 0", "me 99", "pushed 1000");
            } finally {
                process.destroyForcibly().waitFor(10, TimeUnit.SECONDS);
            }
        }
    }

    @Test
    void libzmqAnswersTakesAndPings() throws Exception {
        Process process = start("""
                router = context.socket(zmq.ROUTER)
                router.heartbeat_ivl, router.heartbeat_timeout = 5, 10000
                say(router.bind_to_random_port("tcp://127.0.0.1"))
                pull = context.socket(zmq.PULL)
                say(pull.bind_to_random_port("tcp://127.0.0.1"))
                for i in range(200):
                    frames = router.recv_multipart()
                    if i % 20 == 0: time.sleep(0.05)
                    router.send_multipart(frames)
                assert pull.recv() == b"pushed"
                say("fine")
                """);
        try (BufferedReader answers = process.inputReader(StandardCharsets.UTF_8);
                ZmtpRequests requests = new ZmtpRequests()) {
            int port = Integer.parseInt(answers.readLine());
            int pullPort = Integer.parseInt(answers.readLine());
            for (int i = 0; i < 200; i++) {
                byte[] question = new byte[i * 1_000];
                assertThat(requests.ask("127.0.0.1", port, question, 1 << 20, PATIENCE, PATIENCE)
                                .getFirst())
                        .hasSize(question.length);
            }
            try (ZmtpSender sender =
                    new ZmtpSender(Zmtp.SocketType.PUSH, new byte[0], "127.0.0.1", pullPort, PATIENCE)) {
                sender.send(bytes("pushed"));
                assertThat(answers.readLine()).isEqualTo("fine");
            }
        } finally {
            process.destroyForcibly().waitFor(10, TimeUnit.SECONDS);
        }
    }
}
