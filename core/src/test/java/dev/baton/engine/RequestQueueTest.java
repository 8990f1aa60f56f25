package dev.baton.engine;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.kvcache.KvCacheManager;
import dev.baton.kvcache.KvCacheSpec;
import dev.baton.transfer.KvTransferParams;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class RequestQueueTest {
    private static final KvCacheManager CACHE =
            new KvCacheManager(new KvCacheSpec("m", "float32", 4, 1, 1, 2, 4, 8), true, 1);

    private static Request request(String id, int priority, String tenant) {
        return new Request(
                new EngineRequest(id, new int[] {1}, SamplingParams.greedy(1), priority, tenant, KvTransferParams.NONE),
                ignored -> {},
                CACHE.newTable(),
                0,
                new int[0]);
    }

    private static List<String> drain(RequestQueue queue) {
        List<String> order = new ArrayList<>();
        for (Request next = queue.peek(); next != null; next = queue.peek()) {
            order.add(next.id);
            queue.remove(next, true);
        }
        assertThat(queue.size()).isZero();
        return order;
    }

    @ParameterizedTest
    @EnumSource(SchedulingPolicy.class)
    void oneTenantIsServedInTheOrderOfArrival(SchedulingPolicy policy) {
        RequestQueue queue = RequestQueue.of(policy);
        assertThat(queue.peek()).isNull();
        for (int i = 0; i < 5; i++) {
            queue.add(request("r" + i, 0, ""));
        }
        assertThat(queue.size()).isEqualTo(5);
        assertThat(drain(queue)).containsExactly("r0", "r1", "r2", "r3", "r4");
    }

    @ParameterizedTest
    @EnumSource(SchedulingPolicy.class)
    void tenantsTakeTurnsHoweverLongTheQueueOfOneIs(SchedulingPolicy policy) {
        RequestQueue queue = RequestQueue.of(policy);
        for (int i = 0; i < 4; i++) {
            queue.add(request("a" + i, 0, "a"));
        }
        queue.add(request("b0", 0, "b"));
        queue.add(request("b1", 0, "b"));
        queue.add(request("none", 0, EngineRequest.NO_TENANT));
        assertThat(drain(queue)).containsExactly("a0", "b0", "none", "a1", "b1", "a2", "a3");
    }

    @Test
    void tenantKeepsItsTurnWhenOneOfItsRequestsGivesUp() {
        RequestQueue queue = RequestQueue.of(SchedulingPolicy.FCFS);
        Request a0 = request("a0", 0, "a");
        Request a1 = request("a1", 0, "a");
        Request b0 = request("b0", 0, "b");
        queue.add(a0);
        queue.add(b0);
        queue.add(a1);
        queue.remove(a0, false);
        assertThat(queue.peek()).isSameAs(a1);
        queue.remove(a0, false); // gone already
        assertThat(queue.size()).isEqualTo(2);
        assertThat(drain(queue)).containsExactly("a1", "b0");
    }

    @ParameterizedTest
    @EnumSource(SchedulingPolicy.class)
    void whoLostItsTurnComesFirstTheOldestBeforeTheYounger(SchedulingPolicy policy) {
        RequestQueue queue = RequestQueue.of(policy);
        queue.add(request("new", 0, ""));
        Request gone = request("gone", 0, "");
        queue.putBack(request("young", 0, ""));
        queue.putBack(gone);
        queue.putBack(request("old", 0, "other"));
        queue.remove(gone, false);
        assertThat(drain(queue)).containsExactly("old", "young", "new");
    }

    @Test
    void lowerPriorityNumbersComeFirstAndOnlyUnderThatPolicy() {
        for (SchedulingPolicy policy : SchedulingPolicy.values()) {
            RequestQueue queue = RequestQueue.of(policy);
            queue.add(request("late", 5, ""));
            queue.add(request("urgent", -3, "x"));
            queue.add(request("normal", 0, "y"));
            queue.add(request("urgent too", -3, "z"));
            queue.putBack(request("late, back", 5, ""));
            assertThat(drain(queue))
                    .isEqualTo(
                            policy == SchedulingPolicy.PRIORITY
                                    ? List.of("urgent", "urgent too", "normal", "late, back", "late")
                                    : List.of("late, back", "late", "urgent", "normal", "urgent too"));
        }
    }

    @ParameterizedTest
    @EnumSource(SchedulingPolicy.class)
    @Timeout(value = 30, unit = TimeUnit.SECONDS)
    void givingUpDoesNotDependOnTheLengthOfTheQueue(SchedulingPolicy policy) {
        RequestQueue queue = RequestQueue.of(policy);
        Random random = new Random(1);
        List<Request> all = new ArrayList<>();
        // Searched from the front, this many would take minutes.
        for (int i = 0; i < 200_000; i++) {
            Request request = request("r" + i, random.nextInt(3), "t" + random.nextInt(3));
            all.add(request);
            if (random.nextInt(10) == 0) {
                queue.putBack(request);
            } else {
                queue.add(request);
            }
        }
        Collections.shuffle(all, random);
        for (Request request : all) {
            queue.remove(request, false);
        }
        assertThat(queue.size()).isZero();
        assertThat(queue.peek()).isNull();
    }

    @ParameterizedTest
    @EnumSource(SchedulingPolicy.class)
    void clearedQueueIsEmpty(SchedulingPolicy policy) {
        RequestQueue queue = RequestQueue.of(policy);
        queue.add(request("a", 0, ""));
        queue.putBack(request("b", 1, ""));
        queue.clear();
        assertThat(queue.size()).isZero();
        assertThat(queue.peek()).isNull();
    }
}
