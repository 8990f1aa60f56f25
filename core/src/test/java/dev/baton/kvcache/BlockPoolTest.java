package dev.baton.kvcache;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import org.junit.jupiter.api.Test;

class BlockPoolTest {
    private static final int[] TOKENS = {1, 2, 3, 4, 5, 6, 7, 8};

    private final BlockPool pool = new BlockPool(4, 2);

    @Test
    void freeBlocksAreTakenBeforeCachedOnesAndThoseInTheOrderOfTheirRelease() {
        int a = pool.allocate();
        int b = pool.allocate();
        int c = pool.allocate();
        pool.publish(a, 1, 1, TOKENS, 0);
        pool.publish(b, 2, 2, TOKENS, 2);
        pool.release(b);
        pool.release(a);
        pool.release(c);
        assertThat(pool.numUnused()).isEqualTo(4);
        assertThat(pool.numCached()).isEqualTo(2);
        assertThat(new int[] {pool.allocate(), pool.allocate()}).contains(c).doesNotContain(a, b);
        assertThat(pool.numCached()).isEqualTo(2);
        assertThat(pool.allocate()).isEqualTo(b);
        assertThat(pool.find(2, 2, TOKENS, 2)).isEqualTo(BlockPool.NONE);
        assertThat(pool.find(1, 1, TOKENS, 0)).isEqualTo(a);
        assertThat(pool.allocate()).isEqualTo(a);
        assertThatThrownBy(pool::allocate).isInstanceOf(IllegalStateException.class);
        pool.checkIntegrity(new int[] {1, 1, 1, 1});
    }

    @Test
    void cachedBlockIsTakenOutOfTheMiddleOfTheQueue() {
        int[] blocks = {pool.allocate(), pool.allocate(), pool.allocate(), pool.allocate()};
        for (int i = 0; i < 4; i++) {
            pool.publish(blocks[i], i, i, TOKENS, 2 * i);
        }
        for (int block : blocks) {
            pool.release(block);
        }
        pool.retain(blocks[2]);
        pool.retain(blocks[2]);
        assertThat(pool.numUnused()).isEqualTo(3);
        pool.release(blocks[2]);
        assertThat(pool.numUnused()).isEqualTo(3);
        pool.release(blocks[2]);
        pool.checkIntegrity(new int[4]);
        assertThat(new int[] {pool.allocate(), pool.allocate(), pool.allocate(), pool.allocate()})
                .containsExactly(blocks[0], blocks[1], blocks[3], blocks[2]);
    }

    @Test
    void equalHashOfOtherTokensIsNotFound() {
        int block = pool.allocate();
        pool.publish(block, 5, 5, TOKENS, 0);
        assertThat(pool.find(5, 5, TOKENS, 0)).isEqualTo(block);
        assertThat(pool.find(5, 5, TOKENS, 2)).isEqualTo(BlockPool.NONE);
        assertThat(pool.find(6, 5, TOKENS, 0)).isEqualTo(BlockPool.NONE);
    }

    @Test
    void twinOfAPublishedBlockStaysPrivate() {
        int first = pool.allocate();
        int twin = pool.allocate();
        pool.publish(first, 5, 5, TOKENS, 0);
        pool.publish(twin, 5, 5, TOKENS, 0);
        pool.release(twin);
        assertThat(pool.numCached()).isZero();
        pool.release(first);
        assertThat(pool.numCached()).isEqualTo(1);
        pool.checkIntegrity(new int[4]);
    }

    @Test
    void blocksInOneChainOfTheHashTableAreForgottenOneByOne() {
        for (int i = 0; i < 4; i++) {
            pool.publish(pool.allocate(), i, 64, TOKENS, 2 * i);
        }
        for (int gone : new int[] {2, 0, 3, 1}) {
            pool.unpublish(pool.find(gone, 64, TOKENS, 2 * gone));
            assertThat(pool.find(gone, 64, TOKENS, 2 * gone)).isEqualTo(BlockPool.NONE);
            pool.checkIntegrity(new int[] {1, 1, 1, 1});
        }
    }

    @Test
    void forgettingCachedBlocksSparesThoseInUse() {
        int used = pool.allocate();
        int cached = pool.allocate();
        pool.publish(used, 1, 1, TOKENS, 0);
        pool.publish(cached, 2, 2, TOKENS, 2);
        pool.release(cached);
        pool.forgetCached();
        assertThat(pool.numCached()).isZero();
        assertThat(pool.numUnused()).isEqualTo(3);
        assertThat(pool.find(1, 1, TOKENS, 0)).isEqualTo(used);
        assertThat(pool.find(2, 2, TOKENS, 2)).isEqualTo(BlockPool.NONE);
        pool.checkIntegrity(new int[] {1, 0, 0, 0});
    }

    @Test
    void aBlockThatNobodyAccountsForIsNamed() {
        int leaked = pool.allocate();
        assertThatThrownBy(() -> pool.checkIntegrity(new int[4]))
                .isInstanceOf(IllegalStateException.class)
                .hasMessageContaining(leaked + " has 1 users, but is in 0 tables");
        pool.release(leaked);
        assertThatThrownBy(() -> pool.release(leaked)).hasMessageContaining("nobody uses it");
    }
}
