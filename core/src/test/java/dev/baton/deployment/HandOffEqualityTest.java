package dev.baton.deployment;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.baton.deployment.Deployment.Answer;
import dev.baton.deployment.Deployment.Instance;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInstance;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// The text through router, prefiller and decoder equals, token for token, the text of one instance.
@TestInstance(TestInstance.Lifecycle.PER_CLASS)
class HandOffEqualityTest {
    private static final int PROMPTS = 200;
    private static final int DEFAULT_BLOCK_TOKENS = 16;
    private static final int LONGEST_PROMPT_TOKENS = 1500;
    private static final int LARGEST_BLOCK_TOKENS = 32;
    private static final int OUTPUT_TOKENS = 12;
    private static final int STORY_TOKENS = 400;

    @TempDir
    static Path logs;

    private final List<int[]> prompts = new ArrayList<>();
    private final List<Map<String, Object>> bodies = new ArrayList<>();
    private final List<List<Integer>> expected = new ArrayList<>();
    private final List<Changed> changed = new ArrayList<>();
    private final List<Map<String, Object>> ending = new ArrayList<>();
    private final List<List<Integer>> expectedOfEnding = new ArrayList<>();
    private Deployment referenceDeployment;
    private Instance reference;

    @BeforeAll
    void answersOfOneInstance() {
        referenceDeployment = new Deployment(logs);
        reference = referenceDeployment.single("reference", "--no-enable-prefix-caching");
        referenceDeployment.awaitReady();
        int[] text = storyTokens();
        Random random = new Random(42);
        for (int i = 0; i < PROMPTS; i++) {
            int[] prompt = new int[lengthOf(i)];
            int from = random.nextInt(text.length - prompt.length);
            for (int k = 0; k < prompt.length; k++) {
                prompt[k] = i % 2 == 0 ? text[from + k] : 300 + random.nextInt(3700);
            }
            prompts.add(prompt);
            bodies.add(body(prompt, i));
        }
        expected.addAll(tokensOfAll(referenceDeployment, reference, bodies));
        Random cuts = new Random(7);
        for (int i = PROMPTS - 12; i < PROMPTS; i++) {
            int[] prompt = prompts.get(i).clone();
            int shared = 1 + cuts.nextInt(prompt.length - 1);
            for (int k = shared; k < prompt.length; k++) {
                prompt[k] = 300 + cuts.nextInt(3700);
            }
            Map<String, Object> body = body(prompt, i);
            changed.add(new Changed(shared, prompt.length, body, referenceDeployment.tokenIds(reference, body)));
        }
        int endOfSequence = endOfSequenceToken();
        for (int i = 0; i < PROMPTS; i += 20) {
            Map<String, Object> body = new HashMap<>(bodies.get(i));
            body.put("ignore_eos", false);
            body.put("logit_bias", Map.of(Integer.toString(endOfSequence), 100));
            ending.add(body);
        }
        expectedOfEnding.addAll(tokensOfAll(referenceDeployment, reference, ending));
    }

    /// A prompt of which the decoder knows the beginning.
    ///
    /// @param shared tokens at its beginning that are those of another prompt
    private record Changed(int shared, int length, Map<String, Object> body, List<Integer> expected) {}

    @AfterAll
    void stop() {
        if (referenceDeployment != null) {
            referenceDeployment.close();
        }
    }

    /// From 1 to 1,500, many short ones and few long ones, whose prefill is most of the work, shifted so that every
    /// residue of every block size occurs.
    private static int lengthOf(int i) {
        int even = 1 + (int) ((LONGEST_PROMPT_TOKENS - 1) * Math.pow(i / (PROMPTS - 1.0), 6));
        int shifted = even - even % LARGEST_BLOCK_TOKENS + i % LARGEST_BLOCK_TOKENS;
        return Math.clamp(i == PROMPTS - 1 ? even : shifted, 1, LONGEST_PROMPT_TOKENS);
    }

    /// A long text in the model's own language, as tokens: stories that the model tells itself.
    private int[] storyTokens() {
        List<Map<String, Object>> stories = IntStream.range(0, Math.ceilDiv(2 * LONGEST_PROMPT_TOKENS, STORY_TOKENS))
                .<Map<String, Object>>mapToObj(seed -> Map.of(
                        "prompt",
                        "Once upon a time",
                        "max_tokens",
                        STORY_TOKENS,
                        "seed",
                        seed,
                        "temperature",
                        1.0,
                        "ignore_eos",
                        true,
                        "return_token_ids",
                        true))
                .toList();
        return tokensOfAll(referenceDeployment, reference, stories).stream()
                .flatMap(List::stream)
                .mapToInt(Integer::intValue)
                .toArray();
    }

    private static Map<String, Object> body(int[] prompt, int i) {
        return Deployment.body(prompt, OUTPUT_TOKENS, i);
    }

    private static List<List<Integer>> tokensOfAll(
            Deployment deployment, Instance target, List<Map<String, Object>> bodies) {
        return Deployment.atOnce(bodies, body -> deployment.tokenIds(target, body));
    }

    @Test
    void promptsCoverEveryResidueOfEveryBlockSize() {
        for (int blockTokens : new int[] {8, 16, 32}) {
            Set<Integer> residues = new TreeSet<>();
            prompts.forEach(prompt -> residues.add(prompt.length % blockTokens));
            assertThat(residues).hasSize(blockTokens);
        }
        assertThat(prompts).hasSize(PROMPTS);
        assertThat(prompts.getFirst()).hasSize(1);
        assertThat(prompts.getLast()).hasSize(LONGEST_PROMPT_TOKENS);
    }

    @ParameterizedTest
    @ValueSource(ints = {8, 16, 32})
    void textOfHandOffEqualsTextOfOneInstance(int blockTokens) {
        assumeTrue(
                blockTokens == DEFAULT_BLOCK_TOKENS || System.getenv("BATON_SLOW_TESTS") != null,
                "40 to 75 s for each size: set BATON_SLOW_TESTS=1");
        try (Deployment deployment = Deployment.patient(logs)) {
            String[] flags = {"--block-size", Integer.toString(blockTokens)};
            Instance prefiller = deployment.prefiller(flags);
            Instance decoder = deployment.decoder(flags);
            Instance router = deployment.router(List.of(prefiller), List.of(decoder));
            deployment.awaitReady();

            int promptTokens = 0;
            List<List<Integer>> answers = tokensOfAll(deployment, router, bodies);
            for (int i = 0; i < PROMPTS; i++) {
                assertThat(answers.get(i))
                        .as("prompt %d of %d tokens, blocks of %d", i, prompts.get(i).length, blockTokens)
                        .isEqualTo(expected.get(i));
                promptTokens += prompts.get(i).length;
            }
            double external = deployment.metric(decoder, "vllm:external_prefix_cache_hits_total");
            assertThat(external)
                    .as("tokens that came from the prefiller, of %d", promptTokens)
                    .isGreaterThan(0.9 * promptTokens);

            fullHitOnTheDecoder(deployment, router, decoder, blockTokens);
            partialHitOnTheDecoder(deployment, router, decoder, blockTokens);
            firstTokenIsEndOfSequence(deployment, router);
            deployment.checkBlocks();
        }
    }

    private void fullHitOnTheDecoder(Deployment deployment, Instance router, Instance decoder, int blockTokens) {
        for (int i = PROMPTS - 12; i < PROMPTS; i++) {
            double before = deployment.metric(decoder, "vllm:prefix_cache_hits_total");
            assertThat(deployment.tokenIds(router, bodies.get(i)))
                    .as("prompt %d again, blocks of %d", i, blockTokens)
                    .isEqualTo(expected.get(i));
            int fullBlocksTokens = (prompts.get(i).length - 1) / blockTokens * blockTokens;
            assertThat(deployment.metric(decoder, "vllm:prefix_cache_hits_total") - before)
                    .isEqualTo(fullBlocksTokens);
        }
    }

    private void partialHitOnTheDecoder(Deployment deployment, Instance router, Instance decoder, int blockTokens) {
        for (Changed prompt : changed) {
            double before = deployment.metric(decoder, "vllm:prefix_cache_hits_total");
            assertThat(deployment.tokenIds(router, prompt.body()))
                    .as("%d of %d tokens known, blocks of %d", prompt.shared(), prompt.length(), blockTokens)
                    .isEqualTo(prompt.expected());
            assertThat(deployment.metric(decoder, "vllm:prefix_cache_hits_total") - before)
                    .isEqualTo(Math.min(prompt.shared(), prompt.length() - 1) / blockTokens * blockTokens);
        }
    }

    private void firstTokenIsEndOfSequence(Deployment deployment, Instance router) {
        for (int i = 0; i < ending.size(); i++) {
            Answer answer = deployment.post(router, "/v1/completions", ending.get(i));
            assertThat(answer.status()).as(answer.body()).isEqualTo(200);
            assertThat(answer.tokenIds()).isEqualTo(expectedOfEnding.get(i));
            assertThat(answer.choice().path("finish_reason").asString()).isEqualTo("stop");
            assertThat(answer.choice().path("text").asString()).isEmpty();
        }
    }

    private static int endOfSequenceToken() {
        return Deployment.JSON
                .readTree(Deployment.MODEL.resolve("config.json"))
                .path("eos_token_id")
                .intValue();
    }
}
