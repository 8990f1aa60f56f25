package dev.baton.router.policy;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.Arrays;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.databind.node.ObjectNode;

class PromptBlocksTest {
    private static final long KEY = 42;
    private static final JsonMapper JSON = new JsonMapper();

    private static PromptBlocks chat(String body) {
        return PromptBlocks.of((ObjectNode) JSON.readTree(body), true, KEY);
    }

    private static PromptBlocks text(String prompt) {
        return PromptBlocks.of(JSON.createObjectNode().put("prompt", prompt), false, KEY);
    }

    private static int common(PromptBlocks one, PromptBlocks other) {
        int mismatch = Arrays.mismatch(one.chain(), other.chain());
        return mismatch < 0 ? one.chain().length : mismatch;
    }

    @ParameterizedTest
    @ValueSource(ints = {0, 1, 63, 64, 65, 127, 128, 129, 1000})
    void aTextHasABlockForEachWhole64Bytes(int length) {
        PromptBlocks blocks = text("x".repeat(length));
        assertThat(blocks.length()).isEqualTo(length);
        assertThat(blocks.chain()).hasSize(length / 64);
        assertThat(blocks.hashUpTo(length)).isEqualTo(blocks.endHash());
    }

    @ParameterizedTest
    @ValueSource(ints = {0, 1, 63, 64, 65, 500, 639})
    void blocksAreEqualUpToTheFirstDifference(int at) {
        String one = "a".repeat(640);
        String other = one.substring(0, at) + "b" + one.substring(at + 1);
        assertThat(common(text(one), text(other))).isEqualTo(at / 64);
    }

    @Test
    void aLaterTurnBeginsWithTheWholeTurnBefore() {
        String first = """
                {"role": "system", "content": "%s"}, {"role": "user", "content": "%s"}""".formatted("s".repeat(300), "u".repeat(200));
        PromptBlocks before = chat("{\"messages\": [" + first + "]}");
        PromptBlocks later = chat("{\"messages\": [" + first
                + ", {\"role\": \"assistant\", \"content\": \"yes\"}, {\"role\": \"user\", \"content\": \"and?\"}]}");
        assertThat(common(before, later)).isEqualTo(before.chain().length).isPositive();
        assertThat(later.answerAt()).isEqualTo(before.length());
        assertThat(later.hashUpTo(later.answerAt())).isEqualTo(before.endHash());
        assertThat(before.turn()).isEqualTo(1);
        assertThat(later.turn()).isEqualTo(2);
    }

    @Test
    void contentInPartsIsTheSameAsInOnePiece() {
        String text = "t".repeat(100);
        assertThat(chat("{\"messages\": [{\"role\": \"user\", \"content\": \"" + text + "\"}]}")
                        .endHash())
                .isEqualTo(chat("{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \""
                                + text + "\"}]}]}")
                        .endHash());
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "\"model\": \"other\"",
                "\"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"f\"}}]",
                "\"chat_template_kwargs\": {\"enable_thinking\": false}",
                "\"cache_salt\": \"s\""
            })
    void whatStandsBeforeTheMessagesKeepsPromptsApart(String field) {
        String messages = "\"messages\": [{\"role\": \"user\", \"content\": \"" + "u".repeat(200) + "\"}]";
        assertThat(common(chat("{" + messages + "}"), chat("{" + field + ", " + messages + "}")))
                .isZero();
    }

    @Test
    void whereAMessageEndsIsPartOfIt() {
        assertThat(chat("""
                {"messages": [{"role": "user", "content": "ab"}, {"role": "user", "content": "c"}]}""").endHash()).isNotEqualTo(chat("""
                {"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "bc"}]}""").endHash());
    }

    @Test
    void tokenIdsAreFourBytesEach() {
        ObjectNode body = JSON.createObjectNode();
        for (int i = 0; i < 33; i++) {
            body.withArray("prompt").add(100_000 + i);
        }
        PromptBlocks blocks = PromptBlocks.of(body, false, KEY);
        assertThat(blocks.ids()).isTrue();
        assertThat(blocks.length()).isEqualTo(132);
        assertThat(blocks.chain()).hasSize(2);
    }

    @ParameterizedTest
    @ValueSource(strings = {"{}", "{\"prompt\": null}", "{\"prompt\": []}", "{\"prompt\": 7}", "{\"prompt\": [[]]}"})
    void whatIsNoPromptHasNoBlocks(String body) {
        ObjectNode json = (ObjectNode) JSON.readTree(body);
        assertThat(PromptBlocks.of(json, false, KEY).chain()).isEmpty();
        assertThat(PromptBlocks.of(json, true, KEY).chain()).isEmpty();
    }
}
