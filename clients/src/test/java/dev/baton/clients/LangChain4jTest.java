package dev.baton.clients;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.langchain4j.data.message.SystemMessage;
import dev.langchain4j.data.message.UserMessage;
import dev.langchain4j.exception.InvalidRequestException;
import dev.langchain4j.exception.ModelNotFoundException;
import dev.langchain4j.model.StreamingResponseHandler;
import dev.langchain4j.model.chat.response.ChatResponse;
import dev.langchain4j.model.chat.response.StreamingChatResponseHandler;
import dev.langchain4j.model.openai.OpenAiChatModel;
import dev.langchain4j.model.openai.OpenAiLanguageModel;
import dev.langchain4j.model.openai.OpenAiStreamingChatModel;
import dev.langchain4j.model.openai.OpenAiStreamingLanguageModel;
import dev.langchain4j.model.output.FinishReason;
import dev.langchain4j.model.output.Response;
import java.io.IOException;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;
import tools.jackson.databind.JsonNode;

/// LangChain4j's OpenAI module with its default HTTP client, that of the JDK, which asks for an upgrade to h2c.
@Timeout(180)
@ExtendWith(BatonServer.Extension.class)
class LangChain4jTest {
    private static final String QUESTION = "Tell me a story about a red lantern. ☂";

    private final BatonServer server;
    private RecordingProxy proxy;

    LangChain4jTest(BatonServer server) {
        this.server = server;
    }

    @BeforeEach
    void startProxy() throws IOException {
        proxy = new RecordingProxy(server.port());
    }

    @AfterEach
    void theClientAskedForAnUpgrade() throws IOException {
        proxy.close();
        assertThat(proxy.sent()).contains("Upgrade: h2c").contains("HTTP2-Settings: ");
    }

    private OpenAiChatModel.OpenAiChatModelBuilder chat() {
        return OpenAiChatModel.builder()
                .baseUrl(proxy.baseUrl())
                .apiKey("none")
                .modelName(BatonServer.MODEL)
                .maxRetries(0)
                .temperature(0.0)
                .maxCompletionTokens(24);
    }

    private JsonNode expectedChat() {
        return server.ask("/chat/completions", """
                {"model": "tiny", "temperature": 0, "max_completion_tokens": 24, "messages": [
                  {"role": "system", "content": "You tell stories."},
                  {"role": "user", "content": "%s"}]}""".formatted(QUESTION));
    }

    private static String text(JsonNode answer) {
        return answer.path("choices").path(0).path("message").path("content").asString();
    }

    @Test
    void chatAnswerIsTheServers() {
        JsonNode expected = expectedChat();
        ChatResponse answer = chat().build().chat(SystemMessage.from("You tell stories."), UserMessage.from(QUESTION));
        assertThat(answer.aiMessage().text()).isEqualTo(text(expected)).isNotBlank();
        assertThat(answer.modelName()).isEqualTo(BatonServer.MODEL);
        assertThat(answer.id()).startsWith("chatcmpl-");
        assertThat(answer.finishReason())
                .isEqualTo(
                        expected.path("choices")
                                        .path(0)
                                        .path("finish_reason")
                                        .asString()
                                        .equals("stop")
                                ? FinishReason.STOP
                                : FinishReason.LENGTH);
        assertThat(answer.tokenUsage().inputTokenCount())
                .isEqualTo(expected.path("usage").path("prompt_tokens").asInt());
        assertThat(answer.tokenUsage().outputTokenCount())
                .isEqualTo(expected.path("usage").path("completion_tokens").asInt());
    }

    @Test
    void streamedChatAnswerIsTheServersInPieces() throws Exception {
        JsonNode expected = expectedChat();
        List<String> pieces = new CopyOnWriteArrayList<>();
        CompletableFuture<ChatResponse> whole = new CompletableFuture<>();
        OpenAiStreamingChatModel.builder()
                .baseUrl(proxy.baseUrl())
                .apiKey("none")
                .modelName(BatonServer.MODEL)
                .temperature(0.0)
                .maxCompletionTokens(24)
                .build()
                .chat(
                        List.of(SystemMessage.from("You tell stories."), UserMessage.from(QUESTION)),
                        new StreamingChatResponseHandler() {
                            @Override
                            public void onPartialResponse(String piece) {
                                pieces.add(piece);
                            }

                            @Override
                            public void onCompleteResponse(ChatResponse response) {
                                whole.complete(response);
                            }

                            @Override
                            public void onError(Throwable error) {
                                whole.completeExceptionally(error);
                            }
                        });
        ChatResponse answer = whole.get(60, TimeUnit.SECONDS);
        assertThat(answer.aiMessage().text()).isEqualTo(text(expected)).isEqualTo(String.join("", pieces));
        assertThat(pieces).hasSizeGreaterThan(5);
        assertThat(answer.tokenUsage().outputTokenCount())
                .isEqualTo(expected.path("usage").path("completion_tokens").asInt());
    }

    private String expectedCompletion() {
        return server.ask("/completions", "{\"model\": \"tiny\", \"temperature\": 0, \"prompt\": \"Once upon a time\"}")
                .path("choices")
                .path(0)
                .path("text")
                .asString();
    }

    @Test
    void completionIsTheServers() {
        Response<String> answer = OpenAiLanguageModel.builder()
                .baseUrl(proxy.baseUrl())
                .apiKey("none")
                .modelName(BatonServer.MODEL)
                .maxRetries(0)
                .temperature(0.0)
                .build()
                .generate("Once upon a time");
        assertThat(answer.content()).isEqualTo(expectedCompletion()).isNotBlank();
        assertThat(answer.tokenUsage().outputTokenCount()).isEqualTo(16);
    }

    @Test
    void streamedCompletionIsTheServers() throws Exception {
        StringBuffer pieces = new StringBuffer();
        CompletableFuture<Response<String>> whole = new CompletableFuture<>();
        OpenAiStreamingLanguageModel.builder()
                .baseUrl(proxy.baseUrl())
                .apiKey("none")
                .modelName(BatonServer.MODEL)
                .temperature(0.0)
                .build()
                .generate("Once upon a time", new StreamingResponseHandler<String>() {
                    @Override
                    public void onNext(String piece) {
                        pieces.append(piece);
                    }

                    @Override
                    public void onComplete(Response<String> response) {
                        whole.complete(response);
                    }

                    @Override
                    public void onError(Throwable error) {
                        whole.completeExceptionally(error);
                    }
                });
        assertThat(whole.get(60, TimeUnit.SECONDS).content())
                .isEqualTo(expectedCompletion())
                .isEqualTo(pieces.toString());
    }

    @Test
    void errorsBecomeTheClientsExceptions() {
        assertThatThrownBy(() -> chat().modelName("other").build().chat("x"))
                .isInstanceOf(ModelNotFoundException.class)
                .hasMessageContaining("The model `other` does not exist.");
        assertThatThrownBy(() -> chat().topP(2.0).build().chat("x"))
                .isInstanceOf(InvalidRequestException.class)
                .hasMessageContaining("top_p must be in (0, 1], got 2.0.");
    }
}
