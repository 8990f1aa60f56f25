package dev.baton.router.backend;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.discovery.EngineAddress;
import dev.baton.discovery.EngineInfo;
import dev.baton.discovery.EngineRole;
import dev.baton.http.Json;
import java.nio.charset.StandardCharsets;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;

/// The rewriting rules as tables. `K` stands for the six members that a NIXL prefiller is sent.
class HandoffTest {
    private static final String SIX_KEYS = "{'do_remote_decode':true,'do_remote_prefill':false,"
            + "'remote_engine_id':null,'remote_block_ids':null,'remote_host':null,'remote_port':null}";

    private static final ObjectNode REQUEST = json("{'prompt':'x'}");

    private static ObjectNode json(String singleQuoted) {
        return (ObjectNode) Json.parse(singleQuoted.replace('\'', '"').getBytes(StandardCharsets.UTF_8));
    }

    private static Handoff handoff(Backend backend) {
        return backend.handoff(
                EngineInfo.of(new EngineAddress("p", 8100), EngineRole.PREFILLER),
                EngineInfo.of(new EngineAddress("d", 8200), EngineRole.DECODER),
                "id");
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '`',
            value = {
                // client's body | chat | prefill body
                "{'prompt':'x'} | false | {'prompt':'x','max_tokens':1,'stream':false,'kv_transfer_params':K}",
                "{'prompt':'x','max_tokens':99} | false | {'prompt':'x','max_tokens':1,'stream':false,'kv_transfer_params':K}",
                "{'prompt':'x','max_completion_tokens':9} | false | {'prompt':'x','max_completion_tokens':1,'max_tokens':1,'stream':false,'kv_transfer_params':K}",
                "{'prompt':'x','min_tokens':5,'min_completion_tokens':5} | false | {'prompt':'x','max_tokens':1,'stream':false,'kv_transfer_params':K}",
                "{'prompt':'x','stream':true,'stream_options':{'include_usage':true}} | false | {'prompt':'x','max_tokens':1,'stream':false,'kv_transfer_params':K}",
                "{'messages':[]} | true | {'messages':[],'max_tokens':1,'max_completion_tokens':1,'stream':false,'kv_transfer_params':K}",
                "{'messages':[],'max_completion_tokens':7} | true | {'messages':[],'max_completion_tokens':1,'max_tokens':1,'stream':false,'kv_transfer_params':K}",
                "{'prompt':[1,2],'seed':3,'unknown':{'a':[null]}} | false | {'prompt':[1,2],'seed':3,'unknown':{'a':[null]},'max_tokens':1,'stream':false,'kv_transfer_params':K}",
            })
    void nixlPrefillBody(String request, boolean chat, String expected) {
        ObjectNode body = json(request);
        ObjectNode before = body.deepCopy();
        assertThat(handoff(new Nixl()).prefillBody(body, chat)).isEqualTo(json(expected.replace("K", SIX_KEYS)));
        assertThat(body).as("the client's body").isEqualTo(before);
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '`',
            value = {
                "{'prompt':'x','stream':true,'stream_options':{},'min_tokens':2} | false | {'prompt':'x','stream':false,'max_tokens':1}",
                "{'messages':[],'max_tokens':5} | true | {'messages':[],'max_tokens':1,'max_completion_tokens':1,'stream':false}",
            })
    void sharedStorePrefillBody(String request, boolean chat, String expected) {
        assertThat(handoff(new SharedStore()).prefillBody(json(request), chat)).isEqualTo(json(expected));
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '`',
            value = {
                "{'kv_transfer_params':{'a':[[1]],'b':null}} | {'kv_transfer_params':{'a':[[1]],'b':null}}",
                "{'kv_transfer_params':{}} | {}",
                "{'kv_transfer_params':null} | {}",
                "{'kv_transfer_params':'text'} | {}",
                "{'choices':[]} | {}",
            })
    void nixlHandoffGoesToTheDecoderAsItIs(String answer, String members) {
        Handoff handoff = handoff(new Nixl());
        assertThat(handoff.decodeMembers(REQUEST, handoff.found(json(answer)))).isEqualTo(json(members));
    }

    @Test
    void sharedStoreHandsNothingOver() {
        Handoff handoff = handoff(new SharedStore());
        Optional<JsonNode> found = handoff.found(json("{'kv_transfer_params':{'a':1}}"));
        assertThat(found).isEmpty();
        assertThat(handoff.decodeMembers(REQUEST, found)).isEmpty();
    }

    @Test
    void batonPushesWhereAnAnswerHasSaidWhereThePrefillerListens() {
        EngineInfo prefiller = EngineInfo.of(new EngineAddress("p", 8100), EngineRole.PREFILLER);
        EngineInfo decoder = EngineInfo.of(new EngineAddress("d", 8200), EngineRole.DECODER);
        Baton baton = new Baton();
        assertThat(handoff(baton).order()).isEqualTo(Handoff.Order.PREFILL_FIRST);
        assertThat(baton.push(prefiller, decoder, "id")).isEmpty();
        ObjectNode found = json("{'remote_engine_id':'e','remote_host':'h','remote_port':77,'tp_size':1}");
        assertThat(baton.endpoint(found)).as("of a connector that cannot push").isEmpty();
        EngineInfo known = prefiller.withEndpoint(
                baton.endpoint(found.put("remote_pushes", true)).orElseThrow());
        Handoff push = baton.push(known, decoder, "id").orElseThrow();
        assertThat(push.order()).isEqualTo(Handoff.Order.CONCURRENT);
        String transfer = push.prefillBody(REQUEST, false)
                .at("/kv_transfer_params/transfer_id")
                .asString("");
        assertThat(transfer).startsWith("xfer-");
        assertThat(push.decodeMembers(REQUEST, Optional.empty()).path("kv_transfer_params"))
                .isEqualTo(json("{'do_remote_decode':false,'do_remote_prefill':true,'remote_engine_id':'e',"
                        + "'remote_host':'h','remote_port':77,'tp_size':1,'pp_size':1,'remote_request_id':'id',"
                        + "'transfer_id':'" + transfer + "'}"));
        // What the prefiller has made is there for another decoder, which fetches it.
        ObjectNode answer = json("{'kv_transfer_params':{'remote_block_ids':[[1]]}}");
        assertThat(push.decodeMembers(REQUEST, push.found(answer))).isEqualTo(answer);
    }
}
