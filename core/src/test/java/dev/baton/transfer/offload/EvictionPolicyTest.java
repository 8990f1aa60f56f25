package dev.baton.transfer.offload;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.kvcache.BlockHash;
import java.util.HashSet;
import java.util.Random;
import java.util.Set;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class EvictionPolicyTest {
    private static BlockHash block(long name) {
        return new BlockHash(name, ~name);
    }

    /// A cache without content.
    private static final class Cache {
        final EvictionPolicy policy;
        final int capacity;
        final Set<BlockHash> here = new HashSet<>();

        Cache(String policy, int capacity) {
            this.policy = EvictionPolicy.of(policy, capacity).orElseThrow();
            this.capacity = capacity;
        }

        /// @return whether it was here
        boolean ask(BlockHash block) {
            if (here.contains(block)) {
                policy.touch(block);
                return true;
            }
            policy.admit(block);
            if (here.size() == capacity) {
                BlockHash gone = policy.evict(here::contains).orElseThrow();
                assertThat(here.remove(gone)).isTrue();
            }
            here.add(block);
            return false;
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"lru", "arc"})
    void whatIsEvictedWasHereAndNothingIsLost(String name) {
        Random random = new Random(5);
        for (int capacity : new int[] {1, 2, 3, 7, 8, 9, 31}) {
            Cache cache = new Cache(name, capacity);
            for (int i = 0; i < 5_000; i++) {
                cache.ask(block((long) Math.abs(random.nextGaussian() * 2 * capacity)));
                assertThat(cache.here.size()).isLessThanOrEqualTo(capacity);
                if (random.nextInt(50) == 0 && !cache.here.isEmpty()) {
                    BlockHash one = cache.here.iterator().next();
                    cache.policy.remove(one);
                    cache.here.remove(one);
                }
            }
        }
    }

    @Test
    void leastRecentlyUsedGoesFirst() {
        Cache cache = new Cache("lru", 3);
        IntStream.of(1, 2, 3, 1, 4).forEach(i -> cache.ask(block(i)));
        assertThat(cache.here).containsExactlyInAnyOrder(block(1), block(3), block(4));
    }

    /// What ARC is for: prompts that come once do not push out those that come back.
    @Test
    void aLongScanDoesNotPushOutWhatComesBack() {
        int[] hits = new int[2];
        String[] names = {"lru", "arc"};
        for (int which = 0; which < 2; which++) {
            Cache cache = new Cache(names[which], 64);
            long once = 1_000;
            for (int round = 0; round < 50; round++) {
                for (int i = 0; i < 32; i++) {
                    hits[which] += cache.ask(block(i)) ? 1 : 0;
                    hits[which] += cache.ask(block(i)) ? 1 : 0;
                }
                for (int i = 0; i < 64; i++) {
                    cache.ask(block(once++));
                }
            }
        }
        assertThat(hits[0]).isEqualTo(50 * 32);
        assertThat(hits[1]).isGreaterThan(90 * 32);
    }

    @ParameterizedTest
    @ValueSource(strings = {"lru", "arc"})
    void whatMayNotGoStays(String name) {
        Cache cache = new Cache(name, 2);
        cache.ask(block(1));
        cache.ask(block(2));
        assertThat(cache.policy.evict(_ -> false)).isEmpty();
        assertThat(cache.policy.evict(b -> !b.equals(block(1)))).contains(block(2));
    }

    @Test
    void unknownPolicyIsNone() {
        assertThat(EvictionPolicy.of("mru", 3)).isEmpty();
    }
}
