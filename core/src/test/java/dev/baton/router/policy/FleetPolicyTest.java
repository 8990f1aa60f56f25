package dev.baton.router.policy;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.ObjectNode;

class FleetPolicyTest {
    private static final JsonMapper JSON = new JsonMapper();

    private final List<TestEngine> prefillers = new ArrayList<>();
    private final List<TestEngine> decoders = new ArrayList<>();
    private long nowNanos;

    private FleetPolicy policy(PolicyConfig.Builder config, int numPrefillers, int numDecoders) {
        for (int i = 0; i < numPrefillers; i++) {
            prefillers.add(TestEngine.prefiller(i));
        }
        for (int i = 0; i < numDecoders; i++) {
            decoders.add(TestEngine.decoder(i));
        }
        return new FleetPolicy(
                config.build(), true, () -> nowNanos, () -> nowNanos / 1_000_000, new SplittableRandom(5));
    }

    private static PolicyRequest completion(String prompt) {
        return completion(prompt, "");
    }

    private static PolicyRequest completion(String prompt, String session) {
        return new PolicyRequest(JSON.createObjectNode().put("prompt", prompt), false, session);
    }

    /// A chat of the given texts, the user's and the assistant's in turn.
    private static PolicyRequest chat(String... texts) {
        ObjectNode body = JSON.createObjectNode();
        ArrayNode messages = body.putArray("messages");
        for (int i = 0; i < texts.length; i++) {
            messages.addObject().put("role", i % 2 == 0 ? "user" : "assistant").put("content", texts[i]);
        }
        return new PolicyRequest(body, true, "");
    }

    private Route<TestEngine> route(FleetPolicy policy, PolicyRequest request) {
        return policy.route(request, prefillers, decoders).orElseThrow().route();
    }

    /// Routes a request and has it answered in the given times.
    private Route<TestEngine> serve(FleetPolicy policy, PolicyRequest request) {
        return serve(policy, request, 500_000_000);
    }

    private Route<TestEngine> serve(FleetPolicy policy, PolicyRequest request, long decodeNanos) {
        Route<TestEngine> route = route(policy, request);
        if (route instanceof Route.Disaggregated<TestEngine>) {
            nowNanos += 50_000_000;
            policy.prefilled(request);
        }
        nowNanos += 50_000_000;
        policy.firstToken(request);
        nowNanos += decodeNanos;
        policy.ended(request, new RouteOutcome(route, true, 50, 100, 600, -1, -1, 50));
        return route;
    }

    private static PolicyConfig.Builder mode(Mode mode) {
        return PolicyConfig.builder().mode(mode);
    }

    @Test
    void roundRobinTakesPrefillersAndDecodersInTurnByWeight() {
        FleetPolicy policy = policy(mode(Mode.PD).balancing(Balancing.ROUND_ROBIN), 2, 3);
        decoders.get(1).weight = 2;
        Map<String, Integer> counts = new HashMap<>();
        for (int i = 0; i < 40; i++) {
            if (route(policy, completion("x" + i))
                    instanceof Route.Disaggregated<TestEngine>(TestEngine p, TestEngine d)) {
                counts.merge(p.toString(), 1, Integer::sum);
                counts.merge(d.toString(), 1, Integer::sum);
            }
        }
        assertThat(counts).isEqualTo(Map.of("p0", 20, "p1", 20, "d0", 10, "d1", 20, "d2", 10));
    }

    @Test
    void theLeastBusyIsTaken() {
        FleetPolicy policy = policy(mode(Mode.PD).balancing(Balancing.LEAST_LOAD), 1, 3);
        decoders.get(0).inFlight = 4;
        decoders.get(1).inFlight = 9;
        decoders.get(1).weight = 3;
        decoders.get(2).load = new EngineLoad(1, 3, 2, 0);
        assertThat(route(policy, completion("x")).decoder()).hasToString("d1");
    }

    @Test
    void powerOfTwoNeverTakesTheBusiestOfManyTwice() {
        FleetPolicy policy = policy(mode(Mode.PD).balancing(Balancing.POWER_OF_TWO), 1, 8);
        decoders.get(3).inFlight = 100;
        int taken = 0;
        for (int i = 0; i < 640; i++) {
            taken += route(policy, completion("x")).decoder() == decoders.get(3) ? 1 : 0;
        }
        assertThat(taken).isLessThan(40); // only where it is drawn twice: one of 64
    }

    @ParameterizedTest
    @EnumSource(
            value = Balancing.class,
            names = {"CONSISTENT_HASH", "SESSION"})
    void aSessionStaysOnItsEngine(Balancing balancing) {
        FleetPolicy policy = policy(mode(Mode.PD).balancing(balancing), 1, 8);
        Map<String, TestEngine> homes = new HashMap<>();
        for (int i = 0; i < 400; i++) {
            String session = "s" + i % 40;
            TestEngine decoder =
                    route(policy, completion("prompt " + i, session)).decoder();
            decoder.inFlight++;
            assertThat(homes.computeIfAbsent(session, key -> decoder)).isSameAs(decoder);
        }
        assertThat(new HashSet<>(homes.values())).hasSizeGreaterThan(4);
    }

    @Test
    void consistentHashingMovesOnlyTheKeysOfAnEngineThatLeaves() {
        FleetPolicy policy = policy(mode(Mode.PD).balancing(Balancing.CONSISTENT_HASH), 1, 8);
        Map<String, TestEngine> before = new HashMap<>();
        for (int i = 0; i < 200; i++) {
            before.put("s" + i, route(policy, completion("x", "s" + i)).decoder());
        }
        TestEngine gone = decoders.remove(2);
        policy.forgotten(gone);
        before.forEach((session, home) -> {
            TestEngine now = route(policy, completion("x", session)).decoder();
            if (home != gone) {
                assertThat(now).isSameAs(home);
            }
        });
    }

    @Test
    void cacheAwareGoesWhereThePromptIsUntilThatIsMuchBusier() {
        FleetPolicy policy = policy(mode(Mode.AGGREGATED), 0, 4);
        String document = "d".repeat(4000);
        TestEngine home = serve(policy, completion(document + "first")).decoder();
        for (int i = 0; i < 10; i++) {
            assertThat(route(policy, completion(document + i)).decoder()).isSameAs(home);
        }
        home.inFlight = 20;
        assertThat(route(policy, completion(document + "x")).decoder()).isNotSameAs(home);
    }

    @Test
    void cacheAwareGivesWorkToAPrefillerThatComesBackThoughAnotherHasSeenAllPrompts() {
        FleetPolicy policy = policy(mode(Mode.PD), 2, 1);
        TestEngine away = prefillers.remove(0);
        policy.forgotten(away);
        for (int i = 0; i < 100; i++) {
            serve(policy, completion(i % 50 + "d".repeat(4000)), 0);
        }
        prefillers.add(away);
        int taken = 0;
        for (int i = 0; i < 400; i++) {
            Route<TestEngine> route = serve(policy, completion(i % 50 + "d".repeat(4000)), 0);
            taken += route instanceof Route.Disaggregated<TestEngine>(TestEngine p, TestEngine d) && p == away ? 1 : 0;
        }
        assertThat(taken).isBetween(160, 240);
    }

    @Test
    void cacheAwareLeavesPromptsWhereTheyAreWhileThatHasLittleToDo() {
        FleetPolicy policy = policy(mode(Mode.PD), 2, 1);
        Route<TestEngine> first = serve(policy, completion("d".repeat(4000)));
        for (int i = 0; i < 50; i++) {
            nowNanos += 5_000_000_000L;
            assertThat(serve(policy, completion("d".repeat(4000)))).isEqualTo(first);
        }
    }

    @Test
    void anEngineThatWasForgottenIsNotBelievedToHoldAnything() {
        FleetPolicy policy = policy(mode(Mode.AGGREGATED), 0, 2);
        String document = "d".repeat(4000);
        TestEngine home = serve(policy, completion(document)).decoder();
        policy.forgotten(home);
        Set<TestEngine> taken = new HashSet<>();
        for (int i = 0; i < 2; i++) {
            taken.add(route(policy, completion("e".repeat(4000) + i)).decoder());
            taken.add(route(policy, completion(document)).decoder());
        }
        policy.decisions(4).stream()
                .filter(decision -> decision.number() == 3)
                .forEach(decision -> assertThat(decision.cachedTokens()).isZero());
        assertThat(taken).hasSize(2);
    }

    @Test
    void ppdSendsLaterTurnsStraightToTheDecoderThatAnswered() {
        FleetPolicy policy = policy(mode(Mode.PPD), 2, 4);
        for (int i = 0; i < 20; i++) {
            Route<TestEngine> first = serve(policy, chat("hello " + i));
            assertThat(first).isInstanceOf(Route.Disaggregated.class);
            Route<TestEngine> second = serve(policy, chat("hello " + i, "hi", "how are you?"));
            assertThat(second).isEqualTo(new Route.Direct<>(first.decoder()));
            Route<TestEngine> third = serve(policy, chat("hello " + i, "hi", "how are you?", "fine", "good"));
            assertThat(third).isEqualTo(new Route.Direct<>(first.decoder()));
        }
        assertThat(policy.conversations(1).getFirst().turns()).isEqualTo(3);
        assertThat(policy.numConversations()).isEqualTo(20);
    }

    @Test
    void ppdKnowsLaterTurnsOfPlainTextToo() {
        FleetPolicy policy = policy(mode(Mode.PPD), 1, 4);
        for (int length : new int[] {1, 20, 63, 64, 65, 127, 128, 700}) {
            String first = "User: " + length + "u".repeat(length) + "\nAssistant:";
            Route<TestEngine> before = serve(policy, completion(first));
            assertThat(before).isInstanceOf(Route.Disaggregated.class);
            assertThat(serve(policy, completion(first + " yes\nUser: and?\nAssistant:")))
                    .isEqualTo(new Route.Direct<>(before.decoder()));
        }
    }

    @Test
    void ppdTakesNoPromptForALaterTurnThatOnlyBeginsLikeAnother() {
        FleetPolicy policy = policy(mode(Mode.PPD), 1, 2);
        String common = "c".repeat(1000);
        serve(policy, chat(common + "one"));
        assertThat(serve(policy, chat(common + "two"))).isInstanceOf(Route.Disaggregated.class);
        assertThat(serve(policy, chat(common + "one"))).isInstanceOf(Route.Disaggregated.class);
        assertThat(serve(policy, chat(common + "three", "yes", "no"))).isInstanceOf(Route.Disaggregated.class);
        assertThat(serve(policy, completion("a"))).isInstanceOf(Route.Disaggregated.class);
        assertThat(serve(policy, completion("ab"))).isInstanceOf(Route.Direct.class); // it goes on behind "a"
    }

    @Test
    void conversationsWithEqualBeginningsAreDifferentOnes() {
        FleetPolicy policy = policy(mode(Mode.PPD), 1, 4);
        serve(policy, chat("hello"));
        serve(policy, chat("hello"));
        assertThat(policy.numConversations()).isEqualTo(2);
        serve(policy, chat("hello", "hi, I am A", "good"));
        serve(policy, chat("hello", "hi, I am B", "bad"));
        assertThat(policy.conversations(10))
                .extracting(ConversationSummary::turns)
                .containsOnly(2);
    }

    @Test
    void clearedConversationsBeginAnew() {
        FleetPolicy policy = policy(mode(Mode.PPD), 1, 2);
        serve(policy, chat("hello"));
        assertThat(policy.clearConversations()).isEqualTo(1);
        assertThat(policy.numConversations()).isZero();
        assertThat(route(policy, chat("hello", "hi", "and?"))).isInstanceOf(Route.Disaggregated.class);
    }

    @Test
    void withoutPrefillersDecodersAnswerInEveryMode() {
        FleetPolicy policy = policy(mode(Mode.PD), 0, 1);
        for (Mode mode : Mode.values()) {
            policy.switchTo(mode);
            assertThat(route(policy, completion("x")).decoder()).isSameAs(decoders.getFirst());
        }
        decoders.clear();
        for (Mode mode : Mode.values()) {
            policy.switchTo(mode);
            assertThat(policy.route(completion("x"), prefillers, decoders)).isEmpty();
        }
    }

    @Test
    void prefillersThatServeAloneAreAggregatedToo() {
        FleetPolicy policy = policy(mode(Mode.AGGREGATED).balancing(Balancing.ROUND_ROBIN), 1, 1);
        Set<TestEngine> taken = new HashSet<>();
        for (int i = 0; i < 4; i++) {
            taken.add(route(policy, completion("x")).decoder());
        }
        assertThat(taken).containsExactlyInAnyOrder(prefillers.getFirst(), decoders.getFirst());
    }

    @Test
    void everyDecisionOfTheAdaptiveModeCanBeReadWithItsNumbers() {
        FleetPolicy policy = policy(mode(Mode.ADAPTIVE), 1, 1);
        serve(policy, completion("x".repeat(8000)));
        DecisionSummary decision = policy.decisions(1).getFirst();
        assertThat(decision.considered()).hasSize(3);
        assertThat(decision.considered()).allSatisfy(weighed -> {
            assertThat(weighed.cost()).isFinite().isPositive();
            assertThat(weighed.ttftMillis()).isFinite().isPositive();
        });
        assertThat(decision.promptTokens()).isEqualTo(2000);
        assertThat(decision.outcome()).isPresent();
    }

    /// After a decoder's failure another one fetches the same KV cache, at once: no prefill is as fast as that.
    @Test
    void fetchingWhatAnotherDecoderWasToFetchIsNoPrefill() {
        FleetPolicy policy = policy(mode(Mode.ADAPTIVE), 2, 3);
        PolicyRequest unserved = completion("y");
        policy.ended(unserved, new RouteOutcome(route(policy, unserved), false, 0, 0, 0, -1, -1, 0));
        Learned untaught = policy.report().engines().getFirst().learned();
        for (int i = 0; i < 50; i++) {
            PolicyRequest request = completion(i + "x".repeat(20_000));
            Route<TestEngine> route =
                    policy.route(request, List.of(), decoders).orElseThrow().route();
            policy.fetchesOnly(request);
            nowNanos += 1_000_000;
            policy.firstToken(request);
            policy.ended(request, new RouteOutcome(route, false, 0, 0, 0, -1, -1, 0));
        }
        assertThat(policy.report().engines())
                .allSatisfy(engine -> assertThat(engine.learned()).isEqualTo(untaught));
    }

    @Test
    void afterEveryRequestNothingIsLeftInFlight() {
        FleetPolicy policy = policy(mode(Mode.ADAPTIVE), 2, 3);
        SplittableRandom random = new SplittableRandom(9);
        for (int i = 0; i < 500; i++) {
            policy.switchTo(Mode.values()[random.nextInt(4)]);
            PolicyRequest request = completion("x".repeat(random.nextInt(3000)));
            Route<TestEngine> route = route(policy, request);
            for (int again = random.nextInt(3); again > 0; again--) {
                if (random.nextBoolean()) {
                    policy.prefilled(request);
                }
                route = policy.route(request, List.of(), decoders).orElseThrow().route();
            }
            nowNanos += random.nextInt(100_000_000);
            if (random.nextBoolean()) {
                policy.prefilled(request);
            }
            if (random.nextBoolean()) {
                policy.firstToken(request);
            }
            nowNanos += random.nextInt(100_000_000);
            double wrong = random.nextBoolean() ? Double.NaN : -5;
            policy.ended(request, new RouteOutcome(route, random.nextBoolean(), wrong, wrong, wrong, -1, -1, 0));
        }
        assertThat(policy.report().engines()).hasSize(5).allSatisfy(engine -> {
            assertThat(engine.prefills()).isZero();
            assertThat(engine.waitMillis()).isZero();
            assertThat(engine.streams()).isZero();
        });
    }
}
