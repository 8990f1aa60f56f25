package dev.baton.engine;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.transfer.KvLoadFailurePolicy;
import dev.baton.transfer.KvRole;
import dev.baton.transfer.KvTransferConfig;
import dev.baton.transfer.KvTransferParams;
import java.time.Duration;
import java.util.Arrays;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// A conversation over a prefiller and a decoder: each turn brings the whole conversation again, and only what
/// is new travels.
@Timeout(value = 60, unit = TimeUnit.SECONDS)
class SelectiveTransferTest {
    private static final int TURNS = 10;
    private static final int TURN_TOKENS = 100;
    private static final int CONTEXT = 1_200;

    private static Engine start(String engineId, KvRole role, int blockTokens, MemoryLm model) {
        return Engine.start(
                EngineConfig.builder("memory", CONTEXT)
                        .blockTokens(blockTokens)
                        .numBlocks(2 * CONTEXT / blockTokens)
                        .maxNumSeqs(4)
                        .maxNumBatchedTokens(256)
                        .stepDeadline(Duration.ofSeconds(10))
                        .kvTransfer(Optional.of(new KvTransferConfig(
                                "TcpConnector", role, engineId, "127.0.0.1", 0, KvLoadFailurePolicy.FAIL, Map.of())))
                        .build(),
                model);
    }

    /// A block travels as a whole, and the last one of a turn, which was not full, once more in the next turn.
    /// So the goal is met with small blocks whatever the answers are, and with blocks of 16 tokens by answers
    /// of some length, which the decoder has made itself and therefore has.
    @ParameterizedTest
    @CsvSource({"8, 1", "16, 25"})
    void tenTurnsMoveTheBytesOfTheirNewTokensOnce(int blockTokens, int answerTokens) {
        MemoryLm model = new MemoryLm(0);
        Random random = new Random(blockTokens);
        try (Engine prefiller = start("P", KvRole.KV_PRODUCER, blockTokens, new MemoryLm(0));
                Engine decoder = start("D", KvRole.KV_CONSUMER, blockTokens, model)) {
            int[] conversation = {};
            long repeatedTokens = 0;
            for (int turn = 0; turn < TURNS; turn++) {
                // 100 tokens a turn: the answer of before, and what the client says to it
                int said = (turn + 1) * TURN_TOKENS;
                int[] prompt = Arrays.copyOf(conversation, said);
                int[] words = EngineScenarioTest.prompt(random, 0, said - conversation.length);
                System.arraycopy(words, 0, prompt, conversation.length, words.length);
                String id = "turn" + turn;
                Collected first = new Collected();
                prefiller.submit(
                        new EngineRequest(id, prompt, SamplingParams.greedy(1), KvTransferParams.REMOTE_DECODE), first);
                Collected answer = new Collected();
                decoder.submit(
                        new EngineRequest(
                                id,
                                prompt,
                                SamplingParams.greedy(answerTokens),
                                first.await().kvTransferParams()),
                        answer);
                assertThat(answer.await().error()).isEmpty();
                assertThat(answer.tokens()).isEqualTo(model.reference(prompt, answerTokens, CONTEXT));
                repeatedTokens += prompt.length;
                conversation = Arrays.copyOf(prompt, said + answerTokens);
                System.arraycopy(answer.tokens(), 0, conversation, said, answerTokens);
                EngineScenarioTest.quiet(decoder);
            }
            EngineScenarioTest.quiet(prefiller);
            long tokenBytes = 2L * 2 * 2 * 4; // layers, keys and values, two floats
            double moved = (double) decoder.transferStats().bytesTransferred() / tokenBytes;
            assertThat(moved / (TURNS * TURN_TOKENS))
                    .as("bytes moved to those of the new tokens")
                    .isBetween(0.5, 1.05);
            assertThat(repeatedTokens / moved)
                    .as("saving to moving every prompt")
                    .isGreaterThan(5);
            assertThat(prefiller.transferStats().bytesSent())
                    .isEqualTo(decoder.transferStats().bytesTransferred());
        }
    }
}
