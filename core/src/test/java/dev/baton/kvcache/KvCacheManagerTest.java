package dev.baton.kvcache;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Random;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class KvCacheManagerTest {
    private final KvCacheManager manager = manager(8, 4);

    private static KvCacheManager manager(int numBlocks, int blockTokens) {
        return new KvCacheManager(new KvCacheSpec("m", "float32", 4, 1, 1, 2, blockTokens, numBlocks), true, 1);
    }

    private static int[] tokens(int count) {
        int[] tokens = new int[count];
        Arrays.setAll(tokens, i -> i);
        return tokens;
    }

    /// Computes a sequence to its end and gives it back.
    private void cache(int[] tokens) {
        BlockTable table = manager.newTable();
        manager.computedBlocks(table, tokens, tokens.length);
        assertThat(manager.allocateSlots(table, tokens.length)).isTrue();
        manager.cacheFullBlocks(table, tokens, tokens.length);
        manager.free(table);
        manager.checkIntegrity();
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17})
    void atLeastOneTokenIsLeftToCompute(int length) {
        int[] tokens = tokens(length);
        cache(tokens);
        BlockTable table = manager.newTable();
        int computed = manager.computedBlocks(table, tokens, length);
        assertThat(computed).isEqualTo((length - 1) / 4 * 4).isLessThan(length);
        assertThat(table.size()).isEqualTo(computed / 4);
        manager.free(table);
        manager.checkIntegrity();
    }

    @Test
    void partialBlockIsNotFoundEvenByItsOwnTokens() {
        cache(tokens(6));
        assertThat(manager.numCached()).isEqualTo(1);
        assertThat(manager.numFree()).isEqualTo(7);
    }

    @Test
    void prefixesShareBlocksUpToTheFirstDifference() {
        cache(tokens(16));
        int[] other = tokens(16);
        other[9] = 99;
        BlockTable table = manager.newTable();
        assertThat(manager.computedBlocks(table, other, 16)).isEqualTo(8);
        BlockTable same = manager.newTable();
        assertThat(manager.computedBlocks(same, tokens(16), 16)).isEqualTo(12);
        assertThat(same.copyOf(2)).isEqualTo(table.copyOf(2));
        manager.checkIntegrity();
        manager.free(table);
        manager.free(same);
        manager.checkIntegrity();
    }

    @Test
    void blocksThatOthersComputeMeanwhileAreFoundInASecondLook() {
        int[] tokens = tokens(14);
        BlockTable late = manager.newTable();
        assertThat(manager.computedBlocks(late, tokens, 14)).isZero();
        assertThat(manager.allocateSlots(late, 14)).isTrue();
        assertThat(manager.computedBlocksAgain(late, tokens, 14)).isZero();
        BlockTable early = manager.newTable();
        assertThat(manager.computedBlocks(early, tokens, 12)).isZero();
        assertThat(manager.allocateSlots(early, 12)).isTrue();
        manager.cacheFullBlocks(early, tokens, 4);
        assertThat(manager.computedBlocksAgain(late, tokens, 14)).isEqualTo(4);
        manager.cacheFullBlocks(early, tokens, 12);
        assertThat(manager.computedBlocksAgain(late, tokens, 14)).isEqualTo(12);
        assertThat(late.copyOf(3)).isEqualTo(early.copyOf(3));
        assertThat(late.size()).isEqualTo(4);
        manager.checkIntegrity();
        assertThat(manager.numFree()).isEqualTo(4);
        manager.free(early);
        manager.free(late);
        manager.checkIntegrity();
        assertThat(manager.numFree() + manager.numCached()).isEqualTo(8);
    }

    @Test
    void atLeastOneTokenIsLeftToComputeAlsoAfterASecondLook() {
        int[] tokens = tokens(8);
        BlockTable late = manager.newTable();
        assertThat(manager.computedBlocks(late, tokens, 8)).isZero();
        assertThat(manager.allocateSlots(late, 8)).isTrue();
        cache(tokens);
        assertThat(manager.computedBlocksAgain(late, tokens, 8)).isEqualTo(4);
        manager.free(late);
        manager.checkIntegrity();
    }

    @Test
    void endOfAPrefixIsEvictedBeforeItsBeginning() {
        cache(tokens(32));
        BlockTable other = manager.newTable();
        assertThat(manager.allocateSlots(other, 12)).isTrue();
        BlockTable table = manager.newTable();
        assertThat(manager.computedBlocks(table, tokens(32), 32)).isEqualTo(20);
        manager.free(table);
        manager.free(other);
        manager.checkIntegrity();
    }

    @Test
    void allocationThatDoesNotFitChangesNothing() {
        BlockTable table = manager.newTable();
        assertThat(manager.allocateSlots(table, 33)).isFalse();
        assertThat(table.size()).isZero();
        assertThat(manager.numFree()).isEqualTo(8);
        assertThat(manager.allocateSlots(table, 32)).isTrue();
        assertThat(manager.numFree()).isZero();
        manager.free(table);
        manager.checkIntegrity();
    }

    @Test
    void discardedBlocksAreNotFoundAgain() {
        BlockTable table = manager.newTable();
        manager.allocateSlots(table, 9);
        manager.cacheFullBlocks(table, tokens(9), 9);
        manager.distrust(table);
        manager.free(table);
        assertThat(manager.numCached()).isZero();
        assertThat(manager.computedBlocks(table, tokens(9), 9)).isZero();
        manager.checkIntegrity();
    }

    @Test
    void leakIsFound() {
        BlockTable table = manager.newTable();
        manager.allocateSlots(table, 9);
        table.removeLast();
        assertThatThrownBy(manager::checkIntegrity).hasMessageContaining("has 1 users, but is in 0 tables");
    }

    @Test
    void withoutPrefixCachingNothingIsFound() {
        KvCacheManager plain = new KvCacheManager(new KvCacheSpec("m", "float32", 4, 1, 1, 2, 4, 8), false, 1);
        BlockTable table = plain.newTable();
        plain.allocateSlots(table, 16);
        plain.cacheFullBlocks(table, tokens(16), 16);
        plain.free(table);
        assertThat(plain.computedBlocks(table, tokens(16), 16)).isZero();
        assertThat(plain.numFree()).isEqualTo(8);
    }

    /// A cache hit must lead to blocks that were computed for exactly these tokens and have not been given to
    /// anyone since: each block is labelled with the prefix that was written into it.
    @ParameterizedTest
    @ValueSource(longs = {1, 2, 3, 4, 5, 6, 7, 8})
    void blocksFoundHoldWhatWasComputedForTheirPrefix(long seed) {
        Random random = new Random(seed);
        int blockTokens = 1 + random.nextInt(5);
        int numBlocks = 3 + random.nextInt(14);
        KvCacheManager cache = manager(numBlocks, blockTokens);
        int[][] contents = new int[numBlocks][];
        List<BlockTable> live = new ArrayList<>();
        Set<Integer> written = new HashSet<>();
        for (int round = 0; round < 3_000; round++) {
            if (random.nextInt(3) > 0 || live.isEmpty()) {
                int[] tokens = random.ints(1 + random.nextInt(20), 0, 2).toArray();
                BlockTable table = cache.newTable();
                int computed = cache.computedBlocks(table, tokens, tokens.length);
                for (int i = 0; i < computed / blockTokens; i++) {
                    assertThat(contents[table.id(i)]).isEqualTo(Arrays.copyOf(tokens, (i + 1) * blockTokens));
                }
                if (!cache.allocateSlots(table, tokens.length)) {
                    cache.free(table);
                    continue;
                }
                int done = computed + random.nextInt(tokens.length - computed + 1);
                for (int i = computed / blockTokens; i < table.size(); i++) {
                    contents[table.id(i)] = Arrays.copyOf(tokens, (i + 1) * blockTokens);
                    written.add(table.id(i));
                }
                cache.cacheFullBlocks(table, tokens, done);
                live.add(table);
            } else {
                BlockTable table = live.remove(random.nextInt(live.size()));
                if (random.nextInt(5) == 0) {
                    cache.distrust(table);
                    cache.free(table);
                } else {
                    cache.free(table);
                }
            }
            cache.checkIntegrity();
        }
        live.forEach(cache::free);
        cache.checkIntegrity();
        assertThat(cache.numFree() + cache.numCached()).isEqualTo(numBlocks);
        assertThat(written).hasSize(numBlocks);
    }
}
