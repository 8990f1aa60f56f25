package dev.baton.serving;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.openai.client.OpenAIClient;
import com.openai.client.okhttp.OpenAIOkHttpClient;
import com.openai.core.http.StreamResponse;
import com.openai.errors.BadRequestException;
import com.openai.errors.NotFoundException;
import com.openai.models.chat.completions.ChatCompletion;
import com.openai.models.chat.completions.ChatCompletionChunk;
import com.openai.models.chat.completions.ChatCompletionCreateParams;
import com.openai.models.chat.completions.ChatCompletionStreamOptions;
import com.openai.models.completions.Completion;
import com.openai.models.completions.CompletionCreateParams;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInstance;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/// The official client is served without special cases.
@Timeout(60)
@TestInstance(TestInstance.Lifecycle.PER_CLASS)
class OpenAiClientTest {
    @TempDir
    static Path directory;

    private Instance instance;
    private OpenAIClient client;

    @BeforeAll
    void start() {
        instance = Instance.start(directory);
        client = OpenAIOkHttpClient.builder()
                .baseUrl(instance.uri("/v1").toString())
                .apiKey("none")
                .maxRetries(0)
                .build();
    }

    @AfterAll
    void stop() {
        if (client != null) {
            client.close();
        }
        if (instance != null) {
            instance.close();
        }
    }

    private static CompletionCreateParams.Builder completion() {
        return CompletionCreateParams.builder()
                .model("tiny")
                .prompt("héllo\n")
                .maxTokens(6)
                .temperature(0);
    }

    private static ChatCompletionCreateParams.Builder chat() {
        return ChatCompletionCreateParams.builder()
                .model("tiny")
                .addUserMessage("x\n")
                .maxCompletionTokens(8)
                .temperature(0);
    }

    @Test
    void wholeCompletion() {
        Completion answer = client.completions().create(completion().build());
        assertThat(answer.choices().getFirst().text()).isEqualTo("héllo");
        assertThat(answer.usage().orElseThrow().completionTokens()).isEqualTo(6);
    }

    @Test
    void streamedCompletion() {
        StringBuilder text = new StringBuilder();
        try (StreamResponse<Completion> stream =
                client.completions().createStreaming(completion().build())) {
            stream.stream()
                    .forEach(chunk -> text.append(chunk.choices().getFirst().text()));
        }
        assertThat(text.toString()).isEqualTo("héllo");
    }

    @Test
    void wholeChatCompletion() {
        ChatCompletion answer = client.chat().completions().create(chat().build());
        assertThat(answer.choices().getFirst().message().content()).contains("istant: ");
        assertThat(answer.choices().getFirst().finishReason().toString()).isEqualTo("length");
    }

    @Test
    void streamedChatCompletion() {
        StringBuilder text = new StringBuilder();
        List<ChatCompletionChunk> chunks;
        try (StreamResponse<ChatCompletionChunk> stream = client.chat()
                .completions()
                .createStreaming(chat().streamOptions(ChatCompletionStreamOptions.builder()
                                .includeUsage(true)
                                .build())
                        .build())) {
            chunks = stream.stream().toList();
        }
        for (ChatCompletionChunk chunk : chunks) {
            chunk.choices()
                    .forEach(choice -> text.append(choice.delta().content().orElse("")));
        }
        assertThat(text.toString()).isEqualTo("istant: ");
        assertThat(chunks.getLast().usage().orElseThrow().completionTokens()).isEqualTo(8);
    }

    @Test
    void errorsBecomeTheClientsExceptions() {
        assertThatThrownBy(() ->
                        client.completions().create(completion().model("other").build()))
                .isInstanceOf(NotFoundException.class);
        assertThatThrownBy(() ->
                        client.completions().create(completion().maxTokens(0).build()))
                .isInstanceOf(BadRequestException.class)
                .hasMessageContaining("max_tokens must be at least 1, got 0.");
    }

    @Test
    void modelsAreListed() {
        assertThat(client.models().list().data().getFirst().id()).isEqualTo("tiny");
    }
}
