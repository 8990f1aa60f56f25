package dev.baton.router.policy;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class PushChoiceTest {
    private static final String PAIR = "p d";

    /// Hands over prompts of many lengths between two engines of these rates.
    ///
    /// @param millisPerThousand that the transfer takes after a prefill
    private static void run(PushChoice choice, Random random, int handOffs, double millisPerThousand) {
        for (int i = 0; i < handOffs; i++) {
            int tokens = 20 + (int) (8_000 * Math.pow(random.nextDouble(), 3)); // more short ones than long ones
            boolean pushed = choice.pushes(PAIR, tokens);
            double noise = 1 + 0.05 * random.nextGaussian();
            double prefill = (5 + 20 * tokens / 1e3) * noise;
            double rest = (pushed ? 1 : 1 + millisPerThousand * tokens / 1e3) * noise;
            choice.measured(PAIR, pushed, tokens, prefill, rest, rest);
        }
    }

    private static int pushes(PushChoice choice, int tokens) {
        int pushes = 0;
        for (int i = 0; i < 64; i++) {
            pushes += choice.pushes(PAIR, tokens) ? 1 : 0;
        }
        return pushes;
    }

    @Test
    void bothAreTakenInTurnUntilBothAreKnown() {
        PushChoice choice = new PushChoice(KvTransferWay.AUTO);
        for (int i = 0; i < 12; i++) {
            boolean pushed = choice.pushes(PAIR, 1_000);
            assertThat(pushed).isEqualTo(i % 2 == 1);
            choice.measured(PAIR, pushed, 1_000, 20, pushed ? 1 : 30, pushed ? 1 : 30);
        }
        assertThat(pushes(choice, 1_000)).isGreaterThanOrEqualTo(60);
    }

    @ParameterizedTest
    @CsvSource({"10, 50, false", "10, 4000, true", "10, 8000, true", "0.2, 200, false", "0.2, 8000, false"})
    void longPromptsOverSlowLinksArePushedAndOthersFetched(double millisPerThousand, int tokens, boolean pushed) {
        for (int seed = 0; seed < 20; seed++) {
            PushChoice choice = new PushChoice(KvTransferWay.AUTO);
            run(choice, new Random(seed), 1_000, millisPerThousand);
            int pushes = pushes(choice, tokens);
            assertThat(pushes).as("seed %d", seed).isBetween(pushed ? 62 : 0, pushed ? 64 : 2);
        }
    }

    /// Two GPUs of one host: the blocks take 4 ms, and the second leg and a step as long again. Before them come
    /// prompts whose blocks are cached on both sides, with which the two ways hardly differ in the second token,
    /// and many short ones, with which they do not differ by anything that could be measured.
    @Test
    void aFirstTokenThatWaitsForNoSecondLegIsWorthAPushOverAFastLink() {
        for (int seed = 0; seed < 20; seed++) {
            PushChoice choice = new PushChoice(KvTransferWay.AUTO);
            Random random = new Random(seed);
            int pushes = 0;
            for (int i = 0; i < 430; i++) {
                for (int j = 0; j < 240 && i == 400; j++) {
                    boolean pushed = choice.pushes(PAIR, 520);
                    double rest = 6 + random.nextGaussian();
                    choice.measured(PAIR, pushed, 520, 20, rest, rest + 3);
                }
                boolean pushed = choice.pushes(PAIR, 7_500);
                double noise = 1 + 0.05 * random.nextGaussian();
                boolean cached = i < 400;
                double first = (pushed ? 1 : cached ? 8 : 16) * noise;
                double second = (pushed ? 11 : cached ? 12 : 20) * noise;
                choice.measured(PAIR, pushed, 7_500, (cached ? 8 : 185) * noise, first, second);
                pushes += !cached && pushed ? 1 : 0;
            }
            assertThat(pushes).as("seed %d", seed).isGreaterThanOrEqualTo(29);
        }
    }

    @Test
    void aLinkThatBecomesSlowIsNoticed() {
        PushChoice choice = new PushChoice(KvTransferWay.AUTO);
        Random random = new Random(3);
        run(choice, random, 300, 0.1);
        assertThat(pushes(choice, 6_000)).isLessThanOrEqualTo(2);
        run(choice, random, 100, 20);
        assertThat(pushes(choice, 6_000)).isGreaterThanOrEqualTo(62);
    }

    @Test
    void whatIsForcedIsTaken() {
        assertThat(pushes(new PushChoice(KvTransferWay.PUSH), 1)).isEqualTo(64);
        assertThat(pushes(new PushChoice(KvTransferWay.PULL), 100_000)).isZero();
    }
}
