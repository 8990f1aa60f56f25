package dev.baton.tensor.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.baton.tensor.TensorException;
import java.util.Set;
import java.util.concurrent.BrokenBarrierException;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicIntegerArray;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

@Timeout(60)
class RankThreadsTest {
    @ParameterizedTest
    @ValueSource(ints = {1, 2, 4})
    void ranksWorkAtTheSameTimeAndEachOnItsOwnThread(int ranks) {
        CyclicBarrier meeting = new CyclicBarrier(ranks);
        Set<Thread> threads = ConcurrentHashMap.newKeySet();
        AtomicIntegerArray rounds = new AtomicIntegerArray(ranks);
        try (RankThreads all = new RankThreads(ranks, () -> {})) {
            for (int round = 0; round < 200; round++) {
                all.run(rank -> {
                    meet(meeting);
                    threads.add(Thread.currentThread());
                    rounds.incrementAndGet(rank);
                });
            }
        }
        assertThat(threads).hasSize(ranks).contains(Thread.currentThread());
        for (int rank = 0; rank < ranks; rank++) {
            assertThat(rounds.get(rank)).isEqualTo(200);
        }
    }

    private static void meet(CyclicBarrier meeting) {
        try {
            meeting.await();
        } catch (InterruptedException | BrokenBarrierException e) {
            throw new IllegalStateException(e);
        }
    }

    @Test
    void threadThatSleptWorksAgain() throws InterruptedException {
        AtomicInteger sum = new AtomicInteger();
        try (RankThreads all = new RankThreads(3, () -> {})) {
            all.run(sum::addAndGet);
            Thread.sleep(20); // longer than they stay awake
            all.run(sum::addAndGet);
        }
        assertThat(sum).hasValue(6);
    }

    @ParameterizedTest
    @ValueSource(ints = {0, 1})
    void failureOfOneReleasesTheOthersAndIsThrown(int failing) {
        CountDownLatch released = new CountDownLatch(1);
        try (RankThreads all = new RankThreads(2, released::countDown)) {
            assertThatThrownBy(() -> all.run(rank -> {
                        if (rank == failing) {
                            throw new TensorException("rank " + rank + " has failed");
                        }
                        waitFor(released);
                    }))
                    .isInstanceOf(TensorException.class)
                    .hasMessage("rank " + failing + " has failed");
        }
    }

    @Test
    void failureThatCameFirstIsThrownWithThoseBehindItThatFollowedFromIt() {
        CountDownLatch released = new CountDownLatch(1);
        try (RankThreads all = new RankThreads(2, released::countDown)) {
            assertThatThrownBy(() -> all.run(rank -> {
                        if (rank == 0) {
                            waitFor(released);
                            throw new TensorException("was ended");
                        }
                        throw new TensorException("the reason");
                    }))
                    .hasMessage("the reason")
                    .satisfies(thrown -> assertThat(thrown.getSuppressed())
                            .extracting(Throwable::getMessage)
                            .containsExactly("was ended"));
        }
    }

    private static void waitFor(CountDownLatch latch) {
        try {
            latch.await();
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    @Test
    void nothingRunsAfterTheEnd() {
        RankThreads all = new RankThreads(2, () -> {});
        all.close();
        assertThatThrownBy(() -> all.run(_ -> {})).isInstanceOf(TensorException.class);
    }
}
