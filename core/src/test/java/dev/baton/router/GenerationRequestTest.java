package dev.baton.router;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.baton.discovery.EngineAddress;
import dev.baton.discovery.EngineInfo;
import dev.baton.discovery.EngineRole;
import dev.baton.http.Json;
import dev.baton.openai.ApiException;
import dev.baton.router.backend.Handoff;
import dev.baton.router.backend.SharedStore;
import java.nio.charset.StandardCharsets;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

class GenerationRequestTest {
    private static final Handoff HANDOFF = new SharedStore()
            .handoff(
                    EngineInfo.of(new EngineAddress("p", 1), EngineRole.PREFILLER),
                    EngineInfo.of(new EngineAddress("d", 1), EngineRole.DECODER),
                    "id");

    private static GenerationRequest parse(String body) {
        return GenerationRequest.parse(Endpoint.COMPLETIONS, body.getBytes(StandardCharsets.UTF_8), "");
    }

    private static String decodeText(GenerationRequest request, ObjectNode members) {
        return new String(request.decodeJson(members), StandardCharsets.UTF_8);
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '`',
            value = {
                "{}|{'k':{'a':1}}",
                "{ }|{ 'k':{'a':1}}",
                "{'x':1.10e2}|{'x':1.10e2,'k':{'a':1}}",
                "{'x':'}'}|{'x':'}','k':{'a':1}}",
                "{'x':{'y':{}}}|{'x':{'y':{}},'k':{'a':1}}",
                "` {'x':12345678901234567890123} \n`|` {'x':12345678901234567890123,'k':{'a':1}}`",
            })
    void membersAreAppendedToTheClientsOwnBytes(String body, String expected) {
        ObjectNode members = JsonNodeFactory.instance.objectNode();
        members.putObject("k").put("a", 1);
        String text = decodeText(parse(body.replace('\'', '"')), members);
        assertThat(text).isEqualTo(expected.replace('\'', '"'));
        assertThat(Json.parse(text.getBytes(StandardCharsets.UTF_8)).at("/k/a").asInt())
                .isEqualTo(1);
    }

    @Test
    void handoffHiddenInExtraArgumentsIsStripped() {
        GenerationRequest request = parse("{\"prompt\":\"x\",\"vllm_xargs\":{\"kv_transfer_params\":{},"
                + "\"ec_transfer_params\":{},\"mine\":1}}");
        assertThat(new String(request.json(), StandardCharsets.UTF_8))
                .isEqualTo("{\"prompt\":\"x\",\"vllm_xargs\":{\"mine\":1}}");
    }

    @Test
    void withoutMembersTheBodyIsTheClients() {
        String body = " {\"prompt\" : \"é\\u00e9\"}\r\n";
        assertThat(decodeText(parse(body), JsonNodeFactory.instance.objectNode()))
                .isEqualTo(body);
    }

    @ParameterizedTest
    @ValueSource(
            strings = {"kv_transfer_params", "ec_transfer_params", "bootstrap_host", "bootstrap_port", "bootstrap_room"
            })
    void fleetsFieldsAreTakenOutAlsoIfTheyComeTwice(String field) {
        GenerationRequest request =
                parse("{\"" + field + "\":{\"evil\":1},\"prompt\":\"x\",\"" + field + "\":{\"evil\":2}}");
        assertThat(decodeText(request, JsonNodeFactory.instance.objectNode())).isEqualTo("{\"prompt\":\"x\"}");
        assertThat(new String(request.prefillJson(HANDOFF), StandardCharsets.UTF_8))
                .doesNotContain("evil");
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "{\"prompt\":\"x\"}",
                "{\"prompt\":[1,2,3]}",
                "{\"prompt\":[\"x\"]}",
                "{\"prompt\":[[1,2]]}",
                "{\"prompt\":\"x\",\"n\":1,\"best_of\":1,\"echo\":false,\"logprobs\":3,\"prompt_logprobs\":null}",
                "{\"messages\":[],\"max_tokens\":null}",
                "{\"prompt\":\"x\",\"truncate_prompt_tokens\":5}"
            })
    void ordinaryRequestsCanBeHandedOff(String body) {
        assertThat(parse(body).handoffObstacle(false)).isEmpty();
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "{\"n\":2}",
                "{\"best_of\":2}",
                "{\"use_beam_search\":true}",
                "{\"prompt\":[\"x\",\"y\"]}",
                "{\"prompt\":[[1],[2]]}",
                "{\"prompt_embeds\":\"AAAA\"}",
                "{\"echo\":true}",
                "{\"prompt_logprobs\":0}",
                "{\"max_tokens\":0}",
                "{\"truncate_prompt_tokens\":-1}",
                "{\"max_completion_tokens\":-3}"
            })
    void requestsThatOneHandoffCannotServeSayWhy(String body) {
        assertThat(parse(body).handoffObstacle(false)).isPresent();
    }

    /// Jackson refuses to make a `double` of it; what it means is the engine's to say.
    @Test
    void numberBeyondADoubleIsSeenForWhatItIs() {
        String huge = "1" + "0".repeat(399);
        assertThat(parse("{\"n\":" + huge + "}").handoffObstacle(false)).hasValue("several prompts or sequences");
        assertThat(parse("{\"max_tokens\":" + huge + "}").handoffObstacle(false))
                .isEmpty();
        assertThat(parse("{\"max_tokens\":-" + huge + "}").handoffObstacle(false))
                .isPresent();
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "{\"prompt\":\"\\ud83d\"}",
                "{\"prompt\":\"\\uDE00x\"}",
                "{\"a\":[{\"\\ud83d\":1}]}",
                "{\"prompt\":\"\\ude00\\ud83d\"}"
            })
    void halfOfASurrogatePairIsRefused(String body) {
        assertThatThrownBy(() -> parse(body)).isInstanceOf(ApiException.class);
    }

    @Test
    void wholeSurrogatePairsAndOtherEscapesPass() {
        String body = "{\"prompt\":\"\\ud83d\\ude00 \\u00dd \\\\ud800\"}";
        assertThat(decodeText(parse(body), JsonNodeFactory.instance.objectNode()))
                .isEqualTo(body);
    }
}
