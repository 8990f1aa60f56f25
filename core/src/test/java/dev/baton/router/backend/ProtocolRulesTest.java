package dev.baton.router.backend;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;

import dev.baton.discovery.ConnectorEndpoint;
import dev.baton.discovery.EngineAddress;
import dev.baton.discovery.EngineInfo;
import dev.baton.discovery.EngineRole;
import dev.baton.http.Json;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;

/// What goes into each leg, one row a rule. Behind each table stands the program whose rules they are. In the rows,
/// `K` are the six members that a NIXL prefiller is sent, `T` the transfer's id, `R` a room.
class ProtocolRulesTest {
    private static final String SIX_KEYS = "'do_remote_decode':true,'do_remote_prefill':false,"
            + "'remote_engine_id':null,'remote_block_ids':null,'remote_host':null,'remote_port':null";

    private static final EngineInfo P = EngineInfo.of(EngineAddress.parse("10.0.1.2:8100"), EngineRole.PREFILLER);
    private static final EngineInfo D = EngineInfo.of(EngineAddress.parse("10.0.1.4:8200"), EngineRole.DECODER);
    private static final EngineInfo P_ZMQ = P.withEndpoint(new ConnectorEndpoint.P2pNccl("10.0.1.2:21001"));
    private static final EngineInfo D_ZMQ = D.withEndpoint(new ConnectorEndpoint.P2pNccl("10.0.1.4:22001"));
    private static final EngineInfo P_PUSH =
            P.withEndpoint(new ConnectorEndpoint.NixlSideChannel("engine-1", "10.0.9.9", 5601, 2, 3));
    private static final EngineInfo P_MOONCAKE = P.withEndpoint(new ConnectorEndpoint.Mooncake(
            "http://10.0.1.2:8998", List.of(new ConnectorEndpoint.Mooncake.Rank(0, "E0"))));
    private static final EngineInfo D_LMCACHE =
            D.withEndpoint(new ConnectorEndpoint.LmCacheReceiver("10.0.1.4", List.of(7300, 7301), List.of(7400, 7401)));
    private static final EngineInfo P_SGLANG = P.withEndpoint(new ConnectorEndpoint.Bootstrap(8999));

    private static ObjectNode json(String singleQuoted) {
        return (ObjectNode) Json.parse(singleQuoted.replace('\'', '"').getBytes(StandardCharsets.UTF_8));
    }

    /// Puts letters where values are that are drawn anew for each try.
    private static ObjectNode normal(ObjectNode body) {
        String text = Json.text(body)
                .replaceAll("\"xfer-[0-9a-f]{32}\"", "\"T\"")
                .replaceAll("\"baton-[0-9a-f]{32}\"", "\"T\"");
        return (ObjectNode) Json.parse(text.getBytes(StandardCharsets.UTF_8));
    }

    private static void assertBodies(Handoff handoff, String request, boolean chat, String prefill, String decode) {
        ObjectNode body = json(request);
        ObjectNode before = body.deepCopy();
        assertThat(normal(handoff.prefillBody(body, chat)))
                .as("prefill leg")
                .isEqualTo(json(prefill.replace("K", SIX_KEYS)));
        assertThat(normal(handoff.decodeMembers(body, Optional.empty())))
                .as("decode leg")
                .isEqualTo(json(decode));
        assertThat(body).as("the client's body").isEqualTo(before);
    }

    // vLLM tests/v1/kv_connector/nixl_integration/toy_proxy_server.py; production-stack's and vllm-project/router's
    // overwriting of remote_host
    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '`',
            value = {
                // prefiller | remote_host of its answer | what the decoder gets
                "10.0.1.2:8100 | localhost | 10.0.1.2",
                "10.0.1.2:8100 | 0.0.0.0 | 10.0.1.2",
                "10.0.1.2:8100 | 127.0.0.1 | 10.0.1.2",
                "10.0.1.2:8100 | 127.1.2.3 | 10.0.1.2",
                "10.0.1.2:8100 | ::1 | 10.0.1.2",
                "10.0.1.2:8100 | 10.0.9.9 | 10.0.9.9", // another network between engines
                "10.0.1.2:8100 | 1270.example | 1270.example",
                "prefill.example:8100 | localhost | prefill.example",
                "[2001:db8::1]:8100 | localhost | 2001:db8::1",
                "localhost:8100 | localhost | localhost",
                "localhost:8100 | 127.0.0.1 | 127.0.0.1",
                "127.0.0.1:8100 | localhost | localhost",
                "[::1]:8100 | 0.0.0.0 | 0.0.0.0",
            })
    void nixlHostsOfTheirOwnMachineAreReplaced(String prefiller, String host, String expected) {
        EngineInfo engine = EngineInfo.of(EngineAddress.parse(prefiller), EngineRole.PREFILLER);
        for (Backend backend : List.of(new Nixl(), new VllmAny())) {
            Handoff handoff = backend.handoff(engine, D, "id");
            String answer = "{'kv_transfer_params':{'remote_host':'%s','remote_block_ids':[[1],[2]],'x':null}}";
            ObjectNode members = handoff.decodeMembers(json("{}"), handoff.found(json(answer.formatted(host))));
            assertThat(members).isEqualTo(json(answer.formatted(expected)));
        }
    }

    // Batons say that they push; a vLLM with NixlConnector knows nothing of it
    @ParameterizedTest
    @EnumSource(BackendKind.class)
    void rulesDependOnTheTwoEnginesOnlyWhereNobodySaidWhatTheyAre(BackendKind kind) {
        Backend backend = kind.backend();
        boolean found = kind == BackendKind.AUTO;
        assertThat(backend.between(true)).isEqualTo(found ? new Baton() : backend);
        assertThat(backend.between(false)).isEqualTo(found ? new Nixl() : backend);
    }

    // vLLM examples/disaggregated/disaggregated_serving/disagg_proxy_pushconnector_demo.py
    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '`',
            value = {
                "{'prompt':'x','max_tokens':9,'stream':true} | false | {'prompt':'x','max_tokens':1,'stream':false,'ignore_eos':true,'kv_transfer_params':{K,'transfer_id':'T'}}",
                "{'messages':[],'stop':['a'],'stop_token_ids':[3],'min_tokens':2} | true | {'messages':[],'max_tokens':1,'max_completion_tokens':1,'stream':false,'ignore_eos':true,'kv_transfer_params':{K,'transfer_id':'T'}}",
            })
    void nixlPush(String request, boolean chat, String prefill) {
        Handoff handoff = new NixlPush().handoff(P_PUSH, D, "id");
        assertThat(handoff.order()).isEqualTo(Handoff.Order.CONCURRENT);
        assertThat(handoff.requestId()).isEqualTo("id");
        assertBodies(
                handoff,
                request,
                chat,
                prefill,
                "{'kv_transfer_params':{'do_remote_decode':false,'do_remote_prefill':true,'remote_engine_id':'engine-1',"
                        + "'remote_host':'10.0.9.9','remote_port':5601,'tp_size':2,'pp_size':3,"
                        + "'remote_request_id':'id','transfer_id':'T'}}");
        assertOneTransferId(handoff);
    }

    // vLLM examples/disaggregated/mooncake_connector/mooncake_connector_proxy.py; what ends a prefill early is
    // removed, because vLLM 0.32 keeps blocks only of requests that their length ended
    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '`',
            value = {
                "{'prompt':'x','max_tokens':9,'stream':true,'stream_options':{}} | false | {'prompt':'x','max_tokens':1,'stream':false,'ignore_eos':true,'kv_transfer_params':{'do_remote_decode':true,'do_remote_prefill':false,'transfer_id':'T'}}",
                "{'messages':[],'max_completion_tokens':9} | true | {'messages':[],'max_completion_tokens':1,'max_tokens':1,'stream':false,'ignore_eos':true,'kv_transfer_params':{'do_remote_decode':true,'do_remote_prefill':false,'transfer_id':'T'}}",
            })
    void mooncake(String request, boolean chat, String prefill) {
        Handoff handoff = new Mooncake().handoff(P_MOONCAKE, D, "id");
        assertThat(handoff.order()).isEqualTo(Handoff.Order.CONCURRENT);
        assertThat(handoff.requestId()).isEqualTo("id");
        assertThat(handoff.prefillHeaders()).isEqualTo(Map.of("x-data-parallel-rank", "0"));
        assertThat(handoff.decodeHeaders()).isEmpty();
        assertBodies(
                handoff,
                request,
                chat,
                prefill,
                "{'kv_transfer_params':{'do_remote_decode':false,'do_remote_prefill':true,"
                        + "'remote_bootstrap_addr':'http://10.0.1.2:8998','remote_engine_id':'E0','transfer_id':'T'}}");
        assertOneTransferId(handoff);
    }

    private static void assertOneTransferId(Handoff handoff) {
        JsonNode first = handoff.prefillBody(json("{}"), false).at("/kv_transfer_params/transfer_id");
        JsonNode second = handoff.decodeMembers(json("{}"), Optional.empty()).at("/kv_transfer_params/transfer_id");
        assertThat(first.asString()).startsWith("xfer-").isEqualTo(second.asString());
    }

    @Test
    void mooncakeRanksAreAllUsedAndTheirEngineIdsFitThem() {
        EngineInfo parallel = P.withEndpoint(new ConnectorEndpoint.Mooncake(
                "http://10.0.1.2:8998",
                List.of(
                        new ConnectorEndpoint.Mooncake.Rank(0, "E0"),
                        new ConnectorEndpoint.Mooncake.Rank(1, "E1"),
                        new ConnectorEndpoint.Mooncake.Rank(2, "E2"))));
        int[] used = new int[3];
        for (int i = 0; i < 300; i++) {
            Handoff handoff = new Mooncake().handoff(parallel, D, "request-" + i);
            String rank = handoff.prefillHeaders().getOrDefault("x-data-parallel-rank", "");
            assertThat(handoff.decodeMembers(json("{}"), Optional.empty())
                            .at("/kv_transfer_params/remote_engine_id")
                            .asString())
                    .isEqualTo("E" + rank);
            used[Integer.parseInt(rank)]++;
        }
        assertThat(Arrays.stream(used)).allMatch(times -> times > 50);
    }

    // vLLM examples/disaggregated/p2p_nccl_xpyd/disagg_proxy_p2p_nccl_xpyd.py
    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '`',
            value = {
                "{'prompt':'x','max_tokens':9} | false | {'prompt':'x','max_tokens':1,'stream':false}",
                "{'messages':[],'stream':true} | true | {'messages':[],'max_tokens':1,'max_completion_tokens':1,'stream':false}",
            })
    void p2pNccl(String request, boolean chat, String prefill) {
        Handoff handoff = new P2pNccl(false).handoff(P_ZMQ, D_ZMQ, "id");
        assertThat(handoff.order()).isEqualTo(Handoff.Order.PREFILL_FIRST);
        assertThat(handoff.handsOffInAnswers()).isFalse();
        assertBodies(handoff, request, chat, prefill, "{}");
        assertP2pId(handoff.requestId());
    }

    private static void assertP2pId(String id) {
        assertThat(id)
                .matches(
                        Pattern.quote("___prefill_addr_10.0.1.2:21001___decode_addr_10.0.1.4:22001_") + "[0-9a-f]{32}");
        // the connector's own two patterns
        assertThat(id.replaceFirst(".*___decode_addr_(.*):(\\d+).*", "$1 $2")).isEqualTo("10.0.1.4 22001");
        assertThat(id.replaceFirst(".*___prefill_addr_(.*):(\\d+)___.*", "$1 $2"))
                .isEqualTo("10.0.1.2 21001");
    }

    @Test
    void p2pNcclIdsAreNeverUsedTwice() {
        Backend backend = new P2pNccl(false);
        assertThat(backend.handoff(P_ZMQ, D_ZMQ, "id").requestId())
                .isNotEqualTo(backend.handoff(P_ZMQ, D_ZMQ, "id").requestId());
        assertThat(backend.directRequestId("id")).matches("d_direct_[0-9a-f]{32}"); // disagg_proxy_ppd.py
    }

    // vllm-project/router: src/routers/http/vllm_pd_router.rs
    @Test
    void anyVllm() {
        Handoff handoff = new VllmAny().handoff(P_ZMQ, D_ZMQ, "id");
        assertP2pId(handoff.requestId());
        assertBodies(
                handoff,
                "{'prompt':'x','stream':true}",
                false,
                "{'prompt':'x','max_tokens':1,'stream':false,'kv_transfer_params':{K}}",
                "{}");
        assertThat(handoff.decodeMembers(json("{}"), handoff.found(json("{'kv_transfer_params':{'a':1}}"))))
                .isEqualTo(json("{'kv_transfer_params':{'a':1}}"));
        assertThat(new VllmAny().handoff(P, D_ZMQ, "id").requestId()).isEqualTo("id");
    }

    // LMCache examples/disagg_prefill/disagg_proxy_server.py of 2025-08 and later; the decode leg is not its (see
    // LmCachePd)
    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '`',
            value = {
                "{'prompt':'x','max_tokens':9,'stream':true} | false | {'prompt':'x','max_tokens':1,'stream':false,'kv_transfer_params':S}",
                "{'messages':[],'tools':[{}],'logprobs':true} | true | {'messages':[],'tools':[{}],'logprobs':true,'max_tokens':1,'max_completion_tokens':1,'stream':false,'kv_transfer_params':S}",
            })
    void lmCachePd(String request, boolean chat, String prefill) {
        Handoff handoff = new LmCachePd().handoff(P, D_LMCACHE, "id");
        assertThat(handoff.order()).isEqualTo(Handoff.Order.PREFILL_FIRST);
        assertThat(handoff.prefillPath("/v1/chat/completions")).isEqualTo("/v1/chat/completions");
        assertBodies(
                handoff,
                request,
                chat,
                prefill.replace(
                        "S",
                        "{'ret_first_tok':true,'disagg_spec':{'req_id':'T','receiver_host':'10.0.1.4',"
                                + "'receiver_init_port':[7300,7301],'receiver_alloc_port':[7400,7401]}}"),
                "{}");
        assertThat(handoff.numAnnouncements()).as("one a rank").isEqualTo(2);
        assertThat(handoff.announcedAs())
                .contains(handoff.prefillBody(json("{}"), false)
                        .at("/kv_transfer_params/disagg_spec/req_id")
                        .asString());
        assertThat(handoff.found(json("{'kv_transfer_params':{'first_tok':7}}")))
                .isPresent();
        assertThat(handoff.found(json("{'choices':[]}"))).as("LMCache is off").isEmpty();
    }

    // LMCache examples/disagg_prefill_mp/disagg_proxy_server.py
    @Test
    void lmCacheMp() {
        Handoff handoff = new LmCacheMp().handoff(P, D, "id");
        assertBodies(
                handoff,
                "{'messages':[],'stream':true,'stream_options':{}}",
                true,
                "{'messages':[],'max_tokens':1,'max_completion_tokens':1,'stream':false}",
                "{}");
        assertThat(handoff.announcedAs()).contains(handoff.requestId());
    }

    // SGLang sgl-model-gateway, routers/http/pd_router.rs
    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '`',
            value = {
                // client's body | number of rooms, 0 for none that are listed
                "{'prompt':'x','max_tokens':9,'stream':true,'min_tokens':3} | 0",
                "{'prompt':[1,2,3]} | 0",
                "{'messages':[],'n':1} | 0",
                "{'messages':[],'n':3} | 3",
                "{'prompt':['a']} | 1",
                "{'prompt':['a','b']} | 2",
                "{'prompt':[[1],[2],[3]]} | 3",
                "{'prompt':['a','b'],'n':2} | 4",
            })
    void sgLang(String request, int rooms) {
        ObjectNode body = json(request);
        Handoff handoff = new SgLang().handoff(P_SGLANG, D, "id");
        assertThat(handoff.order()).isEqualTo(Handoff.Order.CONCURRENT);
        ObjectNode members = handoff.decodeMembers(body, Optional.empty());
        JsonNode room = members.path("bootstrap_room");
        if (rooms == 0) {
            assertThat(members.path("bootstrap_host").stringValue()).isEqualTo("10.0.1.2");
            assertThat(members.path("bootstrap_port").intValue()).isEqualTo(8999);
            assertThat(room.longValue()).isPositive();
        } else {
            assertThat(members.path("bootstrap_host"))
                    .hasSize(rooms)
                    .allMatch(host -> host.stringValue().equals("10.0.1.2"));
            assertThat(members.path("bootstrap_port")).hasSize(rooms).allMatch(port -> port.intValue() == 8999);
            assertThat(room).hasSize(rooms).doesNotHaveDuplicates().allMatch(value -> value.longValue() > 0);
        }
        ObjectNode both = body.deepCopy();
        both.setAll(members);
        assertThat(handoff.prefillBody(body, false))
                .as("the same body on both legs")
                .isEqualTo(both);
    }

    @Test
    void sgLangRoomsAreDrawnForEachTry() {
        Backend backend = new SgLang();
        assertThat(backend.handoff(P, D, "id").decodeMembers(json("{}"), Optional.empty()))
                .isNotEqualTo(backend.handoff(P, D, "id").decodeMembers(json("{}"), Optional.empty()));
        assertThat(backend.handoff(P, D, "id")
                        .decodeMembers(json("{}"), Optional.empty())
                        .path("bootstrap_port"))
                .as("the usual port")
                .isEqualTo(json("{'a':8998}").path("a"));
    }

    // llm-d routing sidecar, connector nixlv2
    @Test
    void llmD() {
        Handoff handoff = new LlmD().handoff(P, D, "id");
        assertThat(handoff.order()).isEqualTo(Handoff.Order.DECODER_LEADS);
        assertThat(handoff.decodeHeaders()).isEqualTo(Map.of("x-prefiller-host-port", "10.0.1.2:8100"));
        assertThat(handoff.decodeMembers(json("{}"), Optional.empty())).isEmpty();
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '`',
            value = {
                "NIXL_PUSH | prefiller 10.0.1.2:8100 has no NIXL side channel",
                "P2P_NCCL | prefiller 10.0.1.2:8100 has no ZMQ address",
                "MOONCAKE | prefiller 10.0.1.2:8100 has not said its engine ids",
                "LMCACHE_PD | decoder 10.0.1.4:8200 has no LMCache receiver",
            })
    void enginesThatLackWhatTheProtocolNeedsAreNamed(BackendKind kind, String sentence) {
        assertThatExceptionOfType(HandoffException.class)
                .isThrownBy(() -> kind.backend().handoff(P, D, "id"))
                .withMessageStartingWith(sentence);
    }

    @ParameterizedTest
    @EnumSource(BackendKind.class)
    void decodersThatWouldWaitForEverGetNoRequestWithoutAPrefiller(BackendKind kind) {
        boolean needsPrefiller = kind == BackendKind.P2P_NCCL || kind == BackendKind.SGLANG;
        assertThat(kind.backend().decodersServeAlone()).isEqualTo(!needsPrefiller);
    }
}
