package dev.baton.transfer.mooncakestore;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.baton.tensor.DType;
import dev.baton.tensor.PagedKv;
import dev.baton.transfer.mooncake.VllmLayout;
import dev.baton.transfer.store.BlockStore;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import java.util.concurrent.Semaphore;
import java.util.function.IntConsumer;
import java.util.stream.IntStream;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

@Timeout(60)
class MooncakeStoreTest {
    private static final int BLOCKS = 40;
    private static final int BLOCK_TOKENS = 4;
    private static final int[] TOKENS =
            new Random(1).ints(BLOCKS * BLOCK_TOKENS, 0, 1000).toArray();

    private final MemoryObjects objects = new MemoryObjects();
    private final PagedKv from = pool();
    private final PagedKv to = pool();

    private static PagedKv pool() {
        return new PagedKv(BLOCKS, 2, 3, BLOCK_TOKENS, 8, DType.BF16);
    }

    MooncakeStoreTest() {
        byte[] noise = new byte[(int) from.segment().byteSize()];
        new Random(2).nextBytes(noise);
        from.segment().copyFrom(MemorySegment.ofArray(noise));
    }

    @AfterEach
    void everyClientIsClosed() {
        from.close();
        to.close();
        assertThat(objects.closed).hasValue(objects.opened.get());
    }

    private MooncakeStore store(PagedKv pool, Optional<VllmLayout> layout, long model, long stagingBytes) {
        return new MooncakeStore(objects, pool, layout, "m", VllmNames.root("0"), model, 2, stagingBytes);
    }

    private MooncakeStore own(PagedKv pool) {
        return store(pool, Optional.empty(), 7, 1 << 20);
    }

    private MooncakeStore shared(PagedKv pool) {
        return store(pool, Optional.of(VllmLayout.INTERLEAVED), 7, 1 << 20);
    }

    /// Blocks in order, until there are enough.
    private static final class Some implements BlockStore.Blocks {
        private final int limit;
        int visited;

        Some(int limit) {
            this.limit = limit;
        }

        @Override
        public boolean visit(int index, IntConsumer copy) {
            if (visited == limit) {
                return false;
            }
            copy.accept(index);
            visited++;
            return true;
        }
    }

    private static int save(MooncakeStore store, int numTokens) throws IOException {
        Some all = new Some(BLOCKS);
        store.save(store.names(TOKENS, numTokens), all);
        return all.visited;
    }

    private int load(MooncakeStore store) throws IOException {
        Some all = new Some(BLOCKS);
        store.load(store.names(TOKENS, TOKENS.length), all);
        for (int i = 0; i < all.visited; i++) {
            assertThat(to.block(i).mismatch(from.block(i))).isEqualTo(-1);
        }
        return all.visited;
    }

    @ParameterizedTest
    @CsvSource({", 1000000", ", 1", ", 3000", "INTERLEAVED, 1000000", "INTERLEAVED, 1", "CPU, 3000"})
    void blocksComeBackAsTheyWere(VllmLayout layout, long stagingBytes) throws IOException {
        Optional<VllmLayout> shape = Optional.ofNullable(layout);
        try (MooncakeStore writer = store(from, shape, 7, stagingBytes);
                MooncakeStore reader = store(to, shape, 7, stagingBytes)) {
            assertThat(load(reader)).isZero();
            assertThat(save(writer, 9 * BLOCK_TOKENS + 1)).isEqualTo(9);
            assertThat(load(reader)).isEqualTo(9);
            assertThat(save(writer, TOKENS.length))
                    .as("those that are there are not read")
                    .isEqualTo(BLOCKS - 9);
            assertThat(load(reader)).isEqualTo(BLOCKS);
            assertThat(writer.bytesSaved()).isEqualTo(BLOCKS * from.blockBytes());
            assertThat(reader.numBadBlocks()).isZero();
        }
    }

    @Test
    void valueForVllmHasTheLayersOneBehindTheOther() throws IOException {
        try (MooncakeStore writer = shared(from)) {
            save(writer, TOKENS.length);
            byte[] value =
                    objects.values.get(writer.names(TOKENS, TOKENS.length).get(3));
            assertThat(value).hasSize((int) from.blockBytes());
            long layerBytes = VllmLayout.imageBytes(from);
            byte[] image = new byte[(int) layerBytes];
            for (int layer = 0; layer < from.layers(); layer++) {
                MemorySegment expected = java.lang.foreign.Arena.ofAuto().allocate(layerBytes);
                VllmLayout.INTERLEAVED.toImage(from, 3, layer, expected);
                System.arraycopy(value, (int) (layer * layerBytes), image, 0, image.length);
                assertThat(image).isEqualTo(expected.toArray(ValueLayout.JAVA_BYTE));
            }
        }
    }

    @ParameterizedTest
    @CsvSource({
        "false, flip",
        "false, short",
        "false, long",
        "false, swap",
        "true, flip",
        "true, short",
        "true, long",
        "true, swap",
        "true, sum",
        "true, longSum"
    })
    void valueThatIsNotWhatItShouldBeEndsThePrefix(boolean isShared, String damage) throws IOException {
        try (MooncakeStore writer = isShared ? shared(from) : own(from);
                MooncakeStore reader = isShared ? shared(to) : own(to)) {
            save(writer, TOKENS.length);
            List<String> names = writer.names(TOKENS, TOKENS.length);
            String key = names.get(5);
            byte[] value = objects.values.get(key);
            switch (damage) {
                case "flip" -> value[17] ^= 1;
                case "short" -> objects.values.put(key, java.util.Arrays.copyOf(value, value.length - 1));
                case "long" -> objects.values.put(key, java.util.Arrays.copyOf(value, value.length + 1));
                case "swap" -> objects.values.put(key, objects.values.get(names.get(6)));
                case "sum" -> objects.values.get(key + "@baton")[0] ^= 1;
                case "longSum" -> objects.values.put(key + "@baton", new byte[25]);
                default -> throw new AssertionError(damage);
            }
            assertThat(load(reader)).isEqualTo(5);
            assertThat(reader.numBadBlocks()).isEqualTo(1);
        }
    }

    @Test
    void valuesOfAnotherModelAreNotUsed() throws IOException {
        try (MooncakeStore writer = store(from, Optional.of(VllmLayout.CPU), 8, 1 << 20);
                MooncakeStore reader = store(to, Optional.of(VllmLayout.CPU), 7, 1 << 20)) {
            save(writer, TOKENS.length);
            assertThat(load(reader)).isZero();
            assertThat(reader.numBadBlocks()).isEqualTo(1);
        }
    }

    @Test
    void valuesOfVllmHaveNoChecksumAndAreUsed() throws IOException {
        try (MooncakeStore writer = shared(from);
                MooncakeStore reader = shared(to)) {
            save(writer, TOKENS.length);
            objects.values.keySet().removeIf(key -> key.endsWith("@baton"));
            assertThat(objects.values).hasSize(BLOCKS);
            assertThat(load(reader)).isEqualTo(BLOCKS);
        }
    }

    @Test
    void loadThatIsOverAndASaveWhoseBlocksAreGoneStop() throws IOException {
        try (MooncakeStore writer = own(from);
                MooncakeStore reader = own(to)) {
            writer.save(writer.names(TOKENS, TOKENS.length), new Some(11));
            assertThat(load(reader)).isEqualTo(11);
            Some some = new Some(4);
            reader.load(reader.names(TOKENS, TOKENS.length), some);
            assertThat(some.visited).isEqualTo(4);
            assertThat(to.block(5).mismatch(from.block(5))).isEqualTo(-1); // of the first load
        }
    }

    @Test
    void fullClusterIsSaidAndIsNoReasonToLeaveItAlone() throws IOException {
        try (MooncakeStore store = own(from)) {
            save(store, 4 * BLOCK_TOKENS);
            objects.result = StoreErrors.NO_AVAILABLE_HANDLE;
            assertThatThrownBy(() -> save(store, TOKENS.length))
                    .isInstanceOf(IOException.class)
                    .hasMessageContaining("no room");
            objects.result = 0;
            assertThat(save(store, TOKENS.length)).isEqualTo(BLOCKS - 4);
            assertThat(objects.opened).hasValue(1);
        }
    }

    @Test
    void clusterThatFailsIsLeftAloneAndThenTriedAnew() throws IOException {
        try (MooncakeStore writer = own(from);
                MooncakeStore reader = own(to)) {
            save(writer, TOKENS.length);
            assertThat(load(reader)).isEqualTo(BLOCKS);
            objects.result = -900; // the master does not answer
            assertThatThrownBy(() -> load(reader))
                    .isInstanceOf(IOException.class)
                    .hasMessageContaining("the master cannot be reached");
            assertThat(objects.closed).hasValue(1);
            objects.result = 0;
            assertThatThrownBy(() -> load(reader))
                    .isInstanceOf(IOException.class)
                    .hasMessageContaining("left alone for 1 s")
                    .hasMessageContaining("the master cannot be reached");
            Awaitility.await()
                    .atMost(Duration.ofSeconds(10))
                    .ignoreExceptionsInstanceOf(IOException.class)
                    .until(() -> load(reader) == BLOCKS);
            assertThat(objects.opened).hasValue(3);
        }
    }

    @Test
    void clusterThatIsNotThereAtTheStartIsFoundLater() throws IOException {
        objects.result = -1000;
        try (MooncakeStore store = own(from)) {
            assertThatThrownBy(store::connect).isInstanceOf(IOException.class).hasMessage("nobody answers");
            objects.result = 0;
            Awaitility.await()
                    .atMost(Duration.ofSeconds(10))
                    .ignoreExceptionsInstanceOf(IOException.class)
                    .until(() -> save(store, TOKENS.length) == BLOCKS);
        }
    }

    @Test
    void closingEndsCallsUnderWay() throws Exception {
        MooncakeStore store = own(from);
        store.connect();
        objects.gate = new Semaphore(0);
        List<Throwable> thrown = new ArrayList<>();
        List<Thread> threads = IntStream.range(0, 2)
                .mapToObj(_ -> Thread.ofPlatform().start(() -> {
                    try {
                        save(store, TOKENS.length);
                    } catch (IOException e) {
                        synchronized (thrown) {
                            thrown.add(e);
                        }
                    }
                }))
                .toList();
        Thread.sleep(50);
        assertThat(objects.closed).hasValue(0);
        store.close();
        for (Thread thread : threads) {
            thread.join();
        }
        assertThat(thrown).hasSize(2);
        assertThatThrownBy(() -> load(store)).hasMessageContaining("closed");
    }
}
