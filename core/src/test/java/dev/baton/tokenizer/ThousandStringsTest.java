package dev.baton.tokenizer;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.stream.IntStream;
import java.util.zip.GZIPInputStream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/// The same ids and texts as `transformers` on 1,000 strings and 1,000 conversations made of them, for
/// tokenizers of several kinds (fixture: `scripts/fixtures/make_tokenizer_strings.py`).
class ThousandStringsTest {
    private static final JsonNode FIXTURE = readFixture();
    private static final List<String> TEXTS = texts();
    private static final Map<String, Tokenizer> TOKENIZERS = new HashMap<>();

    private static JsonNode readFixture() {
        try (InputStream in = ThousandStringsTest.class.getResourceAsStream("/fixtures/tokenizer/strings.json.gz");
                InputStream json = new GZIPInputStream(in)) {
            return JsonMapper.shared().readTree(json);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static List<String> texts() {
        List<String> texts = new ArrayList<>();
        FIXTURE.path("texts").forEach(text -> texts.add(text.asString()));
        return texts;
    }

    private static Tokenizer tokenizer(String name) {
        return TOKENIZERS.computeIfAbsent(name, n -> {
            Path here = Path.of("").toAbsolutePath();
            Path repository = Files.exists(here.resolve("models")) ? here : here.getParent();
            return Tokenizer.load(
                    n.equals("baton-tiny") ? repository.resolve("models/baton-tiny") : TokenizerTest.folder(n));
        });
    }

    @AfterAll
    static void close() {
        TOKENIZERS.values().forEach(Tokenizer::close);
        TOKENIZERS.clear();
    }

    private static JsonNode named(String list, String name) {
        for (JsonNode item : FIXTURE.path(list)) {
            if (item.path("name").asString().equals(name)) {
                return item;
            }
        }
        throw new AssertionError("the fixture has no " + name);
    }

    private static int[] ints(JsonNode array) {
        return IntStream.range(0, array.size()).map(i -> array.path(i).asInt()).toArray();
    }

    @Test
    void stringsCoverEveryPlane() {
        assertThat(TEXTS).hasSize(1000);
        assertThat(TEXTS.stream()
                        .flatMapToInt(String::codePoints)
                        .map(c -> c >> 16)
                        .distinct()
                        .sorted())
                .containsExactlyElementsOf(IntStream.rangeClosed(0, 16).boxed().toList());
    }

    @ParameterizedTest
    @ValueSource(strings = {"baton-tiny", "byte-level", "qwen", "sentencepiece", "metaspace", "mistral"})
    void idsAndTextsAreThoseOfTransformers(String name) {
        Tokenizer tokenizer = tokenizer(name);
        JsonNode cases = named("tokenizers", name).path("cases");
        assertThat(cases.size()).isEqualTo(TEXTS.size());
        for (int i = 0; i < TEXTS.size(); i++) {
            String text = TEXTS.get(i);
            JsonNode expected = cases.path(i);
            int[] ids = ints(expected.path("ids"));
            String decoded = expected.has("decoded") ? expected.path("decoded").asString() : text;
            String skipped = expected.has("skipped") ? expected.path("skipped").asString() : decoded;
            String what = "text " + i + ": " + text;
            assertThat(tokenizer.encode(text, false)).as(what).isEqualTo(ids);
            assertThat(tokenizer.encode(text, false, true))
                    .as("special tokens split, %s", what)
                    .isEqualTo(expected.has("split") ? ints(expected.path("split")) : ids);
            assertThat(tokenizer.decode(ids, false)).as(what).isEqualTo(decoded);
            assertThat(tokenizer.decode(ids, true)).as(what).isEqualTo(skipped);
        }
    }

    /// However many tokens come at a time, the pieces make the text, and no piece has half a character.
    @ParameterizedTest
    @ValueSource(strings = {"baton-tiny", "byte-level", "qwen", "sentencepiece", "metaspace", "mistral"})
    void piecesOfAnyNumberOfTokensMakeTheText(String name) {
        Tokenizer tokenizer = tokenizer(name);
        Random random = new Random(3);
        JsonNode cases = named("tokenizers", name).path("cases");
        for (int i = 0; i < TEXTS.size(); i++) {
            int[] ids = ints(cases.path(i).path("ids"));
            boolean skip = random.nextBoolean();
            IncrementalDetokenizer detokenizer = tokenizer.detokenizer(skip);
            StringBuilder whole = new StringBuilder();
            for (int at = 0; at < ids.length; ) {
                StringBuilder piece = new StringBuilder();
                for (int end = Math.min(ids.length, at + random.nextInt(1, 6)); at < end; at++) {
                    piece.append(detokenizer.append(ids[at]));
                }
                assertThat(piece.codePoints()).noneMatch(c -> c >= 0xd800 && c <= 0xdfff);
                if (TEXTS.get(i).indexOf('\ufffd') < 0 && !name.equals("byte-level")) { // it has 'é' as a bare byte
                    assertThat(piece.indexOf("\ufffd")).as("text %d", i).isEqualTo(-1);
                }
                whole.append(piece);
            }
            whole.append(detokenizer.finish());
            assertThat(whole.toString()).isEqualTo(tokenizer.decode(ids, skip));
        }
    }

    private static List<Map<String, Object>> messages(JsonNode conversation) {
        List<Map<String, Object>> messages = new ArrayList<>();
        for (JsonNode message : conversation.path("messages")) {
            Map<String, Object> plain = new LinkedHashMap<>();
            plain.put("role", message.path("role").asString());
            plain.put("content", TEXTS.get(message.path("content").asInt()));
            messages.add(plain);
        }
        return messages;
    }

    private static int[] encode(Tokenizer tokenizer, List<Map<String, Object>> messages) {
        SpecialTokenGuard guard = tokenizer.guard(messages);
        ChatTemplate template = tokenizer.chatTemplate().orElseThrow();
        String rendered = template.render(guard.mark(messages), true, Map.of());
        assertThat(guard.withoutMarks(rendered)).isEqualTo(template.render(messages, true, Map.of()));
        return tokenizer.encode(rendered, guard, false);
    }

    @ParameterizedTest
    @ValueSource(strings = {"baton-tiny", "qwen"})
    void conversationsAreThoseOfTransformersAndTheirTextsForgeNoSpecialToken(String name) {
        Tokenizer tokenizer = tokenizer(name);
        JsonNode conversations = named("chats", name).path("conversations");
        assertThat(conversations.size()).isEqualTo(1000);
        for (JsonNode conversation : conversations) {
            List<Map<String, Object>> messages = messages(conversation);
            assertThat(encode(tokenizer, messages)).as("%s", messages).isEqualTo(ints(conversation.path("ids")));
        }
    }

    /// Where the words before and after a special token matter to the tokens (Metaspace), there is still one
    /// special token for each that the template writes, and the text is whole.
    @Test
    void conversationsOfAMetaspaceTokenizerHoldTheTemplatesSpecialTokensOnly() {
        Tokenizer tokenizer = tokenizer("mistral");
        List<Map<String, Object>> plain = List.of(Map.of("role", "user", "content", "x"));
        int[] expected = specials(tokenizer, encode(tokenizer, plain));
        assertThat(expected).hasSize(3);
        for (String text : TEXTS) {
            List<Map<String, Object>> messages = List.of(Map.of("role", "user", "content", text));
            SpecialTokenGuard guard = tokenizer.guard(messages);
            String rendered = tokenizer.chatTemplate().orElseThrow().render(guard.mark(messages), true, Map.of());
            int[] ids = tokenizer.encode(rendered, guard, false);
            if (text.indexOf('\u2581') < 0) { // it is a space to this tokenizer
                assertThat(tokenizer.decode(ids, false)).isEqualTo(guard.withoutMarks(rendered));
            }
            assertThat(specials(tokenizer, ids)).as(text).isEqualTo(expected);
            if (!guard.isNeeded()) {
                assertThat(ids).isEqualTo(tokenizer.encode(rendered, false));
            }
        }
    }

    private static int[] specials(Tokenizer tokenizer, int[] ids) {
        return IntStream.of(ids).filter(tokenizer::isSpecial).toArray();
    }
}
