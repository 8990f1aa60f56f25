package dev.baton.tensor.cpu;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.time.Duration;
import java.util.Random;
import java.util.concurrent.atomic.AtomicIntegerArray;
import java.util.concurrent.locks.LockSupport;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class WorkerPoolTest {
    @ParameterizedTest
    @ValueSource(ints = {1, 2, 3, 8})
    void everyItemRunsOnceAndBeforeTheLoopReturns(int threads) {
        Random random = new Random(3);
        try (WorkerPool pool = new WorkerPool(threads)) {
            for (int round = 0; round < 3000; round++) {
                int items = random.nextInt(40);
                AtomicIntegerArray runs = new AtomicIntegerArray(40);
                pool.forEach(items, (item, worker) -> {
                    assertThat(worker).isBetween(0, threads - 1);
                    runs.incrementAndGet(item);
                });
                for (int i = 0; i < 40; i++) {
                    assertThat(runs.get(i))
                            .as("round %d, item %d of %d", round, i, items)
                            .isEqualTo(i < items ? 1 : 0);
                }
                if (round % 100 == 0) {
                    LockSupport.parkNanos(Duration.ofMillis(1).toNanos()); // long enough that the workers park
                }
            }
        }
    }

    @Test
    void failureOfAnItemReachesTheCallerAndThePoolGoesOn() {
        try (WorkerPool pool = new WorkerPool(2)) {
            assertThatThrownBy(() -> pool.forEach(8, (item, worker) -> {
                        if (item == 5) {
                            throw new IllegalArgumentException("item 5");
                        }
                    }))
                    .rootCause()
                    .hasMessage("item 5");
            AtomicIntegerArray runs = new AtomicIntegerArray(8);
            pool.forEach(8, (item, worker) -> runs.incrementAndGet(item));
            for (int i = 0; i < 8; i++) {
                assertThat(runs.get(i)).isEqualTo(1);
            }
        }
    }

    @Test
    void threadsAreNamedAndEndWithThePool() {
        WorkerPool pool = new WorkerPool(3);
        assertThat(namesOf("baton-cpu-2")).isPositive();
        long before = namesOf("baton-cpu-2");
        pool.close();
        Awaitility.await().atMost(Duration.ofSeconds(10)).until(() -> namesOf("baton-cpu-2") == before - 1);
    }

    private static long namesOf(String name) {
        return Thread.getAllStackTraces().keySet().stream()
                .filter(thread -> thread.getName().equals(name))
                .count();
    }
}
