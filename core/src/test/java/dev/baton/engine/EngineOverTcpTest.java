package dev.baton.engine;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.transfer.KvLoadFailurePolicy;
import dev.baton.transfer.KvRole;
import dev.baton.transfer.KvTransferConfig;
import dev.baton.transfer.KvTransferParams;
import java.time.Duration;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;
import java.util.function.IntFunction;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// A prefiller and a decoder with the connector that they have in production, over real sockets.
@Timeout(value = 60, unit = TimeUnit.SECONDS)
class EngineOverTcpTest {
    private static Engine start(String engineId, KvRole role, int blockTokens, MemoryLm model) {
        return start(
                new KvTransferConfig(
                        "TcpConnector", role, engineId, "127.0.0.1", 0, KvLoadFailurePolicy.FAIL, Map.of()),
                blockTokens,
                model);
    }

    static Engine start(KvTransferConfig transfer, int blockTokens, MemoryLm model) {
        EngineConfig config = EngineConfig.builder("memory", 200)
                .blockTokens(blockTokens)
                .numBlocks(600 / blockTokens)
                .maxNumSeqs(8)
                .maxNumBatchedTokens(32)
                .maxWaiting(100)
                .stepDeadline(Duration.ofSeconds(10))
                .kvTransfer(Optional.of(transfer))
                .compatibility(Map.of("tokenizer", "none"))
                .build();
        return Engine.start(config, model);
    }

    @ParameterizedTest
    @ValueSource(ints = {8, 16, 32})
    void tokensEqualThoseOfOneEngineForEveryResidueOfTheBlockSize(int blockTokens) {
        MemoryLm prefillModel = new MemoryLm(0);
        MemoryLm decodeModel = new MemoryLm(0);
        Random random = new Random(blockTokens);
        try (Engine prefiller = start("P", KvRole.KV_PRODUCER, blockTokens, prefillModel);
                Engine decoder = start("D", KvRole.KV_CONSUMER, blockTokens, decodeModel)) {
            equalForEveryResidue(
                    prefiller,
                    decoder,
                    decodeModel,
                    blockTokens,
                    random,
                    length -> "r" + length,
                    KvTransferParams.REMOTE_DECODE,
                    RequestOutput.Finish::kvTransferParams);
        }
    }

    /// Prompts of every residue of the block size, some of them with a common beginning, from the prefiller to
    /// the decoder: the tokens are those of one engine, and what came was not computed again.
    ///
    /// @param id of a request, by the length of its prompt
    /// @param asked what a prefill says of its hand-off
    /// @param named what the decode says of it, by the prefill's answer
    static void equalForEveryResidue(
            Engine prefiller,
            Engine decoder,
            MemoryLm decodeModel,
            int blockTokens,
            Random random,
            IntFunction<String> id,
            KvTransferParams asked,
            Function<RequestOutput.Finish, KvTransferParams> named) {
        int[] shared = EngineScenarioTest.prompt(random, 0, 3 * blockTokens);
        int external = 0;
        for (int length = 1; length <= 2 * blockTokens + 1; length++) {
            int[] prompt = EngineScenarioTest.prompt(random, length, length);
            int common = length % 3 == 0 ? Math.min(shared.length, length) : 0;
            System.arraycopy(shared, 0, prompt, 0, common);
            Collected first = new Collected();
            prefiller.submit(new EngineRequest(id.apply(length), prompt, SamplingParams.greedy(1), asked), first);
            RequestOutput.Finish prefilled = first.await();
            assertThat(prefilled.error()).isEmpty();
            Collected answer = new Collected();
            long rows = decodeModel.rows;
            decoder.submit(
                    new EngineRequest(id.apply(length), prompt, SamplingParams.greedy(12), named.apply(prefilled)),
                    answer);
            RequestOutput.Finish finish = answer.await();
            assertThat(finish.error()).isEmpty();
            assertThat(answer.tokens()).isEqualTo(decodeModel.reference(prompt, 12, 200));
            if (finish.externalTokens() > 0) {
                assertThat(finish.cachedTokens() + finish.externalTokens()).isEqualTo(length);
                assertThat(decodeModel.rows - rows).isEqualTo(12);
            }
            external += finish.externalTokens();
        }
        assertThat(external).isPositive();
        EngineScenarioTest.quiet(prefiller);
        EngineScenarioTest.quiet(decoder);
        assertThat(decoder.transferStats().numTransfers()).isPositive();
        assertThat(prefiller.transferStats().numKvExpiredReqs()).isZero();
    }
}
