package dev.baton.router.policy;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class PrefixIndexTest {
    private static final int MANY = 1 << 20;

    private static long[] chain(SplittableRandom random, int blocks) {
        return random.longs(blocks).toArray();
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 2, 3, 63, 64, 65, 511, 512, 513})
    void everyEngineHoldsExactlyWhatWasAddedForIt(int blocks) {
        SplittableRandom random = new SplittableRandom(blocks);
        PrefixIndex index = new PrefixIndex(MANY);
        long[] chain = chain(random, blocks);
        int[] expected = new int[200];
        for (int engine = 0; engine < expected.length; engine += 1 + random.nextInt(9)) {
            expected[engine] = random.nextInt(blocks + 1);
            index.addChain(Arrays.copyOf(chain, expected[engine]), engine);
        }
        int[] held = new int[expected.length];
        index.match(chain, held);
        assertThat(held).isEqualTo(expected);
    }

    @Test
    void branchesOfAPromptAreToldApart() {
        SplittableRandom random = new SplittableRandom(1);
        PrefixIndex index = new PrefixIndex(MANY);
        Map<Integer, long[]> chains = new HashMap<>();
        long[] common = chain(random, 20);
        for (int engine = 0; engine < 30; engine++) {
            long[] own = Arrays.copyOf(common, 50);
            System.arraycopy(chain(random, 30), 0, own, 20, 30);
            chains.put(engine, own);
            index.addChain(own, engine);
        }
        int[] held = new int[30];
        chains.forEach((engine, chain) -> {
            index.match(chain, held);
            for (int other = 0; other < held.length; other++) {
                assertThat(held[other]).isEqualTo(other == engine ? 50 : 20);
            }
        });
    }

    @Test
    void aForgottenEngineHoldsNothingAndTheOthersHoldTheirs() {
        PrefixIndex index = new PrefixIndex(MANY);
        long[] chain = chain(new SplittableRandom(2), 100);
        index.addChain(chain, 3);
        index.addChain(chain, 4);
        index.forget(3);
        int[] held = new int[5];
        index.match(chain, held);
        assertThat(held).containsExactly(0, 0, 0, 0, 100);
    }

    @Test
    void memoryIsBoundedAndWhatIsUsedStays() {
        SplittableRandom random = new SplittableRandom(3);
        PrefixIndex index = new PrefixIndex(32_768);
        long[] used = chain(random, 64);
        index.addChain(used, 0);
        int[] held = new int[2];
        for (int i = 0; i < 5_000; i++) {
            index.addChain(chain(random, 64), 1);
            if (i % 100 == 0) {
                index.addChain(used, 0);
            }
            assertThat(index.size()).isLessThanOrEqualTo(33_000);
        }
        index.match(used, held);
        assertThat(held[0]).isEqualTo(64);
    }

    @Test
    void whatIsNotUsedVanishesFromItsEnd() {
        SplittableRandom random = new SplittableRandom(4);
        PrefixIndex index = new PrefixIndex(8_192);
        long[] chain = chain(random, 1_000);
        index.addChain(chain, 0);
        int[] held = new int[1];
        int before = 1_000;
        for (int i = 0; i < 40; i++) {
            index.addChain(chain(random, 500), 1);
            index.match(chain, held);
            assertThat(held[0]).isLessThanOrEqualTo(before);
            before = held[0];
        }
        assertThat(before).isZero();
    }
}
