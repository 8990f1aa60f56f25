package dev.baton.engine;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.transfer.KvLoadFailurePolicy;
import dev.baton.transfer.KvRole;
import dev.baton.transfer.KvTransferConfig;
import dev.baton.transfer.KvTransferParams;
import dev.baton.wire.FreePorts;
import java.io.IOException;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// A prefiller and a decoder that find each other by the id of a request, as behind vLLM's proxy for P2pNccl.
@Timeout(value = 60, unit = TimeUnit.SECONDS)
class EngineOverP2pNcclTest {
    private static final int BLOCK_TOKENS = 16;

    private static Engine start(KvRole role, int port, String sendType, KvLoadFailurePolicy policy, MemoryLm model) {
        return EngineOverTcpTest.start(
                new KvTransferConfig(
                        "P2pNcclConnector",
                        role,
                        "e" + port,
                        "127.0.0.1",
                        port,
                        policy,
                        Map.of("send_type", sendType, "kv_peer_timeout", 10)),
                BLOCK_TOKENS,
                model);
    }

    private static String id(int prefiller, int decoder, int unique) {
        return "cmpl-___prefill_addr_127.0.0.1:%d___decode_addr_127.0.0.1:%d_%032x-0"
                .formatted(prefiller, decoder, unique);
    }

    @ParameterizedTest
    @ValueSource(strings = {"PUT", "PUT_ASYNC", "GET"})
    void tokensEqualThoseOfOneEngine(String sendType) throws IOException {
        int prefillerPort = FreePorts.next();
        int decoderPort = FreePorts.next();
        MemoryLm prefillModel = new MemoryLm(0);
        MemoryLm decodeModel = new MemoryLm(0);
        Random random = new Random(7);
        try (Engine prefiller =
                        start(KvRole.KV_PRODUCER, prefillerPort, sendType, KvLoadFailurePolicy.FAIL, prefillModel);
                Engine decoder =
                        start(KvRole.KV_CONSUMER, decoderPort, sendType, KvLoadFailurePolicy.FAIL, decodeModel)) {
            EngineOverTcpTest.equalForEveryResidue(
                    prefiller,
                    decoder,
                    decodeModel,
                    BLOCK_TOKENS,
                    random,
                    length -> id(prefillerPort, decoderPort, length),
                    KvTransferParams.NONE,
                    _ -> KvTransferParams.NONE);
        }
    }

    /// The prefiller is not there: computed here, or an error, as the policy says.
    @Test
    void lostPrefillerMeansRecomputeOrFail() throws IOException {
        int decoderPort = FreePorts.next();
        int nobody = FreePorts.next();
        int[] prompt = EngineScenarioTest.prompt(new Random(3), 1, 40);
        MemoryLm model = new MemoryLm(0);
        try (Engine decoder = start(KvRole.KV_CONSUMER, decoderPort, "PUT", KvLoadFailurePolicy.RECOMPUTE, model)) {
            Collected answer = new Collected();
            decoder.submit(
                    new EngineRequest(
                            id(nobody, decoderPort, 1), prompt, SamplingParams.greedy(12), KvTransferParams.NONE),
                    answer);
            assertThat(answer.await().error()).isEmpty();
            assertThat(answer.tokens()).isEqualTo(model.reference(prompt, 12, 200));
            EngineScenarioTest.quiet(decoder);
        }
        try (Engine decoder = start(KvRole.KV_CONSUMER, decoderPort, "PUT", KvLoadFailurePolicy.FAIL, model)) {
            Collected answer = new Collected();
            decoder.submit(
                    new EngineRequest(
                            id(nobody, decoderPort, 1), prompt, SamplingParams.greedy(12), KvTransferParams.NONE),
                    answer);
            assertThat(answer.await().error()).isPresent();
            EngineScenarioTest.quiet(decoder);
        }
    }
}
