package dev.baton.openai;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.catchThrowable;

import dev.baton.http.Json;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Random;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;

/// The short cut reads what the parser reads, and refuses what it refuses.
class TokenIdsTest {
    private static final String[] VALUES = {
        "0",
        "7",
        "42",
        "128000",
        "9999999",
        "10000000",
        "123456789",
        "2147483648",
        "-1",
        "1.0",
        "1e-3",
        "01",
        "00",
        "+1",
        "\"1\"",
        "null",
        "true",
        "[1]",
        "{}",
        "",
        "1 2",
        "1x",
        "\u0661"
    };

    private static final String[] SEPARATORS = {",", ", ", " ,\n\t", "\r\n,", ";", ",,", ""};

    private static byte[] utf8(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    private static JsonNode parse(String body) {
        return TokenIds.parse(utf8(body), Json::parse);
    }

    /// Equal trees, or failures that say the same; and written again, the same body in other words.
    private static void assertReadAsUsual(String body) {
        byte[] bytes = utf8(body);
        JsonNode expected;
        try {
            expected = Json.parse(bytes);
        } catch (Json.MalformedException usual) {
            Throwable thrown = catchThrowable(() -> TokenIds.parse(bytes, Json::parse));
            assertThat(thrown)
                    .as(body)
                    .isInstanceOf(Json.MalformedException.class)
                    .hasMessage(usual.getMessage());
            assertThat(((Json.MalformedException) thrown).offsetBytes())
                    .as(body)
                    .isEqualTo(usual.offsetBytes());
            return;
        }
        JsonNode read = TokenIds.parse(bytes, Json::parse);
        assertThat(read).as(body).isEqualTo(expected).hasToString(expected.toString());
        assertThat(Json.bytes(read)).as(body).isEqualTo(Json.bytes(expected));
        if (read instanceof ObjectNode object) {
            assertThat(Json.parse(TokenIds.bytes(object, Json::bytes))).as(body).isEqualTo(expected);
            assertThat(object).as("the tree after it was written").isEqualTo(expected);
        }
        for (JsonNode prompt : read.path("prompt")) {
            assertThat(prompt.getNodeType()).as(body).isNotNull();
        }
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "{'prompt':[1]}",
                "{'prompt':[0]}",
                "{'prompt':[1,2,3]",
                "{'prompt':[1,2,3]}}",
                "{'prompt':[1,2,3]} x",
                "{'prompt':[1,2,3],}",
                "{'prompt':[1,2,3,]}",
                "{'prompt':[,1]}",
                "{'prompt':[]}",
                "{'prompt':[",
                "{'prompt':[1",
                "{'prompt':[1,",
                "{'prompt'[1,2]}",
                "{'prompt' 'prompt':[1,2]}",
                "{,'prompt':[1,2]}",
                "['prompt',[1,2]]",
                "[{'prompt':[1,2]}]",
                "{'a':{'prompt':[1,2]},'b':1}",
                "{'a':[{'prompt':[1,2]}],'prompt':[3]}",
                "{'a':'prompt','prompt' : [ 1 , 2 ] , 'b' : 2}",
                "{'a':'\\'prompt\\':[1,2]','prompt':[3]}",
                "{'a\\\\':1,'prompt':[3]}",
                "{'a':'}','prompt':[3]}",
                "{'prompt':[1,2],'prompt':[3,4]}",
                "{'prompt':[1,2],'prompt':'text'}",
                "{'prompt':'text','prompt':[1,2]}",
                "{'prompt':[1,2],'\\u0070rompt':[3]}",
                "{'\\u0070rompt':[3],'prompt':[1,2]}",
                "{'prompt':[1,2],'x':'\\ud800'}",
                "{'prompt':[1,2],'x':tru}",
                "{'prompt':[[1,2],[3]]}",
                "{'prompt':[1,[2]]}",
                "{'prompt':['a',1]}",
                "{'prompt':[1,'a']}",
                "{'prompt':{'prompt':[1,2]}}",
                "{'prompts':[1,2],'prompt':[3]}",
                " \n{'prompt':[1,2]}\n",
                "\uFEFF{'prompt':[1,2]}",
                "",
                "'prompt':[1]",
                "{'prompt",
                "{'prompt'",
                "{'prompt':",
                "{'prompt\\"
            })
    void aBodyIsReadAsTheParserReadsIt(String body) {
        assertReadAsUsual(body.replace('\'', '"'));
    }

    @Test
    void listsOfAnythingAreReadAsTheParserReadsThem() {
        Random random = new Random(20261122);
        for (int round = 0; round < 20_000; round++) {
            StringBuilder body = new StringBuilder("{\"n\": 1, \"prompt\": [");
            int length = random.nextInt(12);
            for (int i = 0; i < length; i++) {
                boolean odd = random.nextInt(10) == 0;
                body.append(i == 0 ? "" : SEPARATORS[odd ? random.nextInt(SEPARATORS.length) : random.nextInt(4)]);
                body.append(
                        random.nextInt(10) == 0
                                ? VALUES[random.nextInt(VALUES.length)]
                                : Integer.toString(random.nextInt(1 << random.nextInt(1, 31))));
            }
            body.append(random.nextInt(20) == 0 ? "" : "]").append(random.nextBoolean() ? "}" : ", \"x\": [true]}");
            assertReadAsUsual(body.toString());
        }
    }

    @Test
    void bytesThatAreNoJsonAreRefusedAsUsual() {
        Random random = new Random(5);
        byte[] body = utf8("{\"model\": \"m\", \"prompt\": [12, 345, 6], \"max_tokens\": 5}");
        for (int round = 0; round < 20_000; round++) {
            byte[] changed = body.clone();
            changed[random.nextInt(changed.length)] = (byte) random.nextInt(256);
            String text = new String(changed, StandardCharsets.ISO_8859_1);
            Throwable usual = catchThrowable(() -> Json.parse(changed));
            if (usual == null) {
                assertThat(TokenIds.parse(changed, Json::parse)).as(text).isEqualTo(Json.parse(changed));
            } else {
                assertThatThrownBy(() -> TokenIds.parse(changed, Json::parse))
                        .as(text)
                        .hasMessage(usual.getMessage());
            }
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 2, 7, 8, 1000, 7500})
    void aPromptOfPlainIdsBecomesIntsAndIsWrittenAsItCame(int length) {
        int[] ids = new Random(length).ints(length, 0, 10_000_000).toArray();
        String list = Arrays.stream(ids).mapToObj(Integer::toString).collect(Collectors.joining(", ", "[", "]"));
        JsonNode tree = parse("{\"stream\": true, \"prompt\": " + list + ", \"max_tokens\": 200}");
        assertThat(tree.get("prompt")).isInstanceOf(TokenIds.class);
        assertThat(((TokenIds) tree.get("prompt")).ids()).isEqualTo(ids);
        assertThat(CompletionRequest.parse(tree).prompts())
                .singleElement()
                .isInstanceOfSatisfying(
                        Prompt.Tokens.class, prompt -> assertThat(prompt.ids()).isEqualTo(ids));
        ObjectNode other = ((ObjectNode) tree).put("max_tokens", 1).put("stream", false);
        assertThat(new String(TokenIds.bytes(other, Json::bytes), StandardCharsets.UTF_8))
                .isEqualTo("{\"stream\":false,\"prompt\":" + list + ",\"max_tokens\":1}");
    }

    @Test
    void whatTheParserReadsOfALongPromptIsShort() {
        String ids = IntStream.range(0, 7500).mapToObj(Integer::toString).collect(Collectors.joining(","));
        TokenIds.parse(utf8("{\"prompt\":[" + ids + "]}"), read -> {
            assertThat(read).hasSizeLessThan(100);
            return Json.parse(read);
        });
    }

    @Test
    void aPromptFarBehindTheBeginningIsTheParsers() {
        String body = "{\"user\":\"" + "u".repeat(5000) + "\",\"prompt\":[1,2]}";
        assertThat(parse(body).get("prompt")).isNotInstanceOf(TokenIds.class);
        assertReadAsUsual(body);
    }
}
