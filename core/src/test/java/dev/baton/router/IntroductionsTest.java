package dev.baton.router;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import dev.baton.discovery.EngineAddress;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// Decoders hear of prefillers before the first request.
@Timeout(60)
class IntroductionsTest {
    private static final String FIRST = "{\"remote_engine_id\":\"p0\",\"remote_host\":\"h\",\"remote_port\":1}";
    private static final String AGAIN = "{\"remote_engine_id\":\"p0b\",\"remote_host\":\"h\",\"remote_port\":2}";
    private static final String SECOND = "{\"remote_engine_id\":\"p1\",\"remote_host\":\"h\",\"remote_port\":3}";
    private static final String DECODER = "{\"remote_engine_id\":\"d\",\"remote_host\":\"h\",\"remote_port\":0}";

    private static List<String> told(StubEngine engine) {
        return engine.introductions.stream().map(StubEngine.Received::text).toList();
    }

    private static void awaitProbes(StubEngine engine) {
        int before = engine.probes.get();
        await().until(() -> engine.probes.get() > before + 2);
    }

    @Test
    void everyDecoderIsToldOfEveryPrefillerOnceAndOfOneThatWasStartedAgain() throws Exception {
        try (Fleet fleet = new Fleet(2, 2, config -> config.engineKey(Optional.of("k")))) {
            fleet.prefiller(0).peer = FIRST;
            fleet.prefiller(1).peer = SECOND;
            fleet.decoders.forEach(decoder -> decoder.peer = DECODER);
            for (StubEngine decoder : fleet.decoders) {
                await().atMost(Duration.ofSeconds(10)).until(() -> told(decoder).size() == 2);
                assertThat(told(decoder)).containsExactlyInAnyOrder(FIRST, SECOND);
                assertThat(decoder.introductions)
                        .allMatch(it -> "Bearer k".equals(it.headers().get("authorization")));
            }
            fleet.prefiller(0).peer = AGAIN;
            for (StubEngine decoder : fleet.decoders) {
                await().atMost(Duration.ofSeconds(10)).until(() -> told(decoder).size() == 3);
                assertThat(told(decoder)).last().isEqualTo(AGAIN);
            }
            fleet.decoder(0).peer = DECODER.replace("\"d\"", "\"d2\""); // it was started again and knows nobody
            await().atMost(Duration.ofSeconds(10))
                    .until(() -> told(fleet.decoder(0)).size() == 5);
            assertThat(told(fleet.decoder(0)).subList(3, 5)).containsExactlyInAnyOrder(AGAIN, SECOND);
            fleet.engines().forEach(IntroductionsTest::awaitProbes);
            assertThat(told(fleet.decoder(1))).hasSize(3);
            assertThat(fleet.prefillers).allMatch(prefiller -> prefiller.introductions.isEmpty());
        }
    }

    @ParameterizedTest
    @CsvSource({
        "127.0.0.1, 10.0.0.7, 10.0.0.7",
        "0.0.0.0, p.example, p.example",
        "10.0.0.8, 10.0.0.7, 10.0.0.8",
        "127.0.0.1, 127.0.0.1, 127.0.0.1",
        "127.0.0.1, localhost, 127.0.0.1"
    })
    void aHostThatMeansThePrefillersOwnMachineIsPutRight(String said, String reachedAt, String told) {
        assertThat(Introductions.reachable(
                        FIRST.replace("\"h\"", '"' + said + '"'), new EngineAddress(reachedAt, 8100)))
                .isEqualTo(FIRST.replace("\"h\"", '"' + told + '"'));
    }

    @Test
    void whatIsNoJsonIsPassedOnAsItIs() {
        assertThat(Introductions.reachable("{127.0.0.1", new EngineAddress("10.0.0.7", 8100)))
                .isEqualTo("{127.0.0.1");
    }

    @Test
    void enginesThatSayNothingAreLeftAlone() throws Exception {
        try (Fleet fleet = new Fleet(1, 1)) {
            fleet.prefiller(0).peer = FIRST;
            fleet.engines().forEach(IntroductionsTest::awaitProbes);
            assertThat(fleet.decoder(0).introductions).isEmpty();
        }
    }
}
