package dev.baton.transfer.mooncake;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.awaitility.Awaitility.await;

import dev.baton.transfer.ConnectorInstance;
import dev.baton.transfer.KvEvent.KvArrived;
import dev.baton.transfer.KvEvent.LeaseExpired;
import dev.baton.transfer.KvEvent.LeaseReleased;
import dev.baton.transfer.KvHold;
import dev.baton.transfer.KvRequest;
import dev.baton.transfer.KvRole;
import dev.baton.transfer.TransferException;
import dev.baton.transfer.tcp.KvThreads;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/// Hand-offs between two instances over loopback, in either order, and what ends them early.
@ExtendWith(KvThreads.class)
class MooncakeConnectorTest {
    @ParameterizedTest
    @ValueSource(ints = {1, 8, 16, 32})
    void missingBlocksArriveAsTheyWereAndNoOtherBlockChangesInEitherOrder(int blockTokens) {
        Random random = new Random(blockTokens);
        try (MooncakeInstance prefiller =
                        MooncakeInstance.prefiller(blockTokens, 40, Map.of()).fill(1);
                MooncakeInstance decoder =
                        MooncakeInstance.decoder(blockTokens, 50, Map.of()).fill(2)) {
            for (int round = 0; round < 40; round++) {
                int tokens =
                        round % 4 == 0 ? (1 + random.nextInt(39)) * blockTokens : 1 + random.nextInt(40 * blockTokens);
                int blocks = Math.ceilDiv(tokens, blockTokens);
                int cached = random.nextInt(blocks); // whole blocks, less than all
                int[] remote = ConnectorInstance.someBlocks(random, 40, blocks);
                int[] local = ConnectorInstance.someBlocks(random, 50, blocks);
                List<byte[]> before =
                        IntStream.range(0, 50).mapToObj(decoder::block).toList();
                KvRequest request = decoder.decodeFrom(prefiller, "d" + round, "x" + round, tokens);
                boolean decoderFirst = random.nextBoolean();
                if (decoderFirst) {
                    decoder.load(request, local, cached * blockTokens);
                    if (round < 10) {
                        awaitQuestion(prefiller);
                    }
                }
                prefiller.hold("p" + round, "x" + round, remote, tokens);
                if (!decoderFirst) {
                    decoder.load(request, local, cached * blockTokens);
                }
                assertThat(decoder.nextEvent())
                        .isEqualTo(new KvArrived(
                                "d" + round,
                                tokens - cached * blockTokens,
                                (blocks - cached) * decoder.pool.blockBytes()));
                assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("p" + round));

                Set<Integer> loaded = new HashSet<>();
                for (int i = cached; i < blocks; i++) {
                    loaded.add(local[i]);
                    assertThat(decoder.block(local[i])).isEqualTo(prefiller.block(remote[i]));
                }
                for (int b = 0; b < 50; b++) {
                    if (!loaded.contains(b)) {
                        assertThat(decoder.block(b)).isEqualTo(before.get(b));
                    }
                }
                decoder.done(request, local);
            }
            assertThat(decoder.connector.stats().numTransfers()).isEqualTo(40);
            assertThat(decoder.connector.stats().bytesTransferred())
                    .isEqualTo(prefiller.connector.stats().bytesSent())
                    .isPositive();
        }
    }

    /// Waits until a decoder's question waits at the prefiller, which only its connector's inside can tell.
    private static void awaitQuestion(MooncakeInstance prefiller) {
        await("a question").atMost(Duration.ofSeconds(10)).until(() -> prefiller.connector.numQuestions() > 0);
    }

    @Test
    void blocksOfTheOutputAreNotTakenForThoseOfThePrompt() {
        try (MooncakeInstance prefiller =
                        MooncakeInstance.prefiller(16, 8, Map.of()).fill(1);
                MooncakeInstance decoder = MooncakeInstance.decoder(16, 8, Map.of())) {
            KvRequest prefill = MooncakeInstance.prefill("p", "x", 32);
            KvHold hold = prefiller
                    .scheduler()
                    .requestFinished(new dev.baton.transfer.KvFinished(
                            prefill, MooncakeInstance.prompt(40), 40, new int[] {1, 2, 3}, 39, true));
            assertThat(hold).isInstanceOf(KvHold.UnderLease.class);
            decoder.load(decoder.decodeFrom(prefiller, "d", "x", 32), new int[] {4, 5}, 0);
            assertThat(decoder.nextEvent()).isInstanceOf(KvArrived.class);
            assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("p"));
            assertThat(decoder.block(4)).isEqualTo(prefiller.block(1));
            assertThat(decoder.block(5)).isEqualTo(prefiller.block(2));
        }
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "transfer_id",
                "remote_engine_id",
                "remote_bootstrap_addr",
                "number",
                "ftp://127.0.0.1:1",
                "http://127.0.0.1",
                "http://127.0.0.1:99999",
                "http://a b:1",
                "this instance"
            })
    void requestWhoseFieldsMakeNoSenseIsNotWaitedFor(String wrong) {
        try (MooncakeInstance decoder = MooncakeInstance.decoder(16, 8, Map.of())) {
            KvRequest good = MooncakeInstance.decode("d", "x", 32, "p", "http://127.0.0.1:1");
            assertThat(decoder.scheduler().numNewMatchedTokens(good, 0)).isEqualTo(32);
            Map<String, Object> params = new HashMap<>(good.params().fields());
            switch (wrong) {
                case "number" -> params.put("transfer_id", 5);
                case "this instance" -> params.put("remote_engine_id", decoder.engineId);
                case "transfer_id", "remote_engine_id", "remote_bootstrap_addr" -> params.remove(wrong);
                default -> params.put("remote_bootstrap_addr", wrong);
            }
            KvRequest request = MooncakeInstance.request("e", 32, params);
            assertThat(decoder.scheduler().numNewMatchedTokens(request, 0)).isZero();
            decoder.scheduler().updateStateAfterAlloc(request, new int[] {1, 2}, 0, 0);
            assertThat(decoder.scheduler().takeLoads()).isEmpty();
            decoder.worker().release(request.params());
            decoder.done(request, new int[] {1, 2});
        }
    }

    @Test
    void transferIdThatIsHeldAlreadyIsNotHeldAgain() {
        try (MooncakeInstance prefiller =
                        MooncakeInstance.prefiller(16, 8, Map.of()).fill(1);
                MooncakeInstance decoder = MooncakeInstance.decoder(16, 8, Map.of())) {
            prefiller.hold("p1", "x", new int[] {1}, 16);
            assertThat(prefiller.finish(MooncakeInstance.prefill("p2", "x", 16), new int[] {2}, true))
                    .isInstanceOf(KvHold.FreeNow.class);
            decoder.load(decoder.decodeFrom(prefiller, "d", "x", 16), new int[] {0}, 0);
            assertThat(decoder.nextEvent()).isInstanceOf(KvArrived.class);
            assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("p1"));
            assertThat(decoder.block(0)).isEqualTo(prefiller.block(1));
        }
    }

    @Test
    void blocksOfAnotherPromptAreRefusedAndReleased() {
        try (MooncakeInstance prefiller = MooncakeInstance.prefiller(16, 8, Map.of());
                MooncakeInstance decoder = MooncakeInstance.decoder(16, 8, Map.of())) {
            prefiller.hold("p", "x", new int[] {1, 2}, 31);
            decoder.load(decoder.decodeFrom(prefiller, "d", "x", 32), new int[] {0, 1}, 0);
            assertThat(decoder.nextFailure("d")).contains("the prompt differs");
            assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("p"));
        }
    }

    @Test
    void firstFieldThatDiffersIsNamed() {
        try (MooncakeInstance prefiller = MooncakeInstance.prefiller(16, 8, Map.of());
                MooncakeInstance decoder = new MooncakeInstance(
                        KvRole.KV_CONSUMER, "d", 16, 8, Map.of(), Map.of("tokenizer", "t2", "rope", "r"))) {
            prefiller.hold("p", "x", new int[] {1}, 16);
            decoder.load(decoder.decodeFrom(prefiller, "d", "x", 16), new int[] {0}, 0);
            assertThat(decoder.nextFailure("d")).contains("rope differs: nothing on the prefiller, r on the decoder");
            prefiller.worker().dropLease("p");
            assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("p"));
        }
    }

    @Test
    void blockSizesThatDifferAreRefused() {
        try (MooncakeInstance prefiller = MooncakeInstance.prefiller(16, 8, Map.of());
                MooncakeInstance decoder = MooncakeInstance.decoder(32, 8, Map.of())) {
            prefiller.hold("p", "x", new int[] {1, 2}, 32);
            decoder.load(decoder.decodeFrom(prefiller, "d", "x", 32), new int[] {0}, 0);
            assertThat(decoder.nextFailure("d")).contains("block_size differs: 16 on the prefiller, 32 on the decoder");
            prefiller.worker().dropLease("p");
            assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("p"));
        }
    }

    @ParameterizedTest
    @ValueSource(booleans = {true, false})
    void prefillThatDoesNotCompleteFailsTheLoadAtOnce(boolean decoderFirst) {
        try (MooncakeInstance prefiller = MooncakeInstance.prefiller(16, 8, Map.of());
                MooncakeInstance decoder = MooncakeInstance.decoder(16, 8, Map.of())) {
            KvRequest request = decoder.decodeFrom(prefiller, "d", "x", 16);
            if (decoderFirst) {
                decoder.load(request, new int[] {0}, 0);
                awaitQuestion(prefiller);
            }
            assertThat(prefiller.finish(MooncakeInstance.prefill("p", "x", 16), new int[] {1}, false))
                    .isInstanceOf(KvHold.FreeNow.class);
            if (!decoderFirst) {
                decoder.load(request, new int[] {0}, 0);
            }
            assertThat(decoder.nextFailure("d")).contains("did not complete");
        }
    }

    @Test
    void prefillThatWasRefusedFailsTheLoadAtOnce() {
        try (MooncakeInstance prefiller = MooncakeInstance.prefiller(16, 8, Map.of());
                MooncakeInstance decoder = MooncakeInstance.decoder(16, 8, Map.of())) {
            decoder.load(decoder.decodeFrom(prefiller, "d", "x", 16), new int[] {0}, 0);
            awaitQuestion(prefiller);
            prefiller.worker().release(MooncakeInstance.prefill("p", "x", 16).params());
            assertThat(decoder.nextFailure("d")).contains("refused the request");
        }
    }

    @Test
    void loadThatIsCancelledWhileThePrefillRunsFreesBothSides() {
        try (MooncakeInstance prefiller = MooncakeInstance.prefiller(16, 8, Map.of());
                MooncakeInstance decoder = MooncakeInstance.decoder(16, 8, Map.of())) {
            decoder.load(decoder.decodeFrom(prefiller, "d", "x", 16), new int[] {0}, 0);
            awaitQuestion(prefiller);
            decoder.worker().cancelLoad("d");
            assertThat(decoder.nextFailure("d")).isEqualTo("cancelled");
            await().atMost(Duration.ofSeconds(10))
                    .until(() -> prefiller.connector.numQuestions() == 2); // the release too
            assertThat(prefiller.finish(MooncakeInstance.prefill("p", "x", 16), new int[] {1}, true))
                    .isInstanceOf(KvHold.FreeNow.class);
            assertThat(prefiller.connector.numQuestions()).isZero();
        }
    }

    @Test
    void leaseExpiresAndALateDecoderHearsItAtOnce() {
        try (MooncakeInstance prefiller = MooncakeInstance.prefiller(16, 8, Map.of("abort_request_timeout", 0.2));
                MooncakeInstance decoder = MooncakeInstance.decoder(16, 8, Map.of())) {
            prefiller.hold("p", "x", new int[] {1}, 16);
            assertThat(prefiller.nextEvent()).isEqualTo(new LeaseExpired("p"));
            decoder.load(decoder.decodeFrom(prefiller, "d", "x", 16), new int[] {0}, 0);
            assertThat(decoder.nextFailure("d")).contains("expired");
            assertThat(prefiller.connector.stats().numKvExpiredReqs()).isEqualTo(1);
        }
    }

    @Test
    void questionWhosePrefillNeverComesIsAnswered() {
        try (MooncakeInstance prefiller = MooncakeInstance.prefiller(16, 8, Map.of("abort_request_timeout", 0.2));
                MooncakeInstance decoder = MooncakeInstance.decoder(16, 8, Map.of())) {
            decoder.load(decoder.decodeFrom(prefiller, "d", "x", 16), new int[] {0}, 0);
            assertThat(decoder.nextFailure("d")).contains("Timeout waiting for P side ready");
        }
    }

    @Test
    void prefillerThatEndsFailsTheLoadAtOnce() {
        try (MooncakeInstance decoder = MooncakeInstance.decoder(16, 8, Map.of())) {
            MooncakeInstance prefiller = MooncakeInstance.prefiller(16, 8, Map.of());
            decoder.load(decoder.decodeFrom(prefiller, "d", "x", 16), new int[] {0}, 0);
            awaitQuestion(prefiller);
            prefiller.closeAbruptly();
            assertThat(decoder.nextEvent(8_000).requestId()).isEqualTo("d");
        }
    }

    @Test
    void decoderThatEndsWhileItWaitsLeavesNoLease() {
        try (MooncakeInstance prefiller = MooncakeInstance.prefiller(16, 8, Map.of())) {
            MooncakeInstance decoder = MooncakeInstance.decoder(16, 8, Map.of());
            decoder.load(decoder.decodeFrom(prefiller, "d", "x", 16), new int[] {0}, 0);
            awaitQuestion(prefiller);
            decoder.closeAbruptly();
            assertThat(decoder.nextFailure("d")).contains("closed");
            prefiller.hold("p", "x", new int[] {1}, 16);
            assertThat(prefiller.nextEvent(8_000)).isEqualTo(new LeaseReleased("p"));
        }
    }

    @Test
    void engineIdThatTheBootstrapServerDoesNotListIsNamed() {
        try (MooncakeInstance prefiller = MooncakeInstance.prefiller(16, 8, Map.of());
                MooncakeInstance decoder = MooncakeInstance.decoder(16, 8, Map.of())) {
            decoder.load(
                    MooncakeInstance.decode("d", "x", 16, "before-its-restart", prefiller.bootstrap()),
                    new int[] {0},
                    0);
            assertThat(decoder.nextFailure("d")).contains("before-its-restart", "restarted");
        }
    }

    @Test
    void bootstrapServerThatDoesNotAnswerFailsTheLoad() {
        try (MooncakeInstance decoder = MooncakeInstance.decoder(16, 8, Map.of())) {
            decoder.load(MooncakeInstance.decode("d", "x", 16, "p", "http://127.0.0.1:1"), new int[] {0}, 0);
            assertThat(decoder.nextFailure("d")).isNotEmpty();
        }
    }

    @Test
    void hostsThatAreNotAllowedAreNotDialled() {
        try (MooncakeInstance prefiller =
                        MooncakeInstance.prefiller(16, 8, Map.of("kv_allowed_hosts", List.of("10.0.0.1")));
                MooncakeInstance decoder = MooncakeInstance.decoder(16, 8, Map.of());
                MooncakeInstance careful =
                        MooncakeInstance.decoder(16, 8, Map.of("kv_allowed_hosts", List.of("10.0.0.1")))) {
            assertThat(careful.scheduler().numNewMatchedTokens(careful.decodeFrom(prefiller, "d", "x", 16), 0))
                    .isZero();
            decoder.load(decoder.decodeFrom(prefiller, "d", "x", 16), new int[] {0}, 0);
            assertThat(decoder.nextFailure("d")).contains("kv_allowed_hosts");
        }
    }

    @ParameterizedTest
    @CsvSource({"1, 300", "10, 300"})
    void manyLoadsAtOnceAllArrive(int workers, int loads) {
        try (MooncakeInstance prefiller = MooncakeInstance.prefiller(16, 64, Map.of("num_workers", workers))
                        .fill(1);
                MooncakeInstance decoder = MooncakeInstance.decoder(16, loads * 4, Map.of())) {
            Random random = new Random(7);
            List<int[]> remotes = new ArrayList<>();
            for (int i = 0; i < loads; i++) {
                int[] remote = ConnectorInstance.someBlocks(random, 64, 4);
                remotes.add(remote);
                if (i % 2 == 0) {
                    prefiller.hold("p" + i, "x" + i, remote, 60);
                }
                decoder.load(
                        decoder.decodeFrom(prefiller, "d" + i, "x" + i, 60),
                        new int[] {4 * i, 4 * i + 1, 4 * i + 2, 4 * i + 3},
                        0);
                if (i % 2 == 1) {
                    prefiller.hold("p" + i, "x" + i, remote, 60);
                }
            }
            Set<String> arrived = new HashSet<>();
            Set<String> released = new HashSet<>();
            for (int i = 0; i < loads; i++) {
                assertThat(decoder.nextEvent())
                        .isInstanceOfSatisfying(KvArrived.class, it -> arrived.add(it.requestId()));
                assertThat(prefiller.nextEvent())
                        .isInstanceOfSatisfying(LeaseReleased.class, it -> released.add(it.requestId()));
            }
            assertThat(arrived).hasSize(loads);
            assertThat(released).hasSize(loads);
            for (int i = 0; i < loads; i++) {
                for (int b = 0; b < 4; b++) {
                    assertThat(decoder.block(4 * i + b)).isEqualTo(prefiller.block(remotes.get(i)[b]));
                }
            }
        }
    }

    @Test
    void bootstrapPortThatIsTakenIsNamed() {
        try (MooncakeInstance prefiller = MooncakeInstance.prefiller(16, 8, Map.of())) {
            int port = Integer.parseInt(prefiller.bootstrap().replaceAll(".*:", ""));
            assertThatThrownBy(() -> MooncakeInstance.prefiller(16, 8, Map.of("bootstrap_port", port)))
                    .isInstanceOf(TransferException.class)
                    .hasMessageContaining("VLLM_MOONCAKE_BOOTSTRAP_PORT");
        }
    }

    @Test
    void settingsThatMakeNoSenseAreRefused() {
        for (Map<String, Object> extra : List.<Map<String, Object>>of(
                Map.of("mooncake_protocol", "rdma"),
                Map.of("vllm_kv_layout", "NHD"),
                Map.of("vllm_layer_name", "layers"),
                Map.of("num_workers", 0),
                Map.of("bootstrap_server_address", "10.0.0.1:8998"))) {
            assertThatThrownBy(() -> MooncakeOptions.from(extra, Map.of()))
                    .isInstanceOf(TransferException.class)
                    .hasMessageContaining(extra.keySet().iterator().next());
        }
        assertThatThrownBy(() -> MooncakeOptions.from(Map.of(), Map.of("VLLM_MOONCAKE_BOOTSTRAP_PORT", "x")))
                .isInstanceOf(TransferException.class)
                .hasMessageContaining("VLLM_MOONCAKE_BOOTSTRAP_PORT");
        MooncakeOptions options = MooncakeOptions.from(
                Map.of("device_name", "", "mooncake_protocol", "tcp"),
                Map.of("VLLM_MOONCAKE_BOOTSTRAP_PORT", "9000", "VLLM_MOONCAKE_ABORT_REQUEST_TIMEOUT", "5"));
        assertThat(options.bootstrapPort()).isEqualTo(9000);
        assertThat(options.abortTimeout()).isEqualTo(Duration.ofSeconds(5));
    }
}
