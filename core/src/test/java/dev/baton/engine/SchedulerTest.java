package dev.baton.engine;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.kvcache.KvCacheManager;
import dev.baton.kvcache.KvCacheSpec;
import dev.baton.transfer.KvConnector;
import dev.baton.transfer.KvEvent;
import dev.baton.transfer.KvTransferParams;
import java.util.List;
import java.util.OptionalInt;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/// What a step contains, step by step, without a thread or a model.
@Timeout(value = 20, unit = TimeUnit.SECONDS, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class SchedulerTest {
    private static final int BLOCK = 4;
    private static final int ANY_TOKEN = 9;
    private static final int PROMPT_LOGITS_ROWS = 6;

    private static final RequestOutput.TokenLogprobs NO_LOGPROBS =
            new RequestOutput.TokenLogprobs(0, 1, new int[0], new float[0]);

    private final SchedulerOutput step = new SchedulerOutput(8);
    private final StepOutput output = new StepOutput(8);
    private final ConcurrentHashMap<String, Request> requests = new ConcurrentHashMap<>();

    private @Nullable KvConnector store;
    private KvCacheManager kv = manager(64);
    private Scheduler scheduler = scheduler(64, 4, 16);

    private static KvCacheManager manager(int numBlocks) {
        return new KvCacheManager(new KvCacheSpec("m", "float32", 4, 1, 1, 2, BLOCK, numBlocks), true, 1);
    }

    private Scheduler scheduler(int numBlocks, int maxNumSeqs, int maxNumBatchedTokens) {
        return scheduler(
                numBlocks,
                EngineConfig.builder("m", 1_000).maxNumSeqs(maxNumSeqs).maxNumBatchedTokens(maxNumBatchedTokens));
    }

    private Scheduler scheduler(int numBlocks, EngineConfig.Builder builder) {
        EngineConfig config = builder.blockTokens(BLOCK).numBlocks(numBlocks).build();
        kv = manager(numBlocks);
        KvTransfers transfers = new KvTransfers(store, new KvCacheSpec("m", "float32", 4, 1, 1, 2, BLOCK, numBlocks));
        return new Scheduler(
                config,
                Math.min(1_000, numBlocks * BLOCK),
                PROMPT_LOGITS_ROWS,
                kv,
                transfers,
                new EngineCounters(),
                requests);
    }

    /// @param first its first prompt token, so that prompts share no prefix
    private Request add(String id, int first, int promptTokens, int maxTokens) {
        Request request = submit(id, first, promptTokens, maxTokens);
        scheduler.add(request);
        return request;
    }

    /// A request that is on its way to the scheduler.
    private Request submit(String id, int first, int promptTokens, int maxTokens) {
        return submit(id, first, promptTokens, SamplingParams.greedy(maxTokens), 0, EngineRequest.NO_TENANT);
    }

    private Request submit(
            String id, int first, int promptTokens, SamplingParams sampling, int priority, String tenant) {
        int[] prompt = IntStream.range(0, promptTokens).map(i -> first + i).toArray();
        Request request = new Request(
                new EngineRequest(id, prompt, sampling, priority, tenant, KvTransferParams.NONE),
                ignored -> {},
                kv.newTable(),
                0,
                new int[0]);
        requests.put(id, request);
        return request;
    }

    private Request add(String id, int first, int promptTokens, int maxTokens, int priority) {
        Request request =
                submit(id, first, promptTokens, SamplingParams.greedy(maxTokens), priority, EngineRequest.NO_TENANT);
        scheduler.add(request);
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
            int promptRows = step.numLogits(i) - (step.samples(i) ? 1 : 0);
            for (int row = 0; row < promptRows; row++) {
                step.request(i).addPromptLogprobs(NO_LOGPROBS);
            }
            output.set(i, step.samples(i) ? ANY_TOKEN : StepOutput.NO_TOKEN, List.of());
        }
        scheduler.update(step, output, false);
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

    @Test
    void promptTakesNoMoreOfAStepThanTheThresholdAndLeavesTheRestToOthers() {
        scheduler = scheduler(
                64,
                EngineConfig.builder("m", 1_000)
                        .maxNumSeqs(4)
                        .maxNumBatchedTokens(16)
                        .longPrefillTokenThreshold(5));
        add("a", 0, 12, 10);
        add("b", 100, 9, 10);
        add("c", 200, 3, 10);
        assertThat(step()).isEqualTo("a:5 b:5 c:3");
        assertThat(step()).isEqualTo("a:5 b:4 c:1");
        assertThat(step()).isEqualTo("a:2 b:1 c:1");
    }

    /// One that computes at most 6 tokens of prompts, or a 16th of one, in a step in which others decode.
    private Scheduler piecesBesideDecodes() {
        return scheduler(
                128,
                EngineConfig.builder("m", 1_000)
                        .maxNumSeqs(4)
                        .maxNumBatchedTokens(256)
                        .prefillTokensBesideDecodes(6));
    }

    private void abort(String... ids) {
        for (String id : ids) {
            scheduler.abort(id);
        }
    }

    @Test
    void promptsBesideDecodesComeInPiecesAndAloneInOne() {
        scheduler = piecesBesideDecodes();
        add("a", 0, 20, 20);
        assertThat(step()).isEqualTo("a:20");
        add("b", 100, 9, 20);
        add("c", 200, 7, 20);
        assertThat(step()).isEqualTo("a:1 b:6");
        assertThat(step()).isEqualTo("a:1 b:3 c:3");
        assertThat(step()).isEqualTo("a:1 b:1 c:4");
        assertThat(step()).isEqualTo("a:1 b:1 c:1");
        abort("a", "b", "c");
        add("d", 300, 100, 20);
        assertThat(step()).isEqualTo("d:100");
    }

    @Test
    void longPromptBesideDecodesTakesSixteenStepsAtMost() {
        scheduler = piecesBesideDecodes();
        add("a", 0, 4, 40);
        assertThat(step()).isEqualTo("a:4");
        add("long", 100, 160, 20);
        add("b", 500, 12, 20);
        for (int i = 0; i < 16; i++) {
            assertThat(step()).isEqualTo("a:1 long:10");
        }
        assertThat(step()).isEqualTo("a:1 long:1 b:6");
    }

    @Test
    void promptThatWaitsForItsFirstPieceFindsWhatThoseInFrontOfItComputed() {
        scheduler = piecesBesideDecodes();
        add("a", 0, 5, 40);
        assertThat(step()).isEqualTo("a:5");
        add("b", 100, 30, 20);
        Request c = add("c", 100, 32, 20); // the same tokens, and two more
        for (int i = 0; i < 5; i++) {
            assertThat(step()).isEqualTo("a:1 b:6");
        }
        assertThat(step()).isEqualTo("a:1 b:1 c:4");
        assertThat(c.cachedTokens).isEqualTo(28);
        assertThat(step()).isEqualTo("a:1 b:1 c:1");
        abort("a", "b", "c");
        kv.checkIntegrity();
        assertThat(kv.numFree() + kv.numCached()).isEqualTo(128);
    }

    private void arrived(String id, int numTokens) {
        scheduler.onKvEvent(new KvEvent.KvArrived(id, numTokens, 0));
    }

    @Test
    void piecesOfAPromptThatCameFromElsewhereAreOfWhatIsLeftOfIt() {
        store = new AllKnowing();
        scheduler = piecesBesideDecodes();
        add("a", 0, 5, 40);
        add("long", 100, 165, 20);
        assertThat(step()).isEmpty();
        arrived("a", 5);
        assertThat(step()).isEqualTo("a:1");
        arrived("long", 120);
        for (int i = 0; i < 7; i++) {
            assertThat(step()).isEqualTo("a:1 long:6");
        }
        assertThat(step()).isEqualTo("a:1 long:3");
    }

    @Test
    void lowestPriorityNumberIsAdmittedFirst() {
        for (SchedulingPolicy policy : SchedulingPolicy.values()) {
            scheduler = scheduler(
                    64,
                    EngineConfig.builder("m", 1_000)
                            .maxNumSeqs(2)
                            .maxNumBatchedTokens(16)
                            .schedulingPolicy(policy));
            add("a", 0, 3, 3, 7);
            assertThat(step()).isEqualTo("a:3");
            add("b", 100, 3, 3, 5);
            add("c", 200, 3, 3, -5);
            boolean byPriority = policy == SchedulingPolicy.PRIORITY;
            assertThat(step()).isEqualTo(byPriority ? "a:1 c:3" : "a:1 b:3");
            // Who runs is not stopped for one that waits, but the batch is in the order of what matters.
            assertThat(step()).isEqualTo(byPriority ? "c:1 a:1" : "a:1 b:1");
            assertThat(step()).isEqualTo(byPriority ? "c:1 b:3" : "b:1 c:3");
            requests.clear();
        }
    }

    @Test
    void whatMattersLeastGivesWayAlsoIfItIsTheOldest() {
        scheduler = scheduler(
                8,
                EngineConfig.builder("m", 1_000)
                        .maxNumSeqs(4)
                        .maxNumBatchedTokens(64)
                        .schedulingPolicy(SchedulingPolicy.PRIORITY));
        Request least = add("least", 0, 12, 20, 9);
        Request most = add("most", 100, 15, 20, 1);
        assertThat(step()).isEqualTo("most:15 least:12");
        assertThat(step()).isEqualTo("most:1 least:1");
        while (least.status == Request.Status.RUNNING) {
            step();
        }
        assertThat(least.status).isEqualTo(Request.Status.PREEMPTED);
        assertThat(most.status).isEqualTo(Request.Status.RUNNING);
        // An urgent one passes it in the queue.
        add("urgent", 200, 4, 2, 0);
        while (requests.containsKey("urgent")) {
            assertThat(least.status).isEqualTo(Request.Status.PREEMPTED);
            step();
        }
        while (!requests.isEmpty()) {
            step();
        }
        assertThat(least.numOutputTokens()).isEqualTo(20);
        assertThat(kv.numFree() + kv.numCached()).isEqualTo(8);
    }

    @Test
    void tenantsTakeTurnsInAdmission() {
        scheduler = scheduler(64, 1, 16);
        for (int i = 0; i < 3; i++) {
            scheduler.add(submit("a" + i, 100 * i, 3, SamplingParams.greedy(1), 0, "a"));
        }
        scheduler.add(submit("b0", 900, 3, SamplingParams.greedy(1), 0, "b"));
        assertThat(step()).isEqualTo("a0:3");
        assertThat(step()).isEqualTo("b0:3");
        assertThat(step()).isEqualTo("a1:3");
        assertThat(step()).isEqualTo("a2:3");
    }

    @Test
    void logitsOfPromptsAreBoundedInEachStepOverAllRequests() {
        SamplingParams sampling =
                SamplingParams.builder(5).promptLogprobs(OptionalInt.of(0)).build();
        scheduler.add(submit("a", 0, 9, sampling, 0, ""));
        scheduler.add(submit("b", 100, 4, sampling, 0, ""));
        add("c", 200, 3, 5);
        // 6 rows a step: a's first 8 tokens and b's first 3 need one each.
        assertThat(step()).isEqualTo("a:6 c:3");
        assertThat(step()).isEqualTo("a:3 b:4 c:1");
        assertThat(step.numLogits(0)).isEqualTo(3);
        assertThat(step.numLogits(1)).isEqualTo(4);
        assertThat(step()).isEqualTo("a:1 b:1 c:1");
    }
}
