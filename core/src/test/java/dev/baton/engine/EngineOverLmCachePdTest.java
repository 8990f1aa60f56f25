package dev.baton.engine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import dev.baton.transfer.KvLoadFailurePolicy;
import dev.baton.transfer.KvRole;
import dev.baton.transfer.KvTransferConfig;
import dev.baton.transfer.KvTransferParams;
import dev.baton.transfer.TransferException;
import dev.baton.transfer.lmcache.TestProxy;
import dev.baton.wire.FreePorts;
import dev.baton.wire.ZmtpServer;
import java.io.IOException;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// LMCache's prefill and decode between two engines, over a real NIXL library.
@Timeout(value = 180, unit = TimeUnit.SECONDS)
class EngineOverLmCachePdTest {
    /// A decoder that prefillers write to, and a proxy that they tell.
    private static final class Pair implements AutoCloseable {
        final LinkedBlockingQueue<String> announced = new LinkedBlockingQueue<>();
        final MemoryLm decodeModel = new MemoryLm(0);
        final int initPort = FreePorts.next();
        final int allocPort = FreePorts.next();
        final ZmtpServer proxy;
        final Engine prefiller;
        final Engine decoder;

        Pair(int blockTokens, int chunkTokens, long bufferBytes, String generation) throws IOException {
            this(blockTokens, chunkTokens, bufferBytes, generation, Map.of());
        }

        /// @param ofTheSender settings that the sender has otherwise
        Pair(int blockTokens, int chunkTokens, long bufferBytes, String generation, Map<String, Object> ofTheSender)
                throws IOException {
            proxy = TestProxy.start(announced);
            Map<String, Object> shared = new HashMap<>(Map.of(
                    "lmcache.chunk_size",
                    chunkTokens,
                    "lmcache.local_cpu",
                    false,
                    "lmcache.pre_caching_hash_algorithm",
                    "sha256_cbor",
                    "lmcache." + (generation.equals("pd") ? "enable_pd" : "enable_xpyd"),
                    true));
            Map<String, Object> receiver = new HashMap<>(shared);
            receiver.put("lmcache." + generation + "_role", "receiver");
            receiver.put("lmcache." + generation + "_buffer_size", bufferBytes);
            receiver.put("lmcache." + generation + "_buffer_device", "cpu");
            receiver.put("lmcache." + generation + "_peer_host", "127.0.0.1");
            receiver.put("lmcache." + generation + "_peer_init_port", List.of(initPort));
            receiver.put("lmcache." + generation + "_peer_alloc_port", allocPort);
            Map<String, Object> sender = new HashMap<>(shared);
            sender.put("lmcache." + generation + "_role", "sender");
            sender.put("lmcache." + generation + "_proxy_host", "127.0.0.1");
            sender.put("lmcache." + generation + "_proxy_port", proxy.port());
            sender.put("lmcache.blocking_timeout_secs", 20);
            sender.putAll(ofTheSender);
            receiver.put("lmcache.blocking_timeout_secs", 20);
            try {
                decoder = start("D", KvRole.KV_CONSUMER, blockTokens, decodeModel, receiver);
            } catch (TransferException e) {
                proxy.close();
                Assumptions.assumeFalse(
                        e.getMessage().contains("there is no libnixl_capi.so"),
                        "the python3 on the PATH has no nixl package, and NIXL_HOME names none");
                throw e;
            }
            prefiller = start("P", KvRole.KV_PRODUCER, blockTokens, new MemoryLm(0), sender);
        }

        private static Engine start(
                String engineId, KvRole role, int blockTokens, MemoryLm model, Map<String, Object> extra) {
            return EngineOverTcpTest.start(
                    new KvTransferConfig(
                            "LMCacheConnectorV1", role, engineId, "127.0.0.1", 0, KvLoadFailurePolicy.FAIL, extra),
                    blockTokens,
                    model);
        }

        KvTransferParams to(String requestId) {
            return new KvTransferParams(Map.of(
                    "ret_first_tok",
                    true,
                    "disagg_spec",
                    Map.of(
                            "req_id",
                            requestId,
                            "receiver_host",
                            "127.0.0.1",
                            "receiver_init_port",
                            List.of(initPort),
                            "receiver_alloc_port",
                            List.of(allocPort))));
        }

        @Override
        public void close() {
            prefiller.close();
            decoder.close();
            proxy.close();
        }
    }

    private static RequestOutput.Finish ask(
            Engine engine, String id, int[] prompt, int maxTokens, KvTransferParams params, Collected answer) {
        engine.submit(new EngineRequest(id, prompt, SamplingParams.greedy(maxTokens), params), answer);
        RequestOutput.Finish finish = answer.await();
        assertThat(finish.error()).isEmpty();
        return finish;
    }

    @ParameterizedTest
    @CsvSource({"8, 8, pd", "16, 32, pd", "16, 16, nixl"})
    void promptsArePrefilledThereAndDecodedHere(int blockTokens, int chunkTokens, String generation) throws Exception {
        Random random = new Random(blockTokens);
        try (Pair pair = new Pair(blockTokens, chunkTokens, 1 << 20, generation)) {
            for (int length : new int[] {1, chunkTokens - 1, chunkTokens, chunkTokens + 1, 3 * chunkTokens + 5}) {
                int[] prompt = EngineScenarioTest.prompt(random, length, length);
                Collected first = new Collected();
                RequestOutput.Finish prefill =
                        ask(pair.prefiller, "p" + length, prompt, 1, pair.to("r" + length), first);
                assertThat(prefill.kvTransferParams().fields()).containsEntry("first_tok", first.tokens()[0]);
                assertThat(pair.announced.poll(30, TimeUnit.SECONDS)).isEqualTo("r" + length);
                Collected answer = new Collected();
                RequestOutput.Finish finish =
                        ask(pair.decoder, "d" + length, prompt, 12, KvTransferParams.NONE, answer);
                assertThat(answer.tokens()).isEqualTo(pair.decodeModel.reference(prompt, 12, 200));
                // of a single token nothing is of use: it is computed again for its logits
                assertThat(finish.externalTokens()).as("of %d", length).isEqualTo(length == 1 ? 0 : length);
            }
            EngineScenarioTest.quiet(pair.prefiller);
            EngineScenarioTest.quiet(pair.decoder);
            assertThat(pair.decoder.transferStats().numChecksumErrors()).isZero();
        }
    }

    @Test
    void moreThanTheBufferHoldsGoesThroughIt() throws Exception {
        int chunkBytes = 16 * 2 * 2 * 2 * 4;
        try (Pair pair = new Pair(16, 16, 6 * chunkBytes, "pd")) {
            for (int i = 0; i < 40; i++) {
                int[] prompt = EngineScenarioTest.prompt(new Random(i), 0, 60);
                ask(pair.prefiller, "p" + i, prompt, 1, pair.to("r" + i), new Collected());
                assertThat(pair.announced.poll(30, TimeUnit.SECONDS)).isEqualTo("r" + i);
                Collected answer = new Collected();
                assertThat(ask(pair.decoder, "d" + i, prompt, 3, KvTransferParams.NONE, answer)
                                .externalTokens())
                        .isEqualTo(60);
                assertThat(answer.tokens()).isEqualTo(pair.decodeModel.reference(prompt, 3, 200));
            }
        }
    }

    @Test
    void decoderThatIsNotThereIsNotAnnouncedAndCostsThePrefillerNothing() throws Exception {
        try (Pair pair = new Pair(16, 16, 1 << 20, "pd")) {
            pair.decoder.close();
            int[] prompt = EngineScenarioTest.prompt(new Random(1), 0, 60);
            ask(pair.prefiller, "p", prompt, 1, pair.to("r"), new Collected());
            EngineScenarioTest.quiet(pair.prefiller);
            await().during(Duration.ofMillis(300)).until(pair.announced::isEmpty);
        }
    }

    @Test
    void decoderThatCannotUseTheChunksIsAnnouncedAllTheSameAndComputesItself() throws Exception {
        try (Pair pair = new Pair(16, 16, 1 << 20, "pd", Map.of("lmcache.chunk_size", 32))) {
            int[] prompt = EngineScenarioTest.prompt(new Random(1), 0, 90);
            ask(pair.prefiller, "p", prompt, 1, pair.to("r"), new Collected());
            assertThat(pair.announced.poll(30, TimeUnit.SECONDS)).isEqualTo("r");
            Collected answer = new Collected();
            assertThat(ask(pair.decoder, "d", prompt, 5, KvTransferParams.NONE, answer)
                            .externalTokens())
                    .isZero();
            assertThat(answer.tokens()).isEqualTo(pair.decodeModel.reference(prompt, 5, 200));
            EngineScenarioTest.quiet(pair.prefiller);
            EngineScenarioTest.quiet(pair.decoder);
            assertThat(pair.announced).isEmpty();
        }
    }

    @Test
    void requestWithoutADecoderIsAnsweredAsEver() throws Exception {
        try (Pair pair = new Pair(16, 16, 1 << 20, "pd")) {
            int[] prompt = EngineScenarioTest.prompt(new Random(1), 0, 60);
            Collected answer = new Collected();
            ask(pair.prefiller, "p", prompt, 5, KvTransferParams.NONE, answer);
            assertThat(answer.tokens()).isEqualTo(pair.decodeModel.reference(prompt, 5, 200));
            EngineScenarioTest.quiet(pair.prefiller);
        }
    }
}
