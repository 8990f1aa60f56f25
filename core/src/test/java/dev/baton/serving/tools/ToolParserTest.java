package dev.baton.serving.tools;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.http.Json;
import dev.baton.openai.Tool;
import dev.baton.openai.ToolCall;
import dev.baton.openai.ToolCallDelta;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import java.util.TreeMap;
import java.util.function.Supplier;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;

/// Every parser on a table of texts, and every text in every way of cutting it: the results are the same.
@Timeout(60)
class ToolParserTest {
    private static final String SEP = "<｜tool▁sep｜>";
    private static final String CALLS = "<｜tool▁calls▁begin｜>";
    private static final String CALL = "<｜tool▁call▁begin｜>";
    private static final String CALL_END = "<｜tool▁call▁end｜>";
    private static final String CALLS_END = "<｜tool▁calls▁end｜>";

    private static final List<Tool> TOOLS = List.of(new Tool(
            "f",
            Optional.empty(),
            Optional.of((ObjectNode) Json.parse("""
                            {"type": "object", "properties": {
                              "n": {"type": "integer"}, "x": {"type": "number"}, "b": {"type": "boolean"},
                              "s": {"type": "string"}, "o": {"type": "object"}, "l": {"type": ["array", "null"]},
                              "u": {"anyOf": [{"type": "integer"}, {"type": "string"}]}}}""".getBytes(StandardCharsets.UTF_8))),
            Optional.empty()));

    /// A text and what is in it.
    ///
    /// @param content what a whole answer has as content
    /// @param calls name and arguments, by turns
    private static Arguments found(String parser, String text, String content, String... calls) {
        return Arguments.of(parser, text, content, List.of(calls));
    }

    /// A text that is content and nothing else.
    private static Arguments plain(String parser, String text) {
        return found(parser, text, text);
    }

    static Stream<Arguments> hermes() {
        return Stream.of(
                plain("hermes", "Hello <tool and </tool_call>, 1 < 2 <"),
                plain("hermes", ""),
                plain("hermes", "  \n"),
                found(
                        "hermes",
                        "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"n\": 1}}\n</tool_call>",
                        "",
                        "f",
                        "{\"n\": 1}"),
                found(
                        "hermes",
                        "\n\n<tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call>\n<tool_call>\n"
                                + "{\"arguments\": {\"a\": [1, {\"b\": \"}]\\\"</tool_call>\"}]}, \"name\": \"g\"}\n</tool_call>",
                        "",
                        "f",
                        "{}",
                        "g",
                        "{\"a\": [1, {\"b\": \"}]\\\"</tool_call>\"}]}"),
                found(
                        "hermes",
                        "I look: é😀\n<tool_call>{\"name\": \"ünï\\u0063\", \"id\": 7, \"arguments\": {\"s\": \"\\u00e9 é 😀"
                                + " \\ud83d\\ude00\"}}</tool_call> and more",
                        "I look: é😀\n",
                        "ünïc",
                        "{\"s\": \"\\u00e9 é 😀 \\ud83d\\ude00\"}"),
                found("hermes", "<tool_call>{\"name\": \"f\", \"arguments\": {\"n\": 1}}", "", "f", "{\"n\": 1}"),
                found("hermes", "<tool_call>{\"name\": \"f\", \"arguments\": 17 }</tool_call>", "", "f", "17"),
                found("hermes", "<tool_call>{\"name\": \"f\", \"arguments\": -0.5e+3}</tool_call>", "", "f", "-0.5e+3"),
                found("hermes", "<tool_call>{\"name\": \"f\", \"parameters\": null}</tool_call>", "", "f", "null"),
                // incomplete or malformed: the whole text is content
                plain("hermes", "<tool_call>\n{\"name\": \"weather\", \"arguments"),
                plain("hermes", "<tool_call>\n{\"name\": \"weather\", \"arguments\": 999"),
                plain("hermes", "<tool_call>{\"name\": \"f\", \"arguments\": {\"n\": 1}"),
                plain("hermes", "<tool_call>{\"name\": \"f\", \"arguments\": {\"n\": 1]}</tool_call>"),
                plain("hermes", "<tool_call>{\"name\": \"f\", \"arguments\": {\"n\": 01}}</tool_call> x"),
                plain("hermes", "<tool_call>{\"name\": \"f\", \"arguments\": {\"s\": \"\n\"}}</tool_call>"),
                plain("hermes", "<tool_call>{\"name\": \"f\"}</tool_call>"),
                plain("hermes", "<tool_call>{\"name\": 5, \"arguments\": {}}</tool_call>"),
                plain("hermes", "<tool_call>{\"name\": \"\", \"arguments\": {}}</tool_call>"),
                plain("hermes", "<tool_call>{\"name\": \"\\ud83d\", \"arguments\": {}}</tool_call>"),
                plain("hermes", "<tool_call>f(1)</tool_call>"),
                plain("hermes", "<tool_call>"),
                plain("hermes", "<tool_call><tool_call>"),
                plain("hermes", "<tool_call>{\"name\": \"f\", \"arguments\": tru}</tool_call>"),
                plain(
                        "hermes",
                        "<tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call><tool_call>oh</tool_call>"));
    }

    static Stream<Arguments> granite() {
        return Stream.of(
                plain("granite", "no <|tool call"),
                found(
                        "granite",
                        "ok <|tool_call|> [{\"name\": \"f\", \"arguments\": {\"n\": 1}}, {\"name\": \"g\", \"arguments\": {}}]"
                                + " done",
                        "ok ",
                        "f",
                        "{\"n\": 1}",
                        "g",
                        "{}"),
                found("granite", "<tool_call>[{\"name\": \"f\", \"arguments\": {}}]\n", "", "f", "{}"),
                plain("granite", "<tool_call>[]"),
                plain("granite", "<tool_call>[{\"name\": \"f\", \"arguments\": {}}"),
                plain("granite", "<tool_call>[{\"name\": \"f\", \"arguments\": {}},]"),
                plain("granite", "<tool_call>{\"name\": \"f\", \"arguments\": {}}"));
    }

    static Stream<Arguments> llama() {
        return Stream.of(
                plain("llama3_json", "Hello <|python"),
                found("llama3_json", "{\"name\": \"f\", \"parameters\": {\"n\": 1}}", "", "f", "{\"n\": 1}"),
                found(
                        "llama3_json",
                        "<|python_tag|>{\"type\": \"function\", \"name\": \"f\", \"parameters\": {\"a\": {\"b\": {}}}}; "
                                + "{\"name\": \"g\", \"arguments\": {}}",
                        "",
                        "f",
                        "{\"a\": {\"b\": {}}}",
                        "g",
                        "{}"),
                found(
                        "llama4_json",
                        "Sure: {\"name\": \"f\", \"parameters\": {\"s\": \"{;}\"}} there",
                        "Sure: ",
                        "f",
                        "{\"s\": \"{;}\"}"),
                plain("llama3_json", "{\"name\": \"Bob\", \"age\": 3}"),
                plain("llama3_json", "{\"name\": \"Bob\"} {\"name\": \"f\", \"parameters\": {}}"),
                plain("llama3_json", "if (x) { y } else { z }"),
                plain("llama3_json", "{\"name\": \"f\", \"parameters\": {\"n\": 1"),
                plain("llama3_json", "{\"name\": \"f\", \"parameters\": {\"n\": x}}"));
    }

    static Stream<Arguments> mistral() {
        return Stream.of(
                plain("mistral", "Hello [TOOL_CALL"),
                found(
                        "mistral",
                        "[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {\"n\": 3.5}}, {\"arguments\": {}, \"name\": \"g\"}]x",
                        "",
                        "f",
                        "{\"n\": 3.5}",
                        "g",
                        "{}"),
                found("mistral", "hi[TOOL_CALLS] [TOOL_CALLS] [{\"name\":\"f\",\"arguments\":{}}]", "hi", "f", "{}"),
                found("mistral", "[TOOL_CALLS] {\"name\": \"f\", \"arguments\": {}}", "", "f", "{}"),
                found("mistral", "[TOOL_CALLS][{\"name\": \"f\"}]", "", "f", "{}"),
                found(
                        "mistral",
                        "[TOOL_CALLS][{\"name\": \"f\", \"arguments\": \"{\\\"a\\\": \\\"\\u00e9\\\"}\"}]",
                        "",
                        "f",
                        "{\"a\": \"é\"}"),
                found(
                        "mistral",
                        "[TOOL_CALLS]f{\"a\": {\"b\": \"[TOOL_CALLS]}\"}}[TOOL_CALLS] g [ARGS] {\"c\" : 1} trailing",
                        "",
                        "f",
                        "{\"a\": {\"b\": \"[TOOL_CALLS]}\"}}",
                        "g",
                        "{\"c\" : 1}"),
                found("mistral", "[TOOL_CALLS]f[CALL_ID]abc123456[ARGS]{\"a\": 1}", "", "f", "{\"a\": 1}"),
                plain("mistral", "[TOOL_CALLS]"),
                plain("mistral", "[TOOL_CALLS] ["),
                plain("mistral", "[TOOL_CALLS]f"),
                plain("mistral", "[TOOL_CALLS]{\"a\": 1}"),
                plain("mistral", "[TOOL_CALLS][ARGS]{\"a\": 1}"),
                plain("mistral", "[TOOL_CALLS]f{\"a\": 1"),
                plain("mistral", "[TOOL_CALLS]f{\"a\": x}"),
                plain("mistral", "[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {\"a\": "),
                plain("mistral", "[TOOL_CALLS]f[TOOL_CALLS]g{\"a\": 1}"));
    }

    static Stream<Arguments> pythonic() {
        return Stream.of(
                plain("pythonic", "Hello [f(a=1)]"),
                found("pythonic", "[f(a=1)]", "", "f", "{\"a\": 1}"),
                found("pythonic", " [f(), a.b_2.c ( x = 'y' ,) , ]\n", "", "f", "{}", "a.b_2.c", "{\"x\": \"y\"}"),
                found(
                        "pythonic",
                        "[f(a='it\\'s, \\n(\"q\") \\u00e9 \\x41 \\101', b=\"x'y\", c=[1, -2.5, (3,), (4)], d={'k': {1: None}},"
                                + " e=True, f=false, g=null, h=1e3, i={1, 2}, j=(), k={}, l=0x1F, m=1_000)]",
                        "",
                        "f",
                        "{\"a\": \"it's, \\n(\\\"q\\\") é A A\", \"b\": \"x'y\", \"c\": [1, -2.5, [3], 4], \"d\": {\"k\":"
                                + " {\"1\": null}}, \"e\": true, \"f\": false, \"g\": null, \"h\": 1e3, \"i\": [1, 2],"
                                + " \"j\": [], \"k\": {}, \"l\": 31, \"m\": 1000}"),
                found(
                        "pythonic",
                        "[f(a='''x 'y' \"\"\" z''', b='' 'two', c=r'\\n', d=f'p', e=.5, g=1., h=\"\")]",
                        "",
                        "f",
                        "{\"a\": \"x 'y' \\\"\\\"\\\" z\", \"b\": \"two\", \"c\": \"\\\\n\", \"d\": \"p\", \"e\": 0.5,"
                                + " \"g\": 1.0, \"h\": \"\"}"),
                plain("pythonic", "[]"),
                plain("pythonic", "["),
                plain("pythonic", "[1, 2]"),
                plain("pythonic", "[f(1)]"),
                plain("pythonic", "[f(a=b)]"),
                plain("pythonic", "[f(a==1)]"),
                plain("pythonic", "[f(a=1)] and text"),
                plain("pythonic", "[f(a=1)"),
                plain("pythonic", "[f(a=1"),
                plain("pythonic", "[f(a=1, b="),
                plain("pythonic", "[f(a=1, b=oops)]"),
                plain("pythonic", "[f(a='\\ud83d')]"),
                plain("pythonic", "[f(a=f'{x}')]"),
                plain("pythonic", "[f(a=1), g]"),
                plain("pythonic", "[f(a=1]"),
                plain("pythonic", "[f(a=1); g()]"));
    }

    static Stream<Arguments> qwenXml() {
        return Stream.of(
                plain("qwen3_coder", "x <functio"),
                found(
                        "qwen3_coder",
                        "Look:\n<tool_call>\n<function=f>\n<parameter=n>\n 7\n</parameter>\n<parameter=s>\n 7 <b> & \"q\"\n"
                                + "</parameter>\n</function>\n</tool_call>\n",
                        "Look:\n",
                        "f",
                        "{\"n\": 7, \"s\": \" 7 <b> & \\\"q\\\"\"}"),
                found(
                        "qwen3_xml",
                        "<tool_call><function=f><parameter=x>1.50</parameter><parameter=b>True</parameter>"
                                + "<parameter=o>{\"a\":[1]}</parameter><parameter=l>null</parameter>"
                                + "<parameter=u>x1</parameter><parameter=unknown>5</parameter></function></tool_call>"
                                + "<tool_call><function=g></function></tool_call>",
                        "",
                        "f",
                        "{\"x\": 1.5, \"b\": true, \"o\": {\"a\":[1]}, \"l\": null, \"u\": \"x1\", \"unknown\": \"5\"}",
                        "g",
                        "{}"),
                found(
                        "qwen3_coder",
                        "<function=f><parameter=u>12<parameter=n>no</function>",
                        "",
                        "f",
                        "{\"u\": 12, \"n\": \"no\"}"),
                plain("qwen3_coder", "<tool_call>{\"name\": \"f\"}</tool_call>"),
                plain("qwen3_coder", "<tool_call><function=></function></tool_call>"),
                plain("qwen3_coder", "<tool_call><function=f><parameter=n>1"),
                plain("qwen3_coder", "<tool_call>"));
    }

    static Stream<Arguments> deepSeek() {
        return Stream.of(
                plain("deepseek_v3", "a <｜tool"),
                found(
                        "deepseek_v3",
                        "hm" + CALLS + CALL + "function" + SEP + "f\n```json\n{\"n\": \"```\"}\n```" + CALL_END + "\n"
                                + CALL + "function" + SEP + "g\n```json\n{}\n```" + CALL_END + CALLS_END,
                        "hm",
                        "f",
                        "{\"n\": \"```\"}",
                        "g",
                        "{}"),
                found(
                        "deepseek_v31",
                        CALLS + CALL + "f" + SEP + "{\"n\": 1}" + CALL_END + CALL + "g" + SEP + "{}" + CALL_END
                                + CALLS_END,
                        "",
                        "f",
                        "{\"n\": 1}",
                        "g",
                        "{}"),
                plain("deepseek_v3", CALLS + CALL + "function" + SEP + "f\n```json\n{\"n\": "),
                plain("deepseek_v3", CALLS + CALL + "function" + CALL_END),
                plain("deepseek_v31", CALLS + CALL + SEP + "{}" + CALL_END),
                plain("deepseek_v31", CALLS + CALL + "f" + SEP + "no" + CALL_END));
    }

    static Stream<Arguments> constrained() {
        return Stream.of(
                found(
                        "required",
                        "[{\"name\": \"f\", \"parameters\": {\"n\": 1}}, {\"name\": \"g\", \"parameters\": {}}] ",
                        "",
                        "f",
                        "{\"n\": 1}",
                        "g",
                        "{}"),
                plain("required", "[{\"name\": \"f\", \"parameters\": {\"n\": 1}"),
                plain("required", "[{\"name\": \"f"),
                found("forced", " {\"n\": {\"m\": \"}\"}}", "", "f", "{\"n\": {\"m\": \"}\"}}"),
                found("forced", "12", "", "f", "12"),
                plain("forced", "{\"n\": 1"),
                plain("forced", "{\"n\": 1} and"),
                plain("forced", " \n"));
    }

    static Stream<Arguments> table() {
        return Stream.of(hermes(), granite(), llama(), mistral(), pythonic(), qwenXml(), deepSeek(), constrained())
                .flatMap(rows -> rows);
    }

    private static Supplier<ToolParser> parser(String name) {
        return switch (name) {
            case "required" -> ToolParsers::required;
            case "forced" -> () -> ToolParsers.forced(TOOLS.getFirst());
            default -> () -> ToolParsers.find(name).orElseThrow().parser().apply(TOOLS);
        };
    }

    @ParameterizedTest
    @MethodSource("table")
    void wholeText(String name, String text, String content, List<String> calls) {
        ToolOutput output = ToolOutput.parse(parser(name).get(), text, ToolCallIds.RANDOM, true);
        assertThat(output.content()).isEqualTo(content);
        List<String> found = new ArrayList<>();
        for (ToolCall call : output.calls()) {
            found.add(call.name());
            found.add(call.arguments());
        }
        assertThat(found).isEqualTo(calls);
    }

    /// What a client puts together of a stream.
    private static String streamed(ToolParser parser, List<String> pieces) {
        ToolCallStream stream = new ToolCallStream(parser, ToolCallIds.RANDOM, true);
        StringBuilder content = new StringBuilder();
        TreeMap<Integer, String> names = new TreeMap<>();
        TreeMap<Integer, String> arguments = new TreeMap<>();
        for (int i = 0; i < pieces.size(); i++) {
            ToolCallStream.Delta delta = stream.accept(pieces.get(i), i == pieces.size() - 1);
            content.append(delta.content());
            for (ToolCallDelta call : delta.calls()) {
                assertThat(call.id().isPresent()).isEqualTo(!names.containsKey(call.index()));
                assertThat(call.name().isPresent()).isEqualTo(call.id().isPresent());
                call.name().ifPresent(called -> names.put(call.index(), called));
                arguments.merge(call.index(), call.arguments(), String::concat);
            }
        }
        return content + "|" + names + "|" + arguments;
    }

    @ParameterizedTest
    @MethodSource("table")
    void everyWayOfCuttingTheTextGivesTheSame(String name, String text, String content, List<String> calls) {
        Supplier<ToolParser> parser = parser(name);
        String whole = streamed(parser.get(), List.of(text));
        List<String> characters =
                new ArrayList<>(text.chars().mapToObj(Character::toString).toList());
        characters.add("");
        assertThat(streamed(parser.get(), characters)).isEqualTo(whole);
        for (int cut = 0; cut <= text.length(); cut++) {
            assertThat(streamed(parser.get(), List.of(text.substring(0, cut), text.substring(cut))))
                    .isEqualTo(whole);
        }
        Random random = new Random(text.hashCode());
        for (int round = 0; round < 50; round++) {
            List<String> pieces = new ArrayList<>();
            for (int from = 0; from < text.length(); ) {
                int to = Math.min(text.length(), from + 1 + random.nextInt(9));
                pieces.add(text.substring(from, to));
                from = to;
            }
            pieces.add("");
            assertThat(streamed(parser.get(), pieces)).isEqualTo(whole);
        }
        if (!calls.isEmpty()) {
            StringBuilder names = new StringBuilder();
            for (int i = 0; i < calls.size(); i += 2) {
                names.append(i == 0 ? "" : ", ").append(i / 2).append('=').append(calls.get(i));
            }
            assertThat(whole).contains("|{" + names + "}|");
        }
    }

    /// Nothing makes a parser fail, and no text of an output without calls is lost.
    @Test
    void noiseNeverFailsAndIsNotLost() {
        List<String> parts = List.of(
                "<tool_call>",
                "</tool_call>",
                "<|tool_call|>",
                "[TOOL_CALLS]",
                "[ARGS]",
                "[CALL_ID]",
                "{",
                "}",
                "[",
                "]",
                "\"name\"",
                ":",
                "\"f\"",
                ",",
                "\"arguments\"",
                "\"parameters\"",
                "{\"name\": \"f\", \"arguments\": {",
                "\\",
                "\"",
                "1",
                "-",
                "e",
                ".",
                "true",
                "nul",
                " ",
                "\n",
                "f(",
                "a=",
                ")",
                "'",
                "<function=",
                "<parameter=",
                ">",
                "</parameter>",
                "</function>",
                "é",
                "😀",
                "<|python_tag|>",
                CALLS,
                CALL,
                SEP,
                CALL_END,
                "\n```json\n",
                "text");
        Random random = new Random(4);
        List<String> names = new ArrayList<>(ToolParsers.names());
        names.addAll(List.of("required", "forced"));
        for (int round = 0; round < 20_000; round++) {
            List<String> pieces = new ArrayList<>();
            for (int i = random.nextInt(14); i >= 0; i--) {
                pieces.add(parts.get(random.nextInt(parts.size())));
            }
            String text = String.join("", pieces);
            String name = names.get(round % names.size());
            String whole = streamed(parser(name).get(), List.of(text));
            assertThat(streamed(parser(name).get(), pieces))
                    .as("%s: %s", name, text)
                    .isEqualTo(whole);
            ToolOutput output = ToolOutput.parse(parser(name).get(), text, ToolCallIds.RANDOM, true);
            if (output.calls().isEmpty()) {
                assertThat(output.content()).isEqualTo(text);
            }
        }
    }

    /// A text of a million characters in pieces of four takes no time that counts.
    @ParameterizedTest
    @MethodSource("longTexts")
    void longOutputsTakeLinearTime(String name, String begin, String repeated, String end) {
        ToolCallStream stream = new ToolCallStream(parser(name).get(), ToolCallIds.RANDOM, true);
        stream.accept(begin, false);
        int characters = 0;
        long started = System.nanoTime();
        for (int i = 0; i < 250_000; i++) {
            for (ToolCallDelta call : stream.accept(repeated, false).calls()) {
                characters += call.arguments().length();
            }
        }
        for (ToolCallDelta call : stream.accept(end, true).calls()) {
            characters += call.arguments().length();
        }
        assertThat(characters).isGreaterThanOrEqualTo(1_000_000);
        assertThat((System.nanoTime() - started) / 1_000_000_000.0).isLessThan(10);
    }

    static Stream<Arguments> longTexts() {
        return Stream.of(
                Arguments.of(
                        "hermes", "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": \"", "abcd", "\"}}</tool_call>"),
                Arguments.of(
                        "hermes", "<tool_call>{\"arguments\": {\"a\": \"", "abcd", "\"}, \"name\": \"f\"}</tool_call>"),
                Arguments.of("mistral", "[TOOL_CALLS]f{\"a\": [", "111,", "1]}"),
                Arguments.of("pythonic", "[f(a='", "abcd", "')]"),
                Arguments.of("qwen3_coder", "<function=f><parameter=s>", "abc<", "</parameter></function>"));
    }

    @Test
    void onlyTheFirstCallWithoutParallelCalls() {
        String text = "<tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call>"
                + "<tool_call>{\"name\": \"g\", \"arguments\": {}}</tool_call>";
        assertThat(ToolOutput.parse(parser("hermes").get(), text, ToolCallIds.RANDOM, false)
                        .calls())
                .extracting(ToolCall::name)
                .containsExactly("f");
    }

    @Test
    void idsAreThoseOfTheFormat() {
        String text = "[TOOL_CALLS]f{}";
        ToolFormat format = ToolParsers.find("mistral").orElseThrow();
        assertThat(ToolOutput.parse(parser("mistral").get(), text, format.ids(), true)
                        .calls()
                        .getFirst()
                        .id())
                .matches("[A-Za-z0-9]{9}");
        String hermes = "<tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call>";
        assertThat(ToolOutput.parse(parser("hermes").get(), hermes, ToolCallIds.RANDOM, true)
                        .calls()
                        .getFirst()
                        .id())
                .matches("chatcmpl-tool-[0-9a-f]{16}");
    }

    /// Complete arguments are JSON that a client can read.
    @ParameterizedTest
    @MethodSource("table")
    void argumentsAreJson(String name, String text, String content, List<String> calls) {
        for (int i = 1; i < calls.size(); i += 2) {
            JsonNode json = Json.parse(calls.get(i).getBytes(StandardCharsets.UTF_8));
            assertThat(json).isNotNull();
        }
    }
}
