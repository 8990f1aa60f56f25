package dev.baton.serving;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class StopMatcherTest {
    /// Cuts random texts into random pieces and compares with a search in the whole text.
    @ParameterizedTest
    @ValueSource(longs = {1, 2, 3, 4, 5, 6, 7, 8})
    void piecesGiveWhatTheWholeTextGives(long seed) {
        Random random = new Random(seed);
        for (int round = 0; round < 2000; round++) {
            List<String> stops = new ArrayList<>();
            for (int i = random.nextInt(3); i >= 0; i--) {
                stops.add(text(random, 1 + random.nextInt(4)));
            }
            String whole = text(random, random.nextInt(20));
            boolean include = random.nextBoolean();

            // The text ends with the first piece in which a stop text is complete; of those, the first to begin.
            StopMatcher matcher = new StopMatcher(stops, include);
            StringBuilder shown = new StringBuilder();
            Optional<String> stop = Optional.empty();
            int fed = 0;
            while (fed < whole.length() && stop.isEmpty()) {
                StopMatcher.Match match = matcher.append(whole.substring(fed, fed + 1), true);
                fed++;
                shown.append(match.text());
                stop = match.stop();
            }
            if (stop.isEmpty()) {
                shown.append(matcher.flush());
                assertThat(shown.toString()).isEqualTo(whole);
                assertThat(stops.stream().anyMatch(whole::contains)).isFalse();
            } else {
                String seen = whole.substring(0, fed);
                assertThat(seen).endsWith(stop.get());
                String before = whole.substring(0, fed - 1);
                assertThat(stops.stream().anyMatch(before::contains)).isFalse();
                int at = seen.indexOf(stop.get());
                assertThat(shown.toString())
                        .isEqualTo(seen.substring(0, include ? at + stop.get().length() : at));
            }
        }
    }

    private static String text(Random random, int length) {
        StringBuilder text = new StringBuilder();
        for (int i = 0; i < length; i++) {
            text.append((char) ('a' + random.nextInt(2)));
        }
        return text.toString();
    }

    @Test
    void onlyWhatMayBecomeAStopTextIsHeldBack() {
        StopMatcher matcher = new StopMatcher(List.of("STOP"), false);
        assertThat(matcher.append("go ST", true).text()).isEqualTo("go ");
        assertThat(matcher.append("A", true).text()).isEqualTo("STA");
    }
}
