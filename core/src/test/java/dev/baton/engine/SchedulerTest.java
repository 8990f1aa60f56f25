package dev.baton.engine;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.kvcache.KvCacheManager;
import dev.baton.kvcache.KvCacheSpec;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/// What a step contains, step by step, without a thread or a model.
@Timeout(value = 20, unit = TimeUnit.SECONDS, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class SchedulerTest {
    private static final int BLOCK = 4;
    private static final int ANY_TOKEN = 9;

    private final SchedulerOutput step = new SchedulerOutput(8);
    private final StepOutput output = new StepOutput(8);
    private final ConcurrentHashMap<String, Request> requests = new ConcurrentHashMap<>();

    private KvCacheManager kv = manager(64);
    private Scheduler scheduler = scheduler(64, 4, 16);

    private static KvCacheManager manager(int numBlocks) {
        return new KvCacheManager(new KvCacheSpec("m", "float32", 4, 1, 1, 2, BLOCK, numBlocks), true, 1);
    }

    private Scheduler scheduler(int numBlocks, int maxNumSeqs, int maxNumBatchedTokens) {
        EngineConfig config = EngineConfig.builder("m", 1_000)
                .blockTokens(BLOCK)
                .numBlocks(numBlocks)
                .maxNumSeqs(maxNumSeqs)
                .maxNumBatchedTokens(maxNumBatchedTokens)
                .maxWaiting(100)
                .stepDeadline(Duration.ofSeconds(1))
                .build();
        kv = manager(numBlocks);
        KvTransfers transfers = new KvTransfers(null, new KvCacheSpec("m", "float32", 4, 1, 1, 2, BLOCK, numBlocks));
        return new Scheduler(config, Math.min(1_000, numBlocks * BLOCK), kv, transfers, new EngineCounters(), requests);
    }

    /// @param first its first prompt token, so that prompts share no prefix
    private Request add(String id, int first, int promptTokens, int maxTokens) {
        Request request = submit(id, first, promptTokens, maxTokens);
        scheduler.add(request);
        return request;
    }

    /// A request that is on its way to the scheduler.
    private Request submit(String id, int first, int promptTokens, int maxTokens) {
        int[] prompt = IntStream.range(0, promptTokens).map(i -> first + i).toArray();
        Request request = new Request(
                new EngineRequest(id, prompt, SamplingParams.greedy(maxTokens), Optional.empty()),
                ignored -> {},
                kv.newTable(),
                0,
                new int[0]);
        requests.put(id, request);
        return request;
    }

    /// Makes a step in which every request that samples gets the same token.
    ///
    /// @return for example `a:16 b:1`
    private String step() {
        scheduler.schedule(step);
        String scheduled = String.join(
                " ",
                IntStream.range(0, step.numRequests())
                        .mapToObj(i -> step.request(i).id + ":" + step.numScheduledTokens(i))
                        .toList());
        for (int i = 0; i < step.numRequests(); i++) {
            output.set(i, step.samples(i) ? ANY_TOKEN : StepOutput.NO_TOKEN, List.of());
        }
        scheduler.update(step, output);
        kv.checkIntegrity();
        return scheduled;
    }

    @Test
    void promptsAreCutToTheBudgetAndShareItWithDecodes() {
        add("a", 0, 3, 10);
        add("b", 100, 20, 10);
        assertThat(step()).isEqualTo("a:3 b:13");
        assertThat(step()).isEqualTo("a:1 b:7");
        add("c", 200, 20, 10);
        assertThat(step()).isEqualTo("a:1 b:1 c:14");
        assertThat(step()).isEqualTo("a:1 b:1 c:6");
        assertThat(step()).isEqualTo("a:1 b:1 c:1");
    }

    @Test
    void longPromptNeverStopsTheDecodingOfThoseBehindIt() {
        add("long", 0, 100, 10);
        assertThat(step()).isEqualTo("long:16");
        // Two requests come in behind it, as after loads: they keep one token each.
        scheduler.abort("long");
        add("x", 500, 2, 10);
        add("long", 0, 100, 10);
        add("y", 600, 2, 10);
        assertThat(step()).isEqualTo("x:2 long:14");
        assertThat(step()).isEqualTo("x:1 long:15");
        for (int i = 0; i < 3; i++) {
            step();
        }
        assertThat(step()).startsWith("x:1 long:").endsWith("y:2");
    }

    @Test
    void noMoreThanMaxNumSeqsRun() {
        scheduler = scheduler(64, 2, 16);
        add("a", 0, 3, 1);
        add("b", 100, 3, 3);
        add("c", 200, 3, 3);
        assertThat(step()).isEqualTo("a:3 b:3");
        assertThat(step()).isEqualTo("b:1 c:3");
    }

    @Test
    void requestsAreAdmittedInTheOrderOfTheirArrivalEvenIfALaterOneWouldFit() {
        scheduler = scheduler(8, 4, 64);
        add("a", 0, 20, 2);
        add("b", 100, 20, 2);
        add("c", 200, 4, 2);
        assertThat(step()).isEqualTo("a:20");
        assertThat(step()).isEqualTo("a:1");
        assertThat(step()).isEqualTo("b:20 c:4");
    }

    @Test
    void youngestIsPreemptedAndComesBackFirstWithItsTokens() {
        scheduler = scheduler(8, 4, 64);
        Request old = add("old", 0, 12, 30);
        Request young = add("young", 100, 15, 30);
        add("late", 200, 4, 30);
        assertThat(step()).isEqualTo("old:12 young:15 late:4");
        assertThat(step()).isEqualTo("old:1 young:1");
        assertThat(requests.get("late").status).isEqualTo(Request.Status.PREEMPTED);
        assertThat(step()).isEqualTo("old:1");
        assertThat(young.status).isEqualTo(Request.Status.PREEMPTED);
        assertThat(young.numOutputTokens()).isEqualTo(2);
        assertThat(young.numComputedTokens).isZero();
        // In the queue: young before late, although late gave way first.
        String admitted = "";
        while (young.status == Request.Status.PREEMPTED) {
            assertThat(requests.get("late").status).isEqualTo(Request.Status.PREEMPTED);
            admitted = step();
        }
        assertThat(admitted).matches("young:\\d+( late:\\d+)?");
        assertThat(young.numOutputTokens()).isEqualTo(3);
        while (!requests.isEmpty()) {
            step();
        }
        assertThat(old.numOutputTokens()).isLessThanOrEqualTo(30);
        assertThat(kv.numFree() + kv.numCached()).isEqualTo(8);
    }

    @Test
    void abortThatOvertakesItsRequestStillEndsIt() {
        Request request = submit("a", 0, 3, 10);
        scheduler.abort("a");
        scheduler.add(request);
        assertThat(step()).isEmpty();
        assertThat(request.answered).isTrue();
        assertThat(requests).isEmpty();
    }

    @Test
    void emptyQueuesGiveAnEmptyStep() {
        assertThat(step()).isEmpty();
    }
}
