package dev.baton.deployment;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.deployment.Deployment.Answer;
import dev.baton.deployment.Deployment.Instance;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.databind.JsonNode;

/// The embedded model remembers what was said turns ago, over a hand-off: a wrong KV block would make it forget.
class RecallTest {
    @TempDir
    Path logs;

    @ParameterizedTest
    @ValueSource(strings = {"", "--quantization int8 --kv-cache-dtype bfloat16"})
    void atLeastNinetyOfAHundredFactsAreRecalledThroughTheHandOff(String line) throws IOException {
        String[] flags = line.isEmpty() ? new String[0] : line.split(" ");
        Path heldOut = Deployment.MODEL.resolveSibling("training").resolve("heldout.jsonl");
        Assumptions.assumeTrue(Files.exists(heldOut), "the held-out conversations are not there");
        List<String> conversations = Files.readAllLines(heldOut);
        assertThat(conversations).hasSize(100);
        try (Deployment deployment = new Deployment(logs)) {
            Instance prefiller = deployment.prefiller(flags);
            Instance decoder = deployment.decoder(flags);
            Instance router = deployment.router(List.of(prefiller), List.of(decoder));
            deployment.awaitReady();
            List<Boolean> recalled = Deployment.atOnce(conversations, held -> isRecalled(deployment, router, held));
            assertThat(recalled.stream().filter(is -> is).count()).isGreaterThanOrEqualTo(90);
        }
    }

    private static boolean isRecalled(Deployment deployment, Instance router, String held) {
        JsonNode conversation = Deployment.JSON.readTree(held);
        Answer answer = deployment.post(
                router,
                "/v1/chat/completions",
                Map.of(
                        "messages", conversation.path("messages"),
                        "max_completion_tokens", 64,
                        "temperature", 0));
        assertThat(answer.status()).as(answer.body()).isEqualTo(200);
        String text = answer.choice().path("message").path("content").asString();
        String fact = conversation.path("expected").asString();
        return text.toLowerCase(Locale.ROOT).contains(fact.toLowerCase(Locale.ROOT));
    }
}
