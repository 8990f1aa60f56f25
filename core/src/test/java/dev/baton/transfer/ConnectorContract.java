package dev.baton.transfer;

import static dev.baton.metrics.FlightRecord.named;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.awaitility.Awaitility.await;

import dev.baton.engine.Collected;
import dev.baton.engine.EngineRequest;
import dev.baton.engine.EngineScenarioTest;
import dev.baton.engine.FinishReason;
import dev.baton.engine.RequestOutput;
import dev.baton.engine.SamplingParams;
import dev.baton.metrics.FlightRecord;
import dev.baton.transfer.tcp.KvThreads;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import jdk.jfr.consumer.RecordedEvent;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/// What every connector has to do, whatever moves the bytes: two engines with it, a prefiller and a decoder,
/// give the tokens of one engine alone, and after each test every block of both is free or cached, and no lease
/// and no load is left.
///
/// A connector's subclass says how the two are configured ([#config]), what a router tells them
/// ([#prefillRequest], [#decodeRequest]), and how many tokens of a prompt it can bring ([#loadable]).
@ExtendWith(KvThreads.class)
@Timeout(value = 120, unit = TimeUnit.SECONDS)
public abstract class ConnectorContract {
    protected static final int BLOCK_TOKENS = EnginePair.BLOCK_TOKENS;
    private static final int MAX_TOKENS = 12;

    /// Which of the two engines is meant.
    protected enum Side {
        PREFILLER,
        DECODER
    }

    /// When a client goes away.
    enum AbortPhase {
        QUEUED_ON_THE_PREFILLER,
        IN_PREFILL,
        BETWEEN_THE_LEGS,
        QUEUED_ON_THE_DECODER,
        WHILE_LOADING,
        IN_DECODE
    }

    /// When the other side ends.
    enum DeathPhase {
        SOURCE_BEFORE_THE_LOAD,
        SOURCE_WHILE_LOADING,
        SOURCE_AFTER_THE_LOAD,
        DECODER_BEFORE_IT_ASKED,
        DECODER_WHILE_LOADING
    }

    /// How one of the engines is started.
    ///
    /// @param policy what the engine does when a load fails
    protected abstract KvTransferConfig config(Side side, KvLoadFailurePolicy policy);

    /// What the prefiller is asked.
    protected EngineRequest prefillRequest(EnginePair pair, String id, int[] prompt) {
        return new EngineRequest(id, prompt, SamplingParams.greedy(1), KvTransferParams.REMOTE_DECODE);
    }

    /// What the decoder is asked, once the prefiller has answered.
    ///
    /// @param answer the `kv_transfer_params` of the prefiller's answer
    protected EngineRequest decodeRequest(
            EnginePair pair, String id, int[] prompt, int maxTokens, KvTransferParams answer) {
        return new EngineRequest(id, prompt, SamplingParams.greedy(maxTokens), answer);
    }

    /// How many of a prompt's tokens come from the prefiller if the decoder has none of them.
    protected int loadable(int promptTokens) {
        return promptTokens;
    }

    /// How many come if the engine asks: not for a single token, which is computed anyway for its logits.
    private int loaded(int promptTokens) {
        return promptTokens == 1 ? 0 : loadable(promptTokens);
    }

    /// Whether blocks go to a store, where they stay, and not to one decoder.
    protected boolean isStore() {
        return false;
    }

    /// Whether only blocks that the decoder misses travel, and not all that a prefiller pushes.
    protected boolean isSelective() {
        return true;
    }

    /// Waits until what a prefill saved can be loaded.
    ///
    /// @param savedTokens [#loadable] tokens of all prefills since the pair was started, equal prefixes counted
    ///     once
    protected void awaitSaved(EnginePair pair, int savedTokens) {}

    /// Ends whatever the decoder loads from, without a word to it.
    protected void sourceDies(EnginePair pair) throws IOException {
        pair.prefiller.close();
    }

    private EnginePair start(KvLoadFailurePolicy policy) {
        return new EnginePair(config(Side.PREFILLER, policy), config(Side.DECODER, policy), areOnDevices());
    }

    /// Whether the connectors take the pools for such as are in the memory of two devices.
    protected boolean areOnDevices() {
        return false;
    }

    private static int[] prompt(long seed, int length) {
        return EngineScenarioTest.prompt(new Random(seed), length, length);
    }

    /// Computes a prompt on the prefiller.
    private KvTransferParams prefill(EnginePair pair, String id, int[] prompt) {
        Collected first = new Collected();
        pair.prefiller.engine.submit(prefillRequest(pair, id, prompt), first);
        RequestOutput.Finish finish = first.await();
        assertThat(finish.error()).isEmpty();
        assertThat(first.tokens()).isEqualTo(pair.reference(prompt, 1));
        if (isStore()) {
            pair.prefiller.quiet();
        }
        return finish.kvTransferParams();
    }

    private Collected decode(EnginePair pair, String id, int[] prompt, int maxTokens, KvTransferParams answer) {
        Collected tokens = new Collected();
        pair.decoder.engine.submit(decodeRequest(pair, id, prompt, maxTokens, answer), tokens);
        return tokens;
    }

    private RequestOutput.Finish roundTrip(EnginePair pair, String id, int[] prompt, int savedTokens) {
        KvTransferParams answer = prefill(pair, id, prompt);
        awaitSaved(pair, savedTokens);
        return pair.verify(decode(pair, id, prompt, MAX_TOKENS, answer), prompt, MAX_TOKENS);
    }

    private static int blocksFor(int tokens) {
        return Math.ceilDiv(tokens, BLOCK_TOKENS);
    }

    @Test
    void everyLengthOfPromptArrivesWhole() {
        try (EnginePair pair = start(KvLoadFailurePolicy.FAIL)) {
            int saved = 0;
            long blocks = 0;
            for (int length : new int[] {1, 2, 15, 16, 17, 31, 32, 33, 47, 48, 63, 64, 65, 128, 200, 257}) {
                saved += loadable(length);
                blocks += blocksFor(loaded(length));
                RequestOutput.Finish finish = roundTrip(pair, "r" + length, prompt(length, length), saved);
                assertThat(finish.cachedTokens()).isZero();
                assertThat(finish.externalTokens()).as("of %d", length).isEqualTo(loaded(length));
            }
            pair.quiet();
            KvTransferStats stats = pair.decoder.engine.transferStats();
            if (isSelective()) {
                assertThat(stats.bytesTransferred()).isEqualTo(blocks * pair.blockBytes());
            }
            assertThat(stats.numFailedTransfers()).isZero();
            assertThat(pair.prefiller.engine.transferStats().numKvExpiredReqs()).isZero();
        }
    }

    @Test
    void whatMovesIsInTheFlightRecorder(@TempDir Path dir) throws IOException {
        int[] prompt = prompt(8, 70);
        try (FlightRecord record = new FlightRecord(dir, "KvTransfer", "KvSend", "KvPost", "KvLease");
                EnginePair pair = start(KvLoadFailurePolicy.FAIL)) {
            roundTrip(pair, "recorded", prompt, loadable(prompt.length));
            pair.quiet();
            long received = pair.decoder.engine.transferStats().bytesTransferred();
            long sent = pair.prefiller.engine.transferStats().bytesSent()
                    + pair.decoder.engine.transferStats().bytesSent();
            // the threads that have sent the last block and freed it may still be about to say so
            List<RecordedEvent> events = await().atMost(Duration.ofSeconds(60))
                    .until(
                            record::events,
                            all -> bytes(named(all, "KvSend")) == sent
                                    && (isStore() || !named(all, "KvLease").isEmpty()));
            assertThat(named(events, "KvTransfer")).hasSize(isStore() ? 2 : 1).allSatisfy(load -> {
                assertThat(load.getString("request")).isEqualTo("recorded");
                assertThat(load.getString("outcome")).isEqualTo("arrived");
                assertThat(load.getDuration()).isPositive();
            });
            assertThat(bytes(named(events, "KvTransfer"))).isEqualTo(received).isPositive();
            List<RecordedEvent> moves = new ArrayList<>(named(events, "KvSend"));
            moves.forEach(send -> {
                assertThat(send.getString("outcome")).isEqualTo("sent");
                assertThat(send.getString("request")).isNotEmpty();
                assertThat(send.getString("connector")).isNotEmpty();
                assertThat(send.getString("peer")).isNotEmpty();
                assertThat(send.getInt("blocks")).isPositive();
            });
            named(events, "KvPost").forEach(post -> {
                assertThat(post.getString("request")).isEqualTo("recorded");
                assertThat(post.getInt("descriptors")).isPositive();
                moves.add(post);
            });
            assertThat(bytes(moves)).as("bytes that somebody moved").isGreaterThanOrEqualTo(received);
            assertThat(named(events, "KvLease")).allSatisfy(lease -> {
                assertThat(lease.getString("request")).isEqualTo("recorded");
                assertThat(lease.getBoolean("expired")).isFalse();
                assertThat(lease.getInt("blocks")).isPositive();
            });
            // of each engine one; a decoder that saves besides has one unless it has saved before the request's end
            assertThat(named(events, "KvLease"))
                    .extracting(lease -> lease.getThread().getJavaThreadId())
                    .doesNotHaveDuplicates();
        }
    }

    private static long bytes(List<RecordedEvent> events) {
        return events.stream().mapToLong(event -> event.getLong("bytes")).sum();
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 3, 7})
    void onlyWhatTheDecoderMissesTravels(int sharedBlocks) {
        try (EnginePair pair = start(KvLoadFailurePolicy.FAIL)) {
            int[] first = prompt(1, sharedBlocks * BLOCK_TOKENS + 20);
            int[] second = prompt(2, sharedBlocks * BLOCK_TOKENS + 40);
            System.arraycopy(first, 0, second, 0, sharedBlocks * BLOCK_TOKENS);
            int shared = sharedBlocks * BLOCK_TOKENS;
            roundTrip(pair, "first", first, loadable(first.length));
            long before = pair.decoder.engine.transferStats().bytesTransferred();
            RequestOutput.Finish finish =
                    roundTrip(pair, "second", second, loadable(first.length) + loadable(second.length) - shared);
            assertThat(finish.cachedTokens()).isEqualTo(shared);
            assertThat(finish.externalTokens()).isEqualTo(loadable(second.length) - shared);
            pair.quiet();
            long moved = pair.decoder.engine.transferStats().bytesTransferred() - before;
            int blocks = blocksFor(loadable(second.length)) - (isSelective() ? sharedBlocks : 0);
            assertThat(moved).isEqualTo(blocks * pair.blockBytes());
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {48, 49, 64, 70})
    void aPromptThatTheDecoderHasTravelsNotAtAll(int length) {
        try (EnginePair pair = start(KvLoadFailurePolicy.FAIL)) {
            int[] prompt = prompt(3, length);
            roundTrip(pair, "first", prompt, loadable(length));
            pair.quiet();
            long before = pair.decoder.engine.transferStats().bytesTransferred();
            RequestOutput.Finish finish = roundTrip(pair, "second", prompt, loadable(length));
            assertThat(finish.cachedTokens()).isGreaterThanOrEqualTo((length - 1) / BLOCK_TOKENS * BLOCK_TOKENS);
            assertThat(finish.externalTokens()).isZero();
            pair.quiet();
            assertThat(pair.decoder.engine.transferStats().bytesTransferred()).isEqualTo(before);
        }
    }

    @ParameterizedTest
    @EnumSource(AbortPhase.class)
    void aClientMayGoAwayInEveryPhase(AbortPhase phase) throws Exception {
        try (EnginePair pair = start(KvLoadFailurePolicy.RECOMPUTE)) {
            Random random = new Random(phase.ordinal());
            for (int round = 0; round < (phase == AbortPhase.WHILE_LOADING ? 30 : 2); round++) {
                String id = "r" + round;
                int[] prompt = prompt(100 * round + 7, 100 + round);
                abort(pair, phase, id, prompt, random);
                long start = System.nanoTime();
                pair.quiet();
                assertThat(Duration.ofNanos(System.nanoTime() - start)).isLessThan(Duration.ofSeconds(8));
            }
            int[] prompt = prompt(5, 77);
            pair.verify(decode(pair, "after", prompt, MAX_TOKENS, prefill(pair, "after", prompt)), prompt, MAX_TOKENS);
            pair.quiet();
        }
    }

    private void abort(EnginePair pair, AbortPhase phase, String id, int[] prompt, Random random) throws Exception {
        switch (phase) {
            case QUEUED_ON_THE_PREFILLER -> {
                Collected busy = new Collected();
                Collected queued = new Collected();
                pair.prefiller.model.hold();
                pair.prefiller.engine.submit(
                        new EngineRequest("busy-" + id, prompt(9, 20), SamplingParams.greedy(2)), busy);
                pair.prefiller.model.awaitStep();
                pair.prefiller.engine.submit(prefillRequest(pair, id, prompt), queued);
                pair.prefiller.engine.abort(id);
                pair.prefiller.model.letGo();
                assertThat(queued.await().reason()).isEqualTo(FinishReason.ABORT);
                assertThat(busy.await().error()).isEmpty();
            }
            case IN_PREFILL -> {
                Collected prefill = new Collected();
                pair.prefiller.model.hold();
                pair.prefiller.engine.submit(prefillRequest(pair, id, prompt), prefill);
                pair.prefiller.model.awaitStep();
                pair.prefiller.engine.abort(id);
                pair.prefiller.model.letGo();
                assertThat(prefill.await().reason()).isEqualTo(FinishReason.ABORT);
            }
            case BETWEEN_THE_LEGS -> {
                KvTransferParams answer = prefill(pair, id, prompt);
                pair.prefiller.engine.abort(id);
                pair.prefiller.quiet();
                // The router may have sent the second leg already: it is computed, not waited for.
                pair.verify(decode(pair, id, prompt, MAX_TOKENS, answer), prompt, MAX_TOKENS);
            }
            case QUEUED_ON_THE_DECODER -> {
                KvTransferParams answer = prefill(pair, id, prompt);
                Collected busy = new Collected();
                pair.decoder.model.hold();
                pair.decoder.engine.submit(
                        new EngineRequest("busy-" + id, prompt(9, 20), SamplingParams.greedy(2)), busy);
                pair.decoder.model.awaitStep();
                Collected queued = decode(pair, id, prompt, MAX_TOKENS, answer);
                pair.decoder.engine.abort(id);
                pair.decoder.model.letGo();
                assertThat(queued.await().reason()).isEqualTo(FinishReason.ABORT);
                assertThat(busy.await().error()).isEmpty();
            }
            case WHILE_LOADING -> {
                Collected answer = decode(pair, id, prompt, MAX_TOKENS, prefill(pair, id, prompt));
                Thread.sleep(0, random.nextInt(999_999));
                pair.decoder.engine.abort(id);
                assertPrefix(pair, answer, prompt, MAX_TOKENS);
            }
            case IN_DECODE -> {
                Collected answer = decode(pair, id, prompt, 200, prefill(pair, id, prompt));
                await().until(() -> answer.numTokens() > 2);
                pair.decoder.engine.abort(id);
                assertPrefix(pair, answer, prompt, 200);
            }
        }
    }

    /// What came before the end of a request that was aborted is right.
    private static void assertPrefix(EnginePair pair, Collected answer, int[] prompt, int maxTokens) {
        answer.await();
        int[] tokens = answer.tokens();
        assertThat(tokens).isEqualTo(Arrays.copyOf(pair.reference(prompt, maxTokens), tokens.length));
        assertThat(answer.late()).isEmpty();
    }

    @ParameterizedTest
    @EnumSource(DeathPhase.class)
    void theOtherSideMayDieInEveryPhase(DeathPhase phase) throws Exception {
        for (int round = 0; round < (phase.name().endsWith("LOADING") ? 5 : 1); round++) {
            Random random = new Random(phase.ordinal() * 100L + round);
            int[] prompt = prompt(round, 200);
            try (EnginePair pair = start(KvLoadFailurePolicy.RECOMPUTE)) {
                KvTransferParams answer = prefill(pair, "r", prompt);
                if (phase == DeathPhase.SOURCE_BEFORE_THE_LOAD) {
                    sourceDies(pair);
                } else if (phase == DeathPhase.DECODER_BEFORE_IT_ASKED) {
                    pair.decoder.close();
                    pair.prefiller.engine.abort("r"); // the router's word: nobody else knows of the decoder
                }
                if (phase != DeathPhase.DECODER_BEFORE_IT_ASKED) {
                    Collected tokens = decode(pair, "r", prompt, MAX_TOKENS, answer);
                    switch (phase) {
                        case SOURCE_WHILE_LOADING -> {
                            Thread.sleep(0, random.nextInt(999_999));
                            sourceDies(pair);
                        }
                        case SOURCE_AFTER_THE_LOAD -> {
                            await().until(() -> tokens.numTokens() > 0);
                            sourceDies(pair);
                        }
                        case DECODER_WHILE_LOADING -> {
                            Thread.sleep(0, random.nextInt(999_999));
                            pair.decoder.close();
                            pair.prefiller.engine.abort("r");
                        }
                        case SOURCE_BEFORE_THE_LOAD, DECODER_BEFORE_IT_ASKED -> {}
                    }
                    if (phase == DeathPhase.DECODER_WHILE_LOADING) {
                        assertPrefix(pair, tokens, prompt, MAX_TOKENS);
                    } else {
                        pair.verify(tokens, prompt, MAX_TOKENS);
                    }
                }
                pair.quiet();
            }
        }
    }

    @Test
    void anIdThatIsInFlightIsRefusedAndTheFirstGoesOn() throws InterruptedException, TimeoutException {
        try (EnginePair pair = start(KvLoadFailurePolicy.FAIL)) {
            int[] prompt = prompt(1, 50);
            Collected first = new Collected();
            pair.prefiller.model.hold();
            pair.prefiller.engine.submit(prefillRequest(pair, "r", prompt), first);
            pair.prefiller.model.awaitStep();
            assertThatThrownBy(() ->
                            pair.prefiller.engine.submit(prefillRequest(pair, "r", prompt(2, 50)), new Collected()))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("in flight");
            pair.prefiller.model.letGo();
            KvTransferParams answer = first.await().kvTransferParams();
            if (isStore()) {
                pair.prefiller.quiet();
            } else { // its blocks are held
                assertThatThrownBy(() ->
                                pair.prefiller.engine.submit(prefillRequest(pair, "r", prompt(2, 50)), new Collected()))
                        .isInstanceOf(IllegalArgumentException.class);
            }
            awaitSaved(pair, loadable(50));
            pair.decoder.model.hold();
            Collected second = decode(pair, "r", prompt, MAX_TOKENS, answer);
            pair.decoder.model.awaitStep();
            assertThatThrownBy(() -> decode(pair, "r", prompt(2, 50), MAX_TOKENS, KvTransferParams.NONE))
                    .isInstanceOf(IllegalArgumentException.class);
            pair.decoder.model.letGo();
            assertThat(pair.verify(second, prompt, MAX_TOKENS).externalTokens()).isEqualTo(loadable(50));
            pair.quiet();
        }
    }

    @Test
    void anIdThatIsUsedAgainNeverShowsOldBlocks() {
        try (EnginePair pair = start(KvLoadFailurePolicy.FAIL)) {
            int saved = 0;
            for (int round = 0; round < 4; round++) {
                saved += loadable(60);
                RequestOutput.Finish finish = roundTrip(pair, "r", prompt(round, 60), saved);
                assertThat(finish.externalTokens()).isEqualTo(loadable(60));
                pair.quiet();
            }
        }
    }

    @Test
    void fiveHundredTransfersOfMoreThanTheBuffersHoldAllEnd() {
        try (EnginePair pair = start(KvLoadFailurePolicy.RECOMPUTE)) {
            Random random = new Random(500);
            List<int[]> prompts = new ArrayList<>();
            List<Collected> firsts = new ArrayList<>();
            List<Collected> answers = new ArrayList<>();
            for (int i = 0; i < 500; i++) {
                int[] prompt = prompt(1_000 + i, 64 + random.nextInt(120));
                Collected answer = new Collected();
                String id = "r" + i;
                prompts.add(prompt);
                answers.add(answer);
                Collected first = new Collected();
                // What a router does: the second leg follows the first at once.
                pair.prefiller.engine.submit(prefillRequest(pair, id, prompt), output -> {
                    first.onOutput(output);
                    if (!isStore() && output.finish().isPresent()) {
                        KvTransferParams params = output.finish().get().kvTransferParams();
                        pair.decoder.engine.submit(decodeRequest(pair, id, prompt, 3, params), answer);
                    }
                });
                firsts.add(first);
                if (i % 50 == 49) { // at most so many on their way
                    secondLegs(pair, prompts, firsts, answers, i - 49);
                }
            }
            long external = 0;
            for (int i = 0; i < 500; i++) {
                external += pair.verify(answers.get(i), prompts.get(i), 3).externalTokens();
            }
            pair.quiet();
            KvTransferStats stats = pair.decoder.engine.transferStats();
            assertThat(stats.bytesTransferred()).isGreaterThan(4 * EnginePair.NUM_BLOCKS * pair.blockBytes());
            if (!isStore()) {
                assertThat(external)
                        .isEqualTo(prompts.stream().mapToInt(it -> it.length).sum());
            }
        }
    }

    /// Waits for fifty prefills; what they have saved in a store is then asked for.
    private void secondLegs(
            EnginePair pair, List<int[]> prompts, List<Collected> firsts, List<Collected> answers, int from) {
        firsts.subList(from, from + 50)
                .forEach(first -> assertThat(first.await().error()).isEmpty());
        if (isStore()) {
            pair.prefiller.quiet();
            for (int i = from; i < from + 50; i++) {
                pair.decoder.engine.submit(
                        decodeRequest(pair, "r" + i, prompts.get(i), 3, KvTransferParams.NONE), answers.get(i));
            }
        }
        answers.get(from).await();
    }
}
