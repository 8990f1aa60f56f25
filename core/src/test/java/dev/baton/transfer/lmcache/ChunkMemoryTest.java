package dev.baton.transfer.lmcache;

import static org.assertj.core.api.Assertions.assertThat;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

@Timeout(value = 60, unit = TimeUnit.SECONDS)
class ChunkMemoryTest {
    private static final int PAGE = ChunkMemory.PAGE_BYTES;

    private static ChunkHead head(int bytes) {
        return new ChunkHead(bytes, 1, 4, 2, 1, 1, 1);
    }

    private static boolean put(ChunkMemory memory, String key, int bytes, int fill) {
        Optional<ChunkMemory.Chunk> chunk = memory.reserve(key, head(bytes));
        chunk.ifPresent(it -> {
            memory.pieces(it).forEach(piece -> piece.fill((byte) fill));
            memory.publish(it);
        });
        return chunk.isPresent();
    }

    private static boolean holds(ChunkMemory memory, ChunkMemory.Chunk chunk, int bytes, int fill) {
        long length = 0;
        boolean equal = true;
        for (MemorySegment piece : memory.pieces(chunk)) {
            length += piece.byteSize();
            equal &= piece.get(ValueLayout.JAVA_BYTE, 0) == (byte) fill
                    && piece.get(ValueLayout.JAVA_BYTE, piece.byteSize() - 1) == (byte) fill;
        }
        return equal && length == bytes;
    }

    @Test
    void theOneNotUsedForLongestGoesFirst() {
        try (ChunkMemory memory = new ChunkMemory(3 * PAGE)) {
            for (String key : List.of("a", "b", "c")) {
                assertThat(put(memory, key, PAGE, 1)).isTrue();
            }
            memory.release(memory.acquire("a").orElseThrow());
            assertThat(put(memory, "d", PAGE - 1, 1)).isTrue();
            assertThat(memory.contains("a")).isTrue();
            assertThat(memory.contains("b")).isFalse();
            memory.touch(List.of("a", "c")); // c goes last
            assertThat(put(memory, "e", 2 * PAGE, 1)).isTrue();
            assertThat(memory.contains("c")).isTrue();
            assertThat(memory.numChunks()).isEqualTo(2);
            assertThat(memory.numEvicted()).isEqualTo(3);
            assertThat(memory.usedBytes()).isEqualTo(3 * PAGE);
        }
    }

    @Test
    void whatIsReadOrTooLongIsNotEvicted() {
        try (ChunkMemory memory = new ChunkMemory(2 * PAGE)) {
            assertThat(put(memory, "a", 2 * PAGE, 7)).isTrue();
            ChunkMemory.Chunk read = memory.acquire("a").orElseThrow();
            assertThat(put(memory, "b", 1, 1)).isFalse();
            assertThat(put(memory, "long", 2 * PAGE + 1, 1)).isFalse();
            assertThat(holds(memory, read, 2 * PAGE, 7)).isTrue();
            memory.release(read);
            assertThat(put(memory, "b", 1, 1)).isTrue();
            assertThat(memory.contains("a")).isFalse();
        }
    }

    @Test
    void replacedOrRemovedChunkStaysReadableUntilItIsReleased() {
        try (ChunkMemory memory = new ChunkMemory(4 * PAGE)) {
            put(memory, "a", PAGE + 1, 1);
            ChunkMemory.Chunk old = memory.acquire("a").orElseThrow();
            put(memory, "a", PAGE, 2);
            assertThat(holds(memory, old, PAGE + 1, 1)).isTrue();
            memory.release(old);
            assertThat(memory.usedBytes()).isEqualTo(PAGE);
            ChunkMemory.Chunk wrong = memory.acquire("a").orElseThrow();
            memory.remove(wrong);
            memory.remove(wrong);
            assertThat(memory.contains("a")).isFalse();
            memory.release(wrong);
            ChunkMemory.Chunk begun = memory.reserve("b", head(PAGE)).orElseThrow();
            memory.release(begun); // its writer failed
            assertThat(memory.contains("b")).isFalse();
            assertThat(memory.usedBytes()).isZero();
            assertThat(put(memory, "all", 4 * PAGE, 1)).isTrue();
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 2, 3})
    void anySequenceKeepsContentsAndLosesNoPage(int seed) {
        Random random = new Random(seed);
        int pages = random.nextInt(1, 20);
        Map<String, int[]> written = new LinkedHashMap<>(); // length, fill
        try (ChunkMemory memory = new ChunkMemory((long) pages * PAGE)) {
            List<Map.Entry<ChunkMemory.Chunk, int[]>> read = new ArrayList<>();
            for (int i = 0; i < 20_000; i++) {
                String key = "k" + random.nextInt(30);
                switch (random.nextInt(4)) {
                    case 0 -> {
                        int bytes = random.nextInt(4 * PAGE) + 1;
                        if (put(memory, key, bytes, i)) {
                            written.put(key, new int[] {bytes, i});
                        }
                    }
                    case 1 -> memory.acquire(key).ifPresent(chunk -> read.add(Map.entry(chunk, written.get(key))));
                    case 2 -> {
                        if (!read.isEmpty()) {
                            Map.Entry<ChunkMemory.Chunk, int[]> entry = read.remove(random.nextInt(read.size()));
                            int[] expected = entry.getValue();
                            assertThat(holds(memory, entry.getKey(), expected[0], expected[1]))
                                    .isTrue();
                            if (random.nextInt(5) == 0) {
                                memory.remove(entry.getKey());
                            }
                            memory.release(entry.getKey());
                        }
                    }
                    default -> memory.touch(List.of(key));
                }
                assertThat(memory.usedBytes()).isBetween(0L, (long) pages * PAGE);
            }
            read.forEach(entry -> memory.release(entry.getKey()));
            assertThat(put(memory, "all", pages * PAGE, 1)).isTrue();
            assertThat(memory.numChunks()).isEqualTo(1);
        }
    }

    @Test
    void threadsNeverSeeHalfAChunk() throws InterruptedException {
        AtomicInteger torn = new AtomicInteger();
        AtomicInteger hits = new AtomicInteger();
        try (ChunkMemory memory = new ChunkMemory(12 * PAGE)) {
            List<Thread> threads = new ArrayList<>();
            for (int t = 0; t < 4; t++) {
                Random random = new Random(t);
                threads.add(Thread.ofPlatform().start(() -> {
                    for (int i = 0; i < 5_000; i++) {
                        int key = random.nextInt(8);
                        put(memory, "k" + key, 2 * PAGE + key, key);
                        memory.acquire("k" + random.nextInt(8)).ifPresent(chunk -> {
                            int expected = chunk.head().lengthBytes() - 2 * PAGE;
                            hits.incrementAndGet();
                            if (!holds(memory, chunk, 2 * PAGE + expected, expected)) {
                                torn.incrementAndGet();
                            }
                            memory.release(chunk);
                        });
                    }
                }));
            }
            for (Thread thread : threads) {
                thread.join();
            }
        }
        assertThat(torn.get()).isZero();
        assertThat(hits.get()).isPositive();
    }
}
