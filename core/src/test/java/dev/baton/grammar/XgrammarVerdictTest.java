package dev.baton.grammar;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.io.InputStream;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/// The same verdicts as XGrammar, vLLM's default backend; `scripts/fixtures/make_grammar_fixture.py` made the
/// fixture and says where and why Baton differs.
class XgrammarVerdictTest {
    static List<JsonNode> cases() throws IOException {
        try (InputStream in = XgrammarVerdictTest.class.getResourceAsStream("/fixtures/grammar-xgrammar.json")) {
            List<JsonNode> cases = new ArrayList<>();
            JsonMapper.shared().readTree(in).forEach(cases::add);
            assertThat(cases).hasSizeGreaterThan(100);
            return cases;
        }
    }

    private static Optional<Grammar> compile(String kind, String source) {
        try {
            return Optional.of(
                    switch (kind) {
                        case "json" -> Grammar.jsonSchema(source);
                        case "regex" -> Grammar.regex(source);
                        default -> Grammar.ebnf(source);
                    });
        } catch (GrammarException e) {
            return Optional.empty();
        }
    }

    @ParameterizedTest
    @MethodSource("cases")
    void verdictIsXgrammarsOrDiffersAsWritten(JsonNode given) {
        Optional<Grammar> grammar =
                compile(given.get("kind").asString(), given.get("source").asString());
        boolean differs = given.has("baton");
        for (JsonNode text : given.get("texts")) {
            differs |= text.has("baton");
        }
        boolean refused = differs ? given.has("baton") : given.has("xgrammar");
        assertThat(grammar.isEmpty()).as("refused").isEqualTo(refused);
        if (grammar.isEmpty()) {
            return;
        }
        for (JsonNode text : given.get("texts")) {
            boolean expected =
                    text.get(text.has("baton") ? "baton" : "xgrammar").asBoolean();
            assertThat(Walks.accepts(grammar.get(), text.get("text").asString()))
                    .as(text.get("text").asString())
                    .isEqualTo(expected);
        }
    }
}
