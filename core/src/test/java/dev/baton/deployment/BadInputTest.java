package dev.baton.deployment;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import dev.baton.deployment.Deployment.Answer;
import dev.baton.deployment.Deployment.Instance;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.TestInstance;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// Bad requests get vLLM's error JSON, through the router as well as at an instance, and leak nothing.
@TestInstance(TestInstance.Lifecycle.PER_CLASS)
class BadInputTest {
    @TempDir
    static Path logs;

    private Deployment deployment;
    private Instance prefiller;
    private Instance decoder;
    private Instance router;

    @BeforeAll
    void start() {
        deployment = new Deployment(logs);
        prefiller = deployment.prefiller();
        decoder = deployment.decoder();
        router = deployment.router(List.of(prefiller), List.of(decoder));
        deployment.awaitReady();
    }

    @AfterEach
    void nothingIsLeaked() {
        deployment.checkBlocks();
        for (Instance instance : List.of(prefiller, decoder)) {
            await("gauges, which are published behind a step").untilAsserted(() -> {
                assertThat(deployment.metric(instance, "vllm:num_requests_running"))
                        .isZero();
                assertThat(deployment.metric(instance, "vllm:num_requests_waiting"))
                        .isZero();
            });
        }
    }

    @AfterAll
    void stop() {
        if (deployment != null) {
            deployment.close();
        }
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', quoteCharacter = '`', textBlock = """
                    malformed JSON      | {"prompt": "a",                       | 400
                    not an object       | [1, 2]                                | 400
                    no prompt           | {"max_tokens": 4}                     | 400
                    unknown model       | {"model": "gpt-9", "prompt": "a"}     | 404
                    max_tokens 0        | {"prompt": "a", "max_tokens": 0}      | 400
                    max_tokens a string | {"prompt": "a", "max_tokens": "many"} | 400
                    temperature -1      | {"prompt": "a", "temperature": -1}    | 400
                    n of a million      | {"prompt": "a", "n": 1000000}         | 400
                    token out of range  | {"prompt": [99999999]}                | 400
                    stream_options      | {"prompt": "a", "stream_options": {}} | 400
                    """)
    void badRequestGetsAnErrorOfVllmsForm(String name, String body, int status) {
        for (Instance target : List.of(router, decoder)) {
            check(deployment.post(target, "/v1/completions", body), name, status);
        }
    }

    @ParameterizedTest
    @CsvSource({"4000, 4", "2049, 1", "2048, 1"})
    void promptOverTheContextIsRefusedBeforeAnyWork(int promptTokens, int maxTokens) {
        String body = "{\"prompt\": [" + "400,".repeat(promptTokens - 1) + "400], \"max_tokens\": " + maxTokens + "}";
        for (Instance target : List.of(router, decoder)) {
            check(deployment.post(target, "/v1/completions", body), promptTokens + " tokens", 400);
        }
    }

    private static void check(Answer answer, String name, int status) {
        assertThat(answer.status()).as("%s: %s", name, answer.body()).isEqualTo(status);
        assertThat(answer.json().path("error").path("code").intValue()).isEqualTo(status);
        assertThat(answer.json().path("error").path("message").asString()).isNotBlank();
        assertThat(answer.json().path("error").path("type").asString()).isNotBlank();
        assertThat(answer.json().path("error").has("param")).isTrue();
    }
}
