package dev.baton.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.io.OutputStream;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Deque;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.regex.Pattern;
import org.jline.reader.EndOfFileException;
import org.jline.reader.UserInterruptException;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/// Against a small server of the JDK's that answers `answer N` to the N-th question.
class ChatSessionTest {
    private static final JsonMapper JSON = new JsonMapper();
    private static final ChatSession.Settings SETTINGS = new ChatSession.Settings(
            Optional.empty(), Optional.of("be brief"), Optional.of(0.5), Optional.of(9), Optional.empty());

    private final List<JsonNode> bodies = Collections.synchronizedList(new ArrayList<>());
    private final ExecutorService threads = Executors.newVirtualThreadPerTaskExecutor();
    private HttpServer server;
    private String base;

    @BeforeEach
    void start() throws IOException {
        server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        server.setExecutor(threads);
        server.createContext("/v1/models", exchange -> {
            byte[] body = "{\"data\":[{\"id\":\"tiny\"}]}".getBytes(StandardCharsets.UTF_8);
            exchange.sendResponseHeaders(200, body.length);
            exchange.getResponseBody().write(body);
            exchange.close();
        });
        server.createContext("/v1/chat/completions", exchange -> {
            JsonNode body = JSON.readTree(exchange.getRequestBody().readAllBytes());
            bodies.add(body);
            String question = body.path("messages")
                    .get(body.path("messages").size() - 1)
                    .path("content")
                    .asString();
            if (question.startsWith("refuse ")) {
                byte[] refusal = question.substring("refuse 400 ".length()).getBytes(StandardCharsets.UTF_8);
                exchange.sendResponseHeaders(Integer.parseInt(question.substring(7, 10)), refusal.length);
                exchange.getResponseBody().write(refusal);
                exchange.close();
                return;
            }
            exchange.sendResponseHeaders(200, 0);
            OutputStream out = exchange.getResponseBody();
            piece(out, "answer ");
            if (question.equals("endless")) {
                try {
                    while (true) {
                        piece(out, ".");
                        Thread.sleep(20);
                    }
                } catch (IOException | InterruptedException e) {
                    exchange.close();
                    return;
                }
            }
            if (question.equals("break off")) {
                exchange.close();
                return;
            }
            if (question.equals("garble")) {
                out.write("data: {\"choices\"\n\n".getBytes(StandardCharsets.UTF_8));
            }
            piece(out, Integer.toString(bodies.size()));
            out.write("data: [DONE]\n\n".getBytes(StandardCharsets.UTF_8));
            exchange.close();
        });
        server.start();
        base = "http://127.0.0.1:" + server.getAddress().getPort();
    }

    @AfterEach
    void stop() {
        server.stop(0);
        threads.shutdownNow();
    }

    @Test
    void answersArriveInPiecesAndTheConversationGrowsUntilANewOne() {
        try (ChatSession session = new ChatSession(base, SETTINGS)) {
            StringBuffer shown = new StringBuffer();
            assertThat(session.ask("first", shown::append)).isEqualTo(ChatSession.Ending.COMPLETE);
            session.ask("second", shown::append);
            session.clear();
            session.ask("third", shown::append);
            assertThat(shown).hasToString("answer 1answer 2answer 3");
        }
        assertThat(bodies.get(1).path("messages").toString())
                .isEqualTo(
                        "[{\"role\":\"system\",\"content\":\"be brief\"},{\"role\":\"user\",\"content\":\"first\"},"
                                + "{\"role\":\"assistant\",\"content\":\"answer 1\"},{\"role\":\"user\",\"content\":\"second\"}]");
        assertThat(bodies.get(2).path("messages")).hasSize(2);
        assertThat(bodies.get(0).path("model").asString()).isEqualTo("tiny");
        assertThat(bodies.get(0).path("max_completion_tokens").asInt()).isEqualTo(9);
    }

    @Test
    void interruptedAnswerEndsAndStaysInTheConversationAsFarAsItCame() throws Exception {
        try (ChatSession session = new ChatSession(base, SETTINGS)) {
            CountDownLatch begun = new CountDownLatch(3);
            Thread.ofVirtual().start(() -> {
                try {
                    begun.await();
                } catch (InterruptedException e) {
                    Thread.currentThread().interrupt();
                }
                session.interrupt();
            });
            assertThat(session.ask("endless", piece -> begun.countDown())).isEqualTo(ChatSession.Ending.INTERRUPTED);
            session.ask("and now", piece -> {});
        }
        assertThat(bodies.get(1).path("messages").get(2).path("content").asString())
                .startsWith("answer ..");
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
            refuse 400 {"error":{"message":"no"}}              | no
            refuse 400 plain words                             | plain words
            refuse 400 {"other":1}                             | {"other":1}
            refuse 400 {"error":{"message":"context length"}}  | context length%n/new begins a new conversation.
            refuse 503 {"error":{"message":"busy"}}            | Refused with status 503: busy
            """)
    void refusedQuestionIsExplainedAndForgotten(String question, String explanation) {
        try (ChatSession session = new ChatSession(base, SETTINGS)) {
            assertThatThrownBy(() -> session.ask(question, piece -> {}))
                    .isInstanceOf(CliException.class)
                    .hasMessage(explanation.replace("%n", System.lineSeparator()));
            session.ask("again", piece -> {});
        }
        assertThat(bodies.get(1).path("messages")).hasSize(2);
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
            break off | it ended without [DONE]
            garble    | cannot be read
            """)
    @Timeout(20)
    void answerThatIsNotWholeIsAFailure(String question, String reason) {
        try (ChatSession session = new ChatSession(base, SETTINGS)) {
            assertThatThrownBy(() -> session.ask(question, piece -> {}))
                    .isInstanceOf(CliException.class)
                    .hasMessageContaining(reason);
            assertThat(session.ask("again", piece -> {})).isEqualTo(ChatSession.Ending.COMPLETE);
        }
    }

    @Test
    void serverThatIsNotThereIsNamedWithWhatToDo() {
        assertThatThrownBy(() -> new ChatSession("http://127.0.0.1:1", SETTINGS))
                .isInstanceOf(CliException.class)
                .hasMessageContaining("http://127.0.0.1:1")
                .hasMessageContaining("./baton up");
    }

    @Test
    void slashCommandsStayAwayFromTheModel() {
        StringWriter shown = new StringWriter();
        PrintWriter out = new PrintWriter(shown);
        try (ChatSession session = new ChatSession(base, SETTINGS)) {
            for (String line : List.of("/help", " /foo", "/foo bar", "/", "/?", "/new")) {
                assertThat(ChatCommand.answer(session, line, out)).isTrue();
            }
            assertThat(bodies).isEmpty();
            assertThat(shown.toString())
                    .startsWith(ChatCommand.COMMANDS + System.lineSeparator())
                    .contains("There is no command /foo. " + ChatCommand.COMMANDS);
            assertThat(ChatCommand.answer(session, "/etc/hosts is what?", out)).isTrue();
            assertThat(bodies).hasSize(1);
            assertThat(ChatCommand.answer(session, "/exit", out)).isFalse();
        }
    }

    @ParameterizedTest
    @CsvSource(textBlock = """
            ^C ^C unread,          130, 1
            ^C hello ^C ^C unread, 130, 2
            ^C typed^C ^C ^C,      130, 2
            typed^C typed^C /exit, 0,   0
            ^C ^D,                 0,   1
            """)
    void secondInterruptInARowAtTheEmptyPromptLeaves(String script, int status, int hints) {
        Deque<String> keys = new ArrayDeque<>(List.of(script.split(" ")));
        StringWriter shown = new StringWriter();
        try (ChatSession session = new ChatSession(base, SETTINGS)) {
            int exit = ChatCommand.converse(
                    session,
                    prompt -> {
                        String typed = keys.remove();
                        if (typed.equals("^D")) {
                            throw new EndOfFileException();
                        }
                        if (typed.endsWith("^C")) {
                            throw new UserInterruptException(typed.substring(0, typed.length() - 2));
                        }
                        return typed;
                    },
                    new PrintWriter(shown));
            assertThat(exit).isEqualTo(status);
        }
        assertThat(shown.toString().split(Pattern.quote(ChatCommand.HOW_TO_LEAVE), -1))
                .hasSize(hints + 1);
        assertThat(keys).hasSize(script.endsWith("unread") ? 1 : 0);
    }

    private static void piece(OutputStream out, String text) throws IOException {
        out.write("data: {\"choices\":[{\"delta\":{\"content\":\"%s\"}}]}\n\n"
                .formatted(text)
                .getBytes(StandardCharsets.UTF_8));
        out.flush();
    }
}
