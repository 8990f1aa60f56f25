package dev.baton.transfer.mooncake;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.transfer.KvEvent.LeaseReleased;
import dev.baton.transfer.KvHold;
import dev.baton.transfer.mooncake.XferMetadata.Want;
import dev.baton.transfer.tcp.KvThreads;
import dev.baton.wire.Wire;
import dev.baton.wire.Zmtp;
import java.io.BufferedReader;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;

/// The side channel against ZeroMQ itself (libzmq, through pyzmq) and vLLM's codec (msgspec).
///
/// Its Python is `VLLM_PYTHON`, or that of the environment that `shared/peers/vllm.sh install` makes.
@ExtendWith(KvThreads.class)
class RealZeroMqTest {
    private static final Duration PATIENCE = Duration.ofSeconds(20);

    private static final String COMMON = """
            import msgspec, sys, time, zmq
            class Meta(msgspec.Struct, omit_defaults=True):
                remote_hostname: str
                remote_port: int
                remote_tp_size: int
                remote_tp_rank: int
                req_blocks: dict[str, tuple[str, list[list[int]]]]
                kv_caches_base_addr: list[int]
                block_lens: list[int]
                kv_block_lens: list[int]
                registered_layer_names: list[str] = []
                registered_layer_indices: list[int] = []
                registered_group_indices: list[int] = []
                registered_shared_group_ids: list[list[int]] = []
                registered_row_offsets: list[int] = []
                remote_pp_size: int = 1
            class Response(msgspec.Struct, omit_defaults=True):
                status: int
                ok_reqs: list[str] | None = None
                err_reqs: list[str] | None = None
                err_msg: str | None = None
            def say(*words): print("=", *words, flush=True)
            """;

    private static Process start(String script, String... arguments) throws IOException {
        String set = System.getenv("VLLM_PYTHON");
        Assumptions.assumeTrue(set != null, "VLLM_PYTHON does not name the Python of an environment with vLLM");
        Path python = Path.of(set);
        Assumptions.assumeTrue(Files.isExecutable(python), "vLLM is not installed: there is no " + python);
        List<String> command = new ArrayList<>(List.of(python.toString(), "-c", COMMON + script));
        command.addAll(List.of(arguments));
        return new ProcessBuilder(command)
                .redirectError(ProcessBuilder.Redirect.INHERIT)
                .start();
    }

    private static String answer(BufferedReader answers) throws IOException {
        String line = answers.readLine();
        assertThat(line).startsWith("= ");
        return line.substring(2);
    }

    @Test
    void dealersOfZeroMqGetTheirAnswers() throws Exception {
        try (MooncakeInstance prefiller =
                MooncakeInstance.prefiller(16, 8, Map.of("vllm_kv_layout", "cpu", "kv_connect_timeout", 1))) {
            String worker = new Bootstraps(PATIENCE, PATIENCE)
                    .find(Bootstraps.Address.of(prefiller.bootstrap()), prefiller.engineId)
                    .address();
            Process python = start("""
                    context = zmq.Context()
                    for round in range(100):
                        with context.socket(zmq.DEALER) as dealer:
                            dealer.linger = 0
                            dealer.rcvtimeo = 20000
                            dealer.heartbeat_ivl, dealer.heartbeat_timeout = 1 + round, 10000
                            dealer.connect(sys.argv[1])
                            if round % 3 == 0: time.sleep(0.02)
                            meta = Meta("127.0.0.1", 1, 1, 0, {f"d{round}": (f"x{round}", [])}, [], [], [])
                            dealer.send(msgspec.msgpack.encode(meta))
                            if round % 2: time.sleep(0.01)
                            response = msgspec.msgpack.decode(dealer.recv(), type=Response)
                            assert response == Response(0, [f"d{round}"]), response
                    say("fine")
                    """, worker);
            try {
                for (int round = 0; round < 100; round++) {
                    KvHold hold = prefiller.finish(
                            MooncakeInstance.prefill("p" + round, "x" + round, 16), new int[] {1}, true);
                    if (hold instanceof KvHold.UnderLease) { // else it has been let go before
                        assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("p" + round));
                    }
                }
                assertThat(answer(python.inputReader(StandardCharsets.UTF_8))).isEqualTo("fine");
            } finally {
                python.destroyForcibly().waitFor(10, TimeUnit.SECONDS);
            }
        }
    }

    @Test
    void routersOfZeroMqUnderstandQuestionsAndPings() throws Exception {
        Process python = start("""
                context = zmq.Context()
                router = context.socket(zmq.ROUTER)
                say(router.bind_to_random_port("tcp://127.0.0.1"))
                for round in range(50):
                    identity, message = router.recv_multipart()
                    meta = msgspec.msgpack.decode(message, type=Meta)
                    assert meta.remote_hostname == "h" and meta.registered_layer_indices == [0], meta
                    for id, (transfer, blocks) in meta.req_blocks.items():
                        assert transfer == "x" and blocks == [[1, 2**40, round]], blocks
                        if round % 10 == 0: time.sleep(0.2)  # longer than pings are apart
                        router.send_multipart((identity, msgspec.msgpack.encode(
                            Response(round % 3, ok_reqs=[id], err_msg="m" * 300 * round))))
                say("fine")
                """);
        try (BufferedReader answers = python.inputReader(StandardCharsets.UTF_8)) {
            int port = Integer.parseInt(answer(answers));
            for (int round = 0; round < 50; round++) {
                try (Wire wire = Wire.unconnected()) {
                    wire.connect("127.0.0.1", port, PATIENCE);
                    Zmtp channel = new Zmtp(wire, Zmtp.SocketType.DEALER, XferResponse.MAX_BYTES);
                    channel.greet(PATIENCE);
                    XferMetadata question = new XferMetadata(
                            "h",
                            4711,
                            Map.of("d", new Want("x", new long[] {1, 1L << 40, round})),
                            List.of(new XferMetadata.Region(1L << 61, 4096, 4096, "layer", 0)),
                            1,
                            1,
                            Optional.empty());
                    channel.send(question.bytes());
                    XferResponse response =
                            XferResponse.read(Zmtp.single(channel.receive(PATIENCE, Duration.ofMillis(20))));
                    assertThat(response.status().ordinal()).isEqualTo(round % 3);
                    assertThat(response.ok()).containsExactly("d");
                }
            }
            assertThat(answer(answers)).isEqualTo("fine");
        } finally {
            python.destroyForcibly().waitFor(10, TimeUnit.SECONDS);
        }
    }
}
