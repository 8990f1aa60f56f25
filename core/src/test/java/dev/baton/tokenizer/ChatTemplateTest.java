package dev.baton.tokenizer;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.catchThrowable;

import java.io.IOException;
import java.io.InputStream;
import java.time.Clock;
import java.time.LocalDateTime;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;
import tools.jackson.databind.json.JsonMapper;

/// Compares renderings with what jinja2 gave (fixture: `scripts/fixtures/make_chat_templates.py`).
class ChatTemplateTest {
    private static final Map<String, Object> FIXTURE = readFixture();
    private static final Clock CLOCK =
            Clock.fixed(LocalDateTime.parse((String) FIXTURE.get("now")).toInstant(ZoneOffset.UTC), ZoneOffset.UTC);

    @SuppressWarnings("unchecked")
    private static Map<String, Object> readFixture() {
        try (InputStream in = ChatTemplateTest.class.getResourceAsStream("/fixtures/chat-templates.json")) {
            return JsonMapper.shared().readValue(in, Map.class);
        } catch (IOException e) {
            throw new IllegalStateException(e);
        }
    }

    @SuppressWarnings("unchecked")
    private static List<Map<String, Object>> list(Object value) {
        return (List<Map<String, Object>>) value;
    }

    @SuppressWarnings("unchecked")
    private static <V> Map<String, V> map(Object value) {
        return (Map<String, V>) value;
    }

    static List<Arguments> renderings() {
        List<Arguments> renderings = new ArrayList<>();
        List<Map<String, Object>> conversations = list(FIXTURE.get("conversations"));
        for (Map<String, Object> template : list(FIXTURE.get("templates"))) {
            ChatTemplate compiled =
                    ChatTemplate.compile((String) template.get("template"), map(template.get("specialTokens")), CLOCK);
            List<Map<String, Object>> expected = list(template.get("expected"));
            for (int i = 0; i < conversations.size(); i++) {
                Map<String, Object> conversation = conversations.get(i);
                renderings.add(Arguments.of(
                        template.get("name"), conversation.get("name"), compiled, conversation, expected.get(i)));
            }
        }
        return renderings;
    }

    @ParameterizedTest(name = "{0}: {1}")
    @MethodSource("renderings")
    void renderingEqualsThatOfJinja2(
            String template,
            String name,
            ChatTemplate compiled,
            Map<String, Object> conversation,
            Map<String, Object> expected) {
        check(
                expected,
                () -> compiled.render(
                        list(conversation.get("messages")),
                        (Boolean) conversation.get("addGenerationPrompt"),
                        map(conversation.get("extra"))));
    }

    static List<Arguments> cases() {
        return list(FIXTURE.get("cases")).stream()
                .map(c -> Arguments.of(c.get("template"), c))
                .toList();
    }

    @ParameterizedTest(name = "{0}")
    @MethodSource("cases")
    void smallCaseEqualsThatOfJinja2(String template, Map<String, Object> expected) {
        check(
                expected,
                () -> ChatTemplate.compile(template, Map.of(), CLOCK)
                        .render(List.of(), false, map(FIXTURE.get("variables"))));
    }

    private interface Rendering {
        String text();
    }

    private static void check(Map<String, Object> expected, Rendering rendering) {
        if (expected.containsKey("text")) {
            assertThat(rendering.text()).isEqualTo(expected.get("text"));
            return;
        }
        Throwable failure = catchThrowable(rendering::text);
        assertThat(failure).as("jinja2: %s", expected).isInstanceOf(ChatTemplateException.class);
        if (expected.containsKey("raised")) {
            assertThat(failure).hasMessage((String) expected.get("raised"));
        } else {
            assertThat(failure.getMessage()).matches("(?s)chat template: line [0-9]+: .+");
        }
    }

    private static Map<String, Object> message(String role, Object content) {
        Map<String, Object> message = new LinkedHashMap<>();
        message.put("role", role);
        message.put("content", content);
        return message;
    }

    private static ChatTemplate compile(String template) {
        return ChatTemplate.compile(template, Map.of("eos_token", "</s>"), CLOCK);
    }

    @ParameterizedTest
    @MethodSource("unsupported")
    void unsupportedConstructIsNamedWithItsLine(String template, String expected) {
        assertThatThrownBy(() -> compile(template).render(List.of(message("user", "x")), true, Map.of()))
                .isInstanceOf(ChatTemplateException.class)
                .hasMessageContaining(expected);
    }

    static List<Arguments> unsupported() {
        return List.of(
                Arguments.of("a\nb\n{% include 'x' %}", "line 3: the statement 'include' is not supported"),
                Arguments.of("\n{% for x in y recursive %}{% endfor %}", "line 2: a recursive loop is not supported"),
                Arguments.of("\n\n{{ 'a' | urlize }}", "line 3: the filter 'urlize' is not supported"),
                Arguments.of("{{ 'a' |\n\n pprint }}", "line 3: the filter 'pprint' is not supported"),
                Arguments.of("\n{{ 'a' is filter }}", "line 2: the test 'filter' is not supported"),
                Arguments.of("\n{{ 'a'.encode() }}", "line 2: str.encode() is not supported"),
                Arguments.of("{{ cycler(1) }}", "line 1: the function 'cycler' is not supported"),
                Arguments.of("{{ '{:>4}'.format(1) }}", "the format field '{:>4}' is not supported"),
                Arguments.of("{{ '%.2f' % 1.5 }}", "the format '%.' is not supported"),
                Arguments.of("{{ 9223372036854775807 + 1 }}", "beyond 64 bits is not supported"),
                Arguments.of("{{ 10 ** 30 }}", "beyond 64 bits is not supported"),
                Arguments.of("{{ strftime_now('%V') }}", "the date directive '%V' is not supported"),
                Arguments.of("{{ namespace }}", "printing a function is not supported"),
                Arguments.of("{{ messages | map('trim') }}", "printing a generator is not supported"),
                Arguments.of("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "a macro calls itself too often"),
                Arguments.of("{{ messages[0].content.x.y }}", "'str' object has no attribute 'x'"));
    }

    @Test
    void finalMessageIsContinuedWhereItsTextEnds() {
        ChatTemplate template = compile("{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>\n{% endfor %}");
        List<Map<String, Object>> messages = List.of(message("user", "Say a poem"), message("assistant", "Roses are "));
        assertThat(template.render(messages, false, Map.of("continue_final_message", true)))
                .isEqualTo("<user>Say a poem</s>\n<assistant>Roses are ");
        assertThat(messages.get(1)).containsEntry("content", "Roses are ");
    }

    @Test
    void finalMessageThatTheTemplateTrimsIsContinuedWithoutItsTrailingSpace() {
        ChatTemplate template = compile("{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}</s>{% endfor %}");
        assertThat(template.render(
                        List.of(message("assistant", " Roses are \n")), false, Map.of("continue_final_message", true)))
                .isEqualTo("<assistant>Roses are");
    }

    @Test
    void finalMessageOfPartsIsContinuedInItsLastText() {
        ChatTemplate template =
                compile("{% for m in messages %}{% for p in m.content %}[{{ p.text }}]{% endfor %}{% endfor %}");
        List<Object> parts = List.of(Map.of("type", "text", "text", "a"), Map.of("type", "text", "text", "b"));
        assertThat(template.render(List.of(message("assistant", parts)), false, Map.of("continue_final_message", true)))
                .isEqualTo("[a][b");
    }

    @Test
    void continuingIsRefusedWhereItCannotBe() {
        ChatTemplate template = compile("{{ messages[0].role }}");
        Map<String, Object> extra = Map.of("continue_final_message", true);
        assertThatThrownBy(() -> template.render(List.of(message("assistant", "x")), true, extra))
                .hasMessageContaining("not compatible");
        assertThatThrownBy(() -> template.render(List.of(message("assistant", "x")), false, extra))
                .hasMessageContaining("does not appear in the chat");
        assertThatThrownBy(() -> template.render(List.of(message("assistant", null)), false, extra))
                .hasMessageContaining("could not find any text");
        assertThatThrownBy(() -> template.render(List.of(), false, extra)).isInstanceOf(ChatTemplateException.class);
    }

    @Test
    void extraVariablesAndSpecialTokensAreSeen() {
        Map<String, Object> extra = new HashMap<>();
        extra.put("kwarg", List.of(1, 2));
        extra.put("tools", null);
        assertThat(compile(
                                "{{ eos_token }}{{ kwarg }}{{ tools is none }}{{ documents is none }}{{ bos_token is defined }}")
                        .render(List.of(), false, extra))
                .isEqualTo("</s>[1, 2]TrueTrueFalse");
    }

    @Test
    void oneTemplateRendersInManyThreadsAtOnce() throws ExecutionException, InterruptedException {
        ChatTemplate template = compile(
                "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + m.content %}{% endfor %}{{ ns.n }}");
        try (ExecutorService threads = Executors.newVirtualThreadPerTaskExecutor()) {
            List<Future<String>> texts = new ArrayList<>();
            for (int i = 0; i < 200; i++) {
                List<Map<String, Object>> messages = List.of(message("user", i), message("user", 1));
                texts.add(threads.submit(() -> template.render(messages, false, Map.of())));
            }
            for (int i = 0; i < texts.size(); i++) {
                assertThat(texts.get(i).get()).isEqualTo(Integer.toString(i + 1));
            }
        }
    }
}
