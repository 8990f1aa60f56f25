package dev.baton.transfer;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import dev.baton.engine.Collected;
import dev.baton.engine.EngineRequest;
import dev.baton.engine.EngineScenarioTest;
import dev.baton.engine.FinishReason;
import dev.baton.engine.RequestOutput;
import dev.baton.engine.SamplingParams;
import dev.baton.metrics.Metrics;
import dev.baton.transfer.tcp.KvThreads;
import dev.baton.transfer.tcp.TcpConnector;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalLong;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/// Prompts that go to the decoder while the prefiller computes them, with both legs under way at once.
@ExtendWith(KvThreads.class)
@Timeout(value = 120, unit = TimeUnit.SECONDS)
class PushWhileComputingTest {
    private static final int MAX_TOKENS = 12;

    /// Which leg comes first.
    enum First {
        PREFILL,
        DECODE
    }

    private EnginePair start(KvLoadFailurePolicy policy, Map<String, Object> prefillers) {
        Map<String, Object> patient =
                Map.of("kv_peer_timeout", 10, "kv_connect_timeout", 10, "kv_push_layers", "always");
        Map<String, Object> extra = new HashMap<>(patient);
        extra.putAll(prefillers);
        return new EnginePair(
                config(KvRole.KV_PRODUCER, "prefiller", policy, extra),
                config(KvRole.KV_CONSUMER, "decoder", policy, patient),
                areOnDevices());
    }

    /// Whether the connectors take the pools for such as are in the memory of two devices.
    boolean areOnDevices() {
        return false;
    }

    private EnginePair start(KvLoadFailurePolicy policy) {
        return start(policy, Map.of());
    }

    private static KvTransferConfig config(
            KvRole role, String engineId, KvLoadFailurePolicy policy, Map<String, Object> extra) {
        return new KvTransferConfig(TcpConnector.NAME, role, engineId, "127.0.0.1", 0, policy, extra);
    }

    private static int[] prompt(long seed, int length) {
        return EngineScenarioTest.prompt(new Random(seed), length, length);
    }

    private static Collected prefill(EnginePair pair, String id, int[] prompt, SamplingParams sampling) {
        Collected tokens = new Collected();
        pair.prefiller.engine.submit(new EngineRequest(id, prompt, sampling, PushParams.prefill("x-" + id)), tokens);
        return tokens;
    }

    private static Collected prefill(EnginePair pair, String id, int[] prompt) {
        return prefill(pair, id, prompt, SamplingParams.greedy(1));
    }

    private static Collected decode(EnginePair pair, String id, int[] prompt, SamplingParams sampling) {
        Collected tokens = new Collected();
        KvTransferParams params = PushParams.decode("x-" + id, "prefiller", PushParams.port(pair.prefillerConnector()));
        pair.decoder.engine.submit(new EngineRequest(id, prompt, sampling, params), tokens);
        return tokens;
    }

    private static Collected decode(EnginePair pair, String id, int[] prompt) {
        return decode(pair, id, prompt, SamplingParams.greedy(MAX_TOKENS));
    }

    /// What the decoder has counted.
    private static long counted(EnginePair pair, String name) {
        Metrics metrics = new Metrics(Map.of());
        pair.decoderConnector().addTo(metrics);
        return new String(metrics.text(), StandardCharsets.UTF_8)
                .lines()
                .filter(line -> line.startsWith(name + "_total "))
                .mapToLong(line -> (long) Double.parseDouble(line.substring(line.indexOf(' ') + 1)))
                .sum();
    }

    private static long early(EnginePair pair) {
        return counted(pair, "baton:kv_bytes_before_first_token");
    }

    @ParameterizedTest
    @EnumSource(First.class)
    void layersArriveWhileTheNextChunkIsStillToBeComputed(First first) throws Exception {
        try (EnginePair pair = start(KvLoadFailurePolicy.FAIL)) {
            int[] prompt = prompt(1, 200);
            pair.prefiller.model.hold();
            Collected answer = first == First.DECODE ? decode(pair, "r", prompt) : null;
            Collected prefill = prefill(pair, "r", prompt);
            pair.prefiller.model.awaitStep();
            if (answer == null) {
                answer = decode(pair, "r", prompt);
            }
            long blocks = 64 / EnginePair.BLOCK_TOKENS; // of the first chunk
            await().until(() -> early(pair) == blocks * pair.decoder.blockBytes());
            assertThat(prefill.numTokens()).isZero();
            assertThat(answer.numTokens()).isZero();
            pair.prefiller.model.letGo();
            RequestOutput.Finish finish = pair.verify(answer, prompt, MAX_TOKENS);
            assertThat(finish.externalTokens()).isEqualTo(200);
            assertThat(prefill.await().error()).isEmpty();
            pair.quiet();
            KvTransferStats stats = pair.decoder.engine.transferStats();
            assertThat(stats.bytesTransferred()).isEqualTo(13 * pair.decoder.blockBytes());
            assertThat(counted(pair, "baton:kv_pushed_transfers")).isEqualTo(1);
        }
    }

    @ParameterizedTest
    @EnumSource(First.class)
    void everyLengthArrivesWholeAndTheFirstTokenIsThePrefillers(First first) {
        // With a seed: now and then an end of sequence was drawn, which ends the request before its blocks come.
        SamplingParams wild = SamplingParams.builder(1)
                .temperature(3f)
                .seed(OptionalLong.of(1))
                .build();
        try (EnginePair pair = start(KvLoadFailurePolicy.FAIL)) {
            for (int length : new int[] {2, 15, 16, 17, 32, 33, 63, 64, 65, 128, 200, 257}) {
                String id = "r" + length;
                int[] prompt = prompt(length, length);
                Collected early = first == First.DECODE
                        ? decode(pair, id, prompt, SamplingParams.greedy(MAX_TOKENS))
                        : new Collected();
                Collected prefill = prefill(pair, id, prompt, wild);
                Collected answer = first == First.DECODE ? early : decode(pair, id, prompt);
                RequestOutput.Finish finish = answer.await();
                assertThat(finish.error()).isEmpty();
                assertThat(finish.externalTokens()).isEqualTo(length);
                prefill.await();
                int[] whole = java.util.Arrays.copyOf(prompt, length + 1);
                whole[length] = prefill.tokens()[0];
                int[] tokens = answer.tokens();
                assertThat(tokens[0]).as("of %d", length).isEqualTo(prefill.tokens()[0]);
                assertThat(java.util.Arrays.copyOfRange(tokens, 1, tokens.length))
                        .isEqualTo(pair.reference(whole, MAX_TOKENS - 1));
            }
            pair.quiet();
        }
    }

    @Test
    void onlyWhatTheDecoderMissesTravelsAndWhatThePrefillerHasGoesAtOnce() throws Exception {
        try (EnginePair pair = start(KvLoadFailurePolicy.FAIL)) {
            int[] shared = prompt(1, 48);
            Collected alone = new Collected();
            pair.decoder.engine.submit(new EngineRequest("own", shared, SamplingParams.greedy(2)), alone);
            alone.await();
            int[] half = prompt(2, 120);
            System.arraycopy(shared, 0, half, 0, 48);
            Collected before = new Collected();
            pair.prefiller.engine.submit(new EngineRequest("before", half, SamplingParams.greedy(2)), before);
            before.await();
            int[] prompt = prompt(3, 180);
            System.arraycopy(half, 0, prompt, 0, 120);
            pair.prefiller.model.hold();
            Collected busy = new Collected(); // its step is held, so that the prefill has not begun
            pair.prefiller.engine.submit(new EngineRequest("busy", prompt(9, 20), SamplingParams.greedy(2)), busy);
            pair.prefiller.model.awaitStep();
            Collected answer = decode(pair, "r", prompt);
            Collected prefill = prefill(pair, "r", prompt);
            pair.prefiller.model.letGo();
            RequestOutput.Finish finish = pair.verify(answer, prompt, MAX_TOKENS);
            assertThat(finish.cachedTokens()).isEqualTo(48);
            assertThat(finish.externalTokens()).isEqualTo(132);
            assertThat(prefill.await().cachedTokens()).isEqualTo(112);
            pair.quiet();
            assertThat(pair.decoder.engine.transferStats().bytesTransferred()).isEqualTo(9 * pair.decoder.blockBytes());
        }
    }

    @Test
    void aPrefillThatNeverComesIsWaitedForSoLongAndThenComputedHere() {
        try (EnginePair pair = start(KvLoadFailurePolicy.RECOMPUTE, Map.of("kv_push_arrival_timeout", 0.5))) {
            int[] prompt = prompt(1, 70);
            long start = System.nanoTime();
            RequestOutput.Finish finish = pair.verify(decode(pair, "r", prompt), prompt, MAX_TOKENS);
            assertThat(finish.externalTokens()).isZero();
            assertThat(Duration.ofNanos(System.nanoTime() - start)).isGreaterThan(Duration.ofMillis(450));
            pair.quiet();
        }
    }

    @ParameterizedTest
    @EnumSource(KvLoadFailurePolicy.class)
    void anotherPromptOfTheSameTransferIsRefused(KvLoadFailurePolicy policy) {
        try (EnginePair pair = start(policy)) {
            int[] prompt = prompt(1, 70);
            Collected answer = decode(pair, "r", prompt);
            Collected other = prefill(pair, "r", prompt(2, 70));
            if (policy == KvLoadFailurePolicy.FAIL) {
                assertThat(answer.await().error())
                        .hasValueSatisfying(why -> assertThat(why).contains("is another one here"));
            } else {
                assertThat(pair.verify(answer, prompt, MAX_TOKENS).externalTokens())
                        .isZero();
            }
            other.await();
            pair.quiet();
        }
    }

    /// What happens in the middle of a push.
    enum Fault {
        PREFILLER_DIES,
        PREFILL_IS_ABORTED,
        DECODER_DIES,
        DECODE_IS_ABORTED,
        DECODE_IS_ABORTED_BEFORE_THE_PREFILL_COMES
    }

    @ParameterizedTest
    @EnumSource(Fault.class)
    void whateverEndsAPushInItsMidstLeavesNothingAndNoWrongToken(Fault fault) throws Exception {
        for (int round = 0; round < 3; round++) {
            try (EnginePair pair = start(KvLoadFailurePolicy.RECOMPUTE)) {
                int[] prompt = prompt(round, 200);
                Collected answer = decode(pair, "r", prompt);
                if (fault == Fault.DECODE_IS_ABORTED_BEFORE_THE_PREFILL_COMES) {
                    pair.decoder.engine.abort("r");
                    assertThat(answer.await().reason()).isEqualTo(FinishReason.ABORT);
                    pair.decoder.quiet();
                    prefill(pair, "r", prompt).await();
                    pair.quiet();
                    continue;
                }
                pair.prefiller.model.hold();
                Collected prefill = prefill(pair, "r", prompt);
                pair.prefiller.model.awaitStep();
                if (round > 0) {
                    await().until(() -> early(pair) > 0);
                }
                switch (fault) {
                    case PREFILLER_DIES -> {
                        pair.prefiller.close();
                        pair.verify(answer, prompt, MAX_TOKENS);
                    }
                    case PREFILL_IS_ABORTED -> {
                        pair.prefiller.engine.abort("r");
                        pair.prefiller.model.letGo();
                        assertThat(prefill.await().reason()).isEqualTo(FinishReason.ABORT);
                        assertThat(pair.verify(answer, prompt, MAX_TOKENS).externalTokens())
                                .isZero();
                    }
                    case DECODER_DIES -> {
                        pair.decoder.close();
                        pair.prefiller.model.letGo();
                        assertThat(prefill.await().error()).isEmpty();
                        if (round == 0) { // it may not have asked yet: nobody but the router knows of it
                            pair.prefiller.engine.abort("r");
                        }
                    }
                    case DECODE_IS_ABORTED -> {
                        pair.decoder.engine.abort("r");
                        assertThat(answer.await().reason()).isEqualTo(FinishReason.ABORT);
                        pair.decoder.quiet();
                        pair.prefiller.model.letGo();
                        assertThat(prefill.await().error()).isEmpty();
                    }
                    default -> throw new IllegalStateException(fault.name());
                }
                long start = System.nanoTime();
                pair.quiet();
                assertThat(Duration.ofNanos(System.nanoTime() - start)).isLessThan(Duration.ofSeconds(8));
            }
        }
    }

    @Test
    void aPushThatFailsEndsTheRequestWhereTheOperatorWantsThat() throws InterruptedException, TimeoutException {
        try (EnginePair pair = start(KvLoadFailurePolicy.FAIL)) {
            int[] prompt = prompt(1, 200);
            Collected answer = decode(pair, "r", prompt);
            pair.prefiller.model.hold();
            Collected prefill = prefill(pair, "r", prompt);
            pair.prefiller.model.awaitStep();
            pair.prefiller.engine.abort("r");
            pair.prefiller.model.letGo();
            prefill.await();
            assertThat(answer.await().error())
                    .hasValueSatisfying(
                            why -> assertThat(why).contains("its prefill did not end with blocks for a decoder"));
            pair.quiet();
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 2})
    void aRequestOfSoFewTokensEndsWithTheFirstOnes(int maxTokens) {
        try (EnginePair pair = start(KvLoadFailurePolicy.FAIL)) {
            for (int i = 0; i < 5; i++) {
                int[] prompt = prompt(i, 100);
                Collected answer = decode(pair, "r" + i, prompt, SamplingParams.greedy(maxTokens));
                Collected prefill = prefill(pair, "r" + i, prompt);
                assertThat(pair.verify(answer, prompt, maxTokens).reason()).isEqualTo(FinishReason.LENGTH);
                prefill.await();
            }
            pair.quiet();
            assertThat(pair.decoder.engine.transferStats().numFailedTransfers()).isZero();
            Metrics metrics = new Metrics(Map.of());
            pair.decoder.engine.addTransferMetrics(metrics);
            assertThat(new String(metrics.text(), StandardCharsets.UTF_8).lines())
                    .noneMatch(line -> line.startsWith("baton:kv_peer_failed_transfers_total{")
                            && !line.endsWith(" 0")
                            && !line.endsWith(" 0.0"));
        }
    }

    @Test
    void twoHundredPushesWithTheirLegsInAnyOrderAllEnd() {
        try (EnginePair pair = start(KvLoadFailurePolicy.RECOMPUTE)) {
            Random random = new Random(200);
            List<int[]> prompts = new ArrayList<>();
            List<Collected> prefills = new ArrayList<>();
            List<Collected> answers = new ArrayList<>();
            for (int i = 0; i < 200; i++) {
                int[] prompt = prompt(1_000 + i, 30 + random.nextInt(150));
                prompts.add(prompt);
                boolean decodeFirst = random.nextBoolean();
                Collected early = decodeFirst ? decode(pair, "r" + i, prompt) : new Collected();
                prefills.add(prefill(pair, "r" + i, prompt));
                answers.add(decodeFirst ? early : decode(pair, "r" + i, prompt));
                if (i % 8 == 7) {
                    answers.get(i - 7).await();
                }
            }
            long external = 0;
            for (int i = 0; i < 200; i++) {
                assertThat(prefills.get(i).await().error()).isEmpty();
                external +=
                        pair.verify(answers.get(i), prompts.get(i), MAX_TOKENS).externalTokens();
            }
            pair.quiet();
            assertThat(external)
                    .isEqualTo(prompts.stream().mapToInt(it -> it.length).sum());
        }
    }
}
