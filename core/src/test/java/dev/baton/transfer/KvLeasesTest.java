package dev.baton.transfer;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.baton.transfer.KvEvent.LeaseExpired;
import dev.baton.transfer.KvEvent.LeaseReleased;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// The life of leases by a clock that the test winds.
class KvLeasesTest {
    private static final Runnable NO_FENCE = () -> {};

    /// Near overflow, where a comparison of absolute times would go wrong.
    private final AtomicLong clock = new AtomicLong(Long.MAX_VALUE - 5_000_000_000L);

    private final List<KvEvent> events = new CopyOnWriteArrayList<>();
    private final KvLeases leases =
            new KvLeases(Duration.ofSeconds(30), Duration.ofSeconds(20), clock::get, events::add);

    private KvLease register(String requestId) {
        return leases.register(requestId, new int[] {3, 1}, 20).orElseThrow();
    }

    private void pass(long seconds) {
        clock.addAndGet(seconds * 1_000_000_000L);
        leases.expireDue();
    }

    @Test
    void leaseExpiresAtItsDeadlineAndNotBefore() {
        register("r");
        pass(29);
        assertThat(events).isEmpty();
        pass(1);
        assertThat(events).containsExactly(new LeaseExpired("r"));
        assertThat(leases.size()).isZero();
        assertThat(leases.numExpired()).isEqualTo(1);
    }

    @Test
    void heartbeatPutsTheDeadlineOffAndNeverBringsItNearer() {
        String handle = register("r").handle();
        assertThat(leases.renew(handle)).isTrue(); // 20 s from now are less than the 30 s it has
        pass(25);
        assertThat(events).isEmpty();
        assertThat(leases.renew(handle)).isTrue();
        pass(19);
        assertThat(events).isEmpty();
        pass(1);
        assertThat(events).containsExactly(new LeaseExpired("r"));
        assertThat(leases.renew(handle)).isFalse();
    }

    @Test
    void renewalComesTooLateAfterTheDeadlineEvenIfTheTimerDidNotRun() {
        String handle = register("r").handle();
        clock.addAndGet(Duration.ofSeconds(30).toNanos());
        assertThat(leases.renew(handle)).isFalse();
    }

    @Test
    void nothingIsReadAfterTheDeadlineEvenIfTheTimerDidNotRun() {
        KvLease lease = register("r");
        clock.addAndGet(Duration.ofSeconds(30).toNanos());
        assertThat(leases.beginRead(lease, NO_FENCE)).isFalse();
        assertThat(events).containsExactly(new LeaseExpired("r"));
    }

    @Test
    void releasedLeaseIsReportedOnce() {
        KvLease lease = register("r");
        leases.release(lease.handle());
        leases.release(lease.handle());
        leases.drop("r");
        pass(60);
        assertThat(events).containsExactly(new LeaseReleased("r"));
        assertThat(leases.ended(lease.handle())).contains(KvLease.Outcome.RELEASED);
    }

    @Test
    void readerIsFencedBeforeTheEndIsReported() {
        KvLease lease = register("r");
        AtomicBoolean fenced = new AtomicBoolean();
        Runnable fence = () -> {
            assertThat(events).isEmpty();
            fenced.set(true);
        };
        assertThat(leases.beginRead(lease, fence)).isTrue();
        pass(30);
        assertThat(fenced).isTrue();
        assertThat(events).isEmpty();
        assertThat(leases.size()).isEqualTo(1);
        assertThat(leases.beginRead(lease, NO_FENCE)).isFalse();
        lease.endRead(fence);
        assertThat(events).containsExactly(new LeaseExpired("r"));
    }

    @Test
    void endIsReportedWhenTheLastOfSeveralReadersHasStopped() {
        KvLease lease = register("r");
        Runnable first = () -> {};
        Runnable second = new Thread()::interrupt;
        leases.beginRead(lease, first);
        leases.beginRead(lease, second);
        leases.drop("r");
        lease.endRead(first);
        assertThat(events).isEmpty();
        lease.endRead(second);
        assertThat(events).containsExactly(new LeaseReleased("r"));
        assertThatThrownBy(() -> lease.endRead(second)).isInstanceOf(TransferException.class);
    }

    @Test
    void readerThatHasFinishedIsNotFenced() {
        KvLease lease = register("r");
        AtomicBoolean fenced = new AtomicBoolean();
        Runnable fence = () -> fenced.set(true);
        leases.beginRead(lease, fence);
        lease.endRead(fence);
        leases.drop("r");
        assertThat(fenced).isFalse();
    }

    /// The release may come by another connection, before the word that the copy is done.
    @Test
    void decoderThatCopiesByItselfIsNotFencedByItsOwnRelease() {
        KvLease lease = register("r");
        AtomicInteger fenced = new AtomicInteger();
        Runnable fence = fenced::incrementAndGet;
        assertThat(leases.beginLend(lease, fence)).isTrue();
        leases.release(lease.handle());
        assertThat(leases.beginRead(lease, NO_FENCE)).isFalse();
        assertThat(leases.beginLend(lease, NO_FENCE)).isFalse();
        assertThat(leases.renew(lease.handle())).isFalse();
        pass(29);
        assertThat(fenced).hasValue(0);
        assertThat(events).isEmpty();
        assertThat(leases.size()).isEqualTo(1);
        lease.endRead(fence);
        assertThat(events).containsExactly(new LeaseReleased("r"));
        assertThat(fenced).hasValue(0);
    }

    @Test
    void decoderThatCopiesByItselfIsFencedByTheDeadlineAndByTheEngineAlsoAfterItsRelease() {
        for (boolean byEngine : new boolean[] {false, true}) {
            KvLease lease = register("r");
            AtomicInteger fenced = new AtomicInteger();
            Runnable fence = fenced::incrementAndGet;
            leases.beginLend(lease, fence);
            leases.release(lease.handle());
            assertThat(leases.expireDue()).as("the deadline stays").isEqualTo(30_000_000_000L);
            if (byEngine) {
                leases.drop("r");
            } else {
                pass(30);
            }
            assertThat(fenced).hasValue(1);
            pass(60);
            leases.drop("r");
            assertThat(fenced).as("once").hasValue(1);
            assertThat(leases.expireDue()).isEqualTo(Long.MAX_VALUE);
            assertThat(events).isEmpty();
            lease.endRead(fence);
            assertThat(events).containsExactly(new LeaseReleased("r"));
            events.clear();
        }
        assertThat(leases.numExpired()).isZero();
    }

    @Test
    void readersAreFencedOnceEachWhateverEndsTheLease() {
        KvLease lease = register("r");
        AtomicInteger reader = new AtomicInteger();
        AtomicInteger decoder = new AtomicInteger();
        Runnable readerFence = reader::incrementAndGet;
        Runnable decoderFence = decoder::incrementAndGet;
        leases.beginRead(lease, readerFence);
        leases.beginLend(lease, decoderFence);
        leases.release(lease.handle());
        assertThat(reader).hasValue(1);
        assertThat(decoder).hasValue(0);
        leases.abandon(lease.handle());
        assertThat(reader).hasValue(1);
        assertThat(decoder).hasValue(1);
        lease.endRead(readerFence);
        assertThat(events).isEmpty();
        lease.endRead(decoderFence);
        assertThat(events).containsExactly(new LeaseReleased("r"));
    }

    @Test
    void requestIsHeldOnceAtATimeAndUnderANewHandleEachTime() {
        KvLease first = register("r");
        assertThat(leases.register("r", new int[] {1}, 4)).isEmpty();
        leases.drop("r");
        KvLease second = register("r");
        assertThat(second.handle()).isNotEqualTo(first.handle());
        leases.release(first.handle());
        assertThat(leases.size()).isEqualTo(1);
    }

    @Test
    void expireDueSaysWhenToLookAgain() {
        assertThat(leases.expireDue()).isEqualTo(Long.MAX_VALUE);
        register("a");
        clock.addAndGet(Duration.ofSeconds(10).toNanos());
        register("b");
        assertThat(leases.expireDue()).isEqualTo(Duration.ofSeconds(20).toNanos());
    }

    @ParameterizedTest
    @ValueSource(longs = {1, 2, 3, 4, 5})
    void whateverHappensConcurrentlyEachLeaseEndsOnceAndNobodyReadsAfterwards(long seed) throws InterruptedException {
        int count = 300;
        Map<String, AtomicInteger> reading = new HashMap<>();
        Set<String> violations = ConcurrentHashMap.newKeySet();
        Map<String, AtomicInteger> ends = new HashMap<>();
        KvLeases raced = new KvLeases(Duration.ofSeconds(30), Duration.ofSeconds(20), clock::get, event -> {
            ends.get(event.requestId()).incrementAndGet();
            if (reading.get(event.requestId()).get() != 0) {
                violations.add(event.requestId() + " ended while it was read");
            }
        });
        List<KvLease> all = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            reading.put("r" + i, new AtomicInteger());
            ends.put("r" + i, new AtomicInteger());
            all.add(raced.register("r" + i, new int[] {i}, 1).orElseThrow());
        }
        CountDownLatch start = new CountDownLatch(1);
        List<Thread> threads = new ArrayList<>();
        for (int t = 0; t < 4; t++) {
            Random random = new Random(seed * 31 + t);
            threads.add(Thread.ofPlatform().start(() -> {
                awaitQuietly(start);
                for (int i = 0; i < 20_000; i++) {
                    KvLease lease = all.get(random.nextInt(count));
                    switch (random.nextInt(40)) {
                        case 0 -> raced.release(lease.handle());
                        case 1 -> raced.drop(lease.requestId());
                        case 2 -> {
                            clock.addAndGet(10_000_000L);
                            raced.expireDue();
                        }
                        case 3, 4, 5 -> raced.renew(lease.handle());
                        default -> {
                            Runnable fence = new Object()::hashCode;
                            if (random.nextBoolean() ? raced.beginRead(lease, fence) : raced.beginLend(lease, fence)) {
                                reading.get(lease.requestId()).incrementAndGet();
                                if (ends.get(lease.requestId()).get() != 0) {
                                    violations.add(lease.requestId() + " was read after its end");
                                }
                                reading.get(lease.requestId()).decrementAndGet();
                                lease.endRead(fence);
                            }
                        }
                    }
                }
            }));
        }
        start.countDown();
        for (Thread thread : threads) {
            thread.join();
        }
        raced.expireAll();
        assertThat(violations).isEmpty();
        assertThat(ends.values()).allMatch(times -> times.get() == 1);
        assertThat(raced.size()).isZero();
    }

    private static void awaitQuietly(CountDownLatch latch) {
        try {
            latch.await();
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }
}
