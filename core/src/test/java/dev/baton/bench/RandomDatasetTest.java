package dev.baton.bench;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class RandomDatasetTest {
    private static final List<String> TOKENS = List.of("<s>", "a", "b", "c", "ab", "bc", "abc", "ca");

    /// A tokenizer that merges: neighbours such as `a` and `b` become one token once they are text.
    private static final Vocabulary MERGING = new Vocabulary(
            IntStream.range(1, TOKENS.size()).toArray(),
            new int[] {0},
            RandomDatasetTest::decode,
            RandomDatasetTest::encode);

    /// No text has as many tokens as were asked for: everything becomes one token.
    private static final Vocabulary SWALLOWING =
            new Vocabulary(new int[] {1, 2, 3}, new int[] {0}, ids -> "x", text -> new int[] {1});

    @ParameterizedTest
    @ValueSource(ints = {2, 3, 7, 16, 17, 100, 1000})
    void promptHasExactlyTheTokensAskedForIncludingTheServersSpecialOnes(int length) {
        List<BenchRequest> requests = new RandomDataset(length, 5, 0, 0).requests(MERGING, 20, 1, true);
        assertThat(requests).hasSize(20).allSatisfy(request -> {
            assertThat(request.prompt())
                    .isInstanceOfSatisfying(
                            Prompt.Text.class,
                            text -> assertThat(encode(text.text())).hasSize(length - 1));
            assertThat(request.promptTokens()).isEqualTo(length - 1);
            assertThat(request.outputTokens()).isEqualTo(5);
        });
    }

    @Test
    void promptWithoutAFittingTextIsSentAsTokens() {
        List<BenchRequest> requests = new RandomDataset(9, 1, 0, 0).requests(SWALLOWING, 3, 1, false);
        assertThat(requests)
                .allSatisfy(request -> assertThat(request.prompt())
                        .isInstanceOfSatisfying(
                                Prompt.Tokens.class,
                                tokens ->
                                        assertThat(tokens.tokenIds()).hasSize(9).startsWith(0)));
    }

    @Test
    void endpointThatTakesTextAloneGetsTheNearestAndItsTrueLength() {
        List<BenchRequest> requests = new RandomDataset(9, 1, 0, 0).requests(SWALLOWING, 1, 1, true);
        assertThat(requests.getFirst().prompt()).isEqualTo(new Prompt.Text("x"));
        assertThat(requests.getFirst().promptTokens()).isEqualTo(1);
    }

    @Test
    void lengthsVaryWithinTheRatio() {
        List<BenchRequest> requests = new RandomDataset(101, 50, 0.5, 0).requests(MERGING, 300, 4, true);
        assertThat(requests).allSatisfy(request -> {
            assertThat(request.promptTokens()).isBetween(50, 150);
            assertThat(request.outputTokens()).isBetween(25, 75);
        });
        assertThat(requests.stream().map(BenchRequest::promptTokens).distinct().count())
                .isGreaterThan(50);
    }

    @Test
    void allPromptsBeginWithThePrefixAndDifferAfterIt() {
        Vocabulary plain = plain();
        List<String> texts = new RandomDataset(11, 1, 0, 6)
                .requests(plain, 10, 3, true).stream()
                        .map(request -> ((Prompt.Text) request.prompt()).text())
                        .toList();
        assertThat(texts)
                .allSatisfy(text ->
                        assertThat(text).hasSize(17).startsWith(texts.getFirst().substring(0, 6)));
        assertThat(texts).doesNotHaveDuplicates();
    }

    @Test
    void sameSeedGivesTheSamePrompts() {
        RandomDataset dataset = new RandomDataset(20, 4, 0.3, 2);
        assertThat(dataset.requests(MERGING, 5, 9, true))
                .isEqualTo(dataset.requests(MERGING, 5, 9, true))
                .isNotEqualTo(dataset.requests(MERGING, 5, 10, true));
    }

    @Test
    void promptsWithoutTokensAreRefused() {
        assertThatThrownBy(() -> new RandomDataset(1, 1, 0, 0).requests(MERGING, 1, 0, true))
                .isInstanceOf(BenchException.class)
                .hasMessageContaining("--random-input-len 1");
        assertThatThrownBy(() -> new RandomDataset(5, 1, 1, 0))
                .isInstanceOf(BenchException.class)
                .hasMessageContaining("--random-range-ratio");
    }

    /// One Chinese character a token, nothing merges.
    private static Vocabulary plain() {
        return new Vocabulary(
                IntStream.range(0x4E00, 0x6E00).toArray(),
                new int[0],
                ids -> Arrays.stream(ids).mapToObj(Character::toString).collect(Collectors.joining()),
                text -> text.chars().toArray());
    }

    private static String decode(int[] ids) {
        return Arrays.stream(ids).mapToObj(TOKENS::get).collect(Collectors.joining());
    }

    /// The longest token first.
    private static int[] encode(String text) {
        List<Integer> ids = new ArrayList<>();
        int at = 0;
        while (at < text.length()) {
            int best = 0;
            for (int id = 1; id < TOKENS.size(); id++) {
                if (text.startsWith(TOKENS.get(id), at)
                        && (best == 0
                                || TOKENS.get(id).length() > TOKENS.get(best).length())) {
                    best = id;
                }
            }
            ids.add(best);
            at += TOKENS.get(best).length();
        }
        return ids.stream().mapToInt(Integer::intValue).toArray();
    }
}
