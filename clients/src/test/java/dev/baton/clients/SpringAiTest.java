package dev.baton.clients;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.openai.errors.BadRequestException;
import com.openai.errors.NotFoundException;
import java.time.Duration;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;
import org.springframework.ai.chat.messages.SystemMessage;
import org.springframework.ai.chat.messages.UserMessage;
import org.springframework.ai.chat.model.ChatResponse;
import org.springframework.ai.chat.prompt.Prompt;
import org.springframework.ai.openai.OpenAiChatModel;
import org.springframework.ai.openai.OpenAiChatOptions;
import org.springframework.http.MediaType;
import org.springframework.http.client.JdkClientHttpRequestFactory;
import org.springframework.web.client.RestClient;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/// Spring AI's OpenAI module, and Spring's `RestClient` over the JDK's client, through which earlier versions
/// of the module speak: it asks for an upgrade to h2c and sends chunked bodies.
@Timeout(180)
@ExtendWith(BatonServer.Extension.class)
class SpringAiTest {
    private static final String REQUEST = """
            {"model": "tiny", "temperature": 0, "max_tokens": 24, "messages": [
              {"role": "system", "content": "You tell stories."},
              {"role": "user", "content": "Tell me a story about a red lantern. ☂"}]}""";

    private final BatonServer server;

    SpringAiTest(BatonServer server) {
        this.server = server;
    }

    private OpenAiChatModel chat(String model, double topP) {
        OpenAiChatOptions options = OpenAiChatOptions.builder()
                .baseUrl(server.baseUrl())
                .apiKey("none")
                .model(model)
                .temperature(0.0)
                .topP(topP)
                .maxTokens(24)
                .maxRetries(0)
                .streamUsage(true)
                .build();
        return OpenAiChatModel.builder().options(options).build();
    }

    private static Prompt prompt() {
        return new Prompt(List.of(
                new SystemMessage("You tell stories."), new UserMessage("Tell me a story about a red lantern. ☂")));
    }

    private static String text(JsonNode answer) {
        return answer.path("choices").path(0).path("message").path("content").asString();
    }

    @Test
    void chatAnswerIsTheServers() {
        JsonNode expected = server.ask("/chat/completions", REQUEST);
        ChatResponse answer = chat(BatonServer.MODEL, 1).call(prompt());
        assertThat(answer.getResult().getOutput().getText())
                .isEqualTo(text(expected))
                .isNotBlank();
        assertThat(answer.getResult().getMetadata().getFinishReason())
                .isEqualToIgnoringCase(
                        expected.path("choices").path(0).path("finish_reason").asString());
        assertThat(answer.getMetadata().getModel()).isEqualTo(BatonServer.MODEL);
        assertThat(answer.getMetadata().getUsage().getPromptTokens())
                .isEqualTo(expected.path("usage").path("prompt_tokens").asInt());
        assertThat(answer.getMetadata().getUsage().getCompletionTokens())
                .isEqualTo(expected.path("usage").path("completion_tokens").asInt());
    }

    @Test
    void streamedChatAnswerIsTheServersInPieces() {
        JsonNode expected = server.ask("/chat/completions", REQUEST);
        List<ChatResponse> pieces =
                chat(BatonServer.MODEL, 1).stream(prompt()).collectList().block(Duration.ofSeconds(60));
        assertThat(pieces).hasSizeGreaterThan(5);
        StringBuilder text = new StringBuilder();
        for (ChatResponse piece : pieces) {
            if (piece.getResult() != null && piece.getResult().getOutput().getText() != null) {
                text.append(piece.getResult().getOutput().getText());
            }
        }
        assertThat(text).hasToString(text(expected));
        assertThat(pieces.getLast().getMetadata().getUsage().getCompletionTokens())
                .isEqualTo(expected.path("usage").path("completion_tokens").asInt());
    }

    @Test
    void errorsBecomeTheClientsExceptions() {
        assertThatThrownBy(() -> chat("other", 1).call(prompt()))
                .isInstanceOf(NotFoundException.class)
                .hasMessageContaining("The model `other` does not exist.");
        assertThatThrownBy(() -> chat(BatonServer.MODEL, 2).call(prompt()))
                .isInstanceOf(BadRequestException.class)
                .hasMessageContaining("top_p must be in (0, 1], got 2.0.");
    }

    @Test
    void restClientOverTheJdksClientIsAnsweredThoughItChunksAndAsksForAnUpgrade() throws Exception {
        try (RecordingProxy proxy = new RecordingProxy(server.port())) {
            RestClient client = RestClient.builder()
                    .requestFactory(new JdkClientHttpRequestFactory())
                    .baseUrl(proxy.baseUrl())
                    .build();
            for (int i = 0; i < 3; i++) {
                byte[] answer = client.post()
                        .uri("/chat/completions")
                        .contentType(MediaType.APPLICATION_JSON)
                        .body(JsonMapper.shared().readTree(REQUEST))
                        .retrieve()
                        .body(byte[].class);
                assertThat(text(JsonMapper.shared().readTree(answer)))
                        .isEqualTo(text(server.ask("/chat/completions", REQUEST)));
            }
            assertThat(proxy.sent()).contains("Upgrade: h2c").containsIgnoringCase("Transfer-encoding: chunked");
        }
    }
}
