package dev.baton.discovery;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;

import dev.baton.http.Json;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;
import tools.jackson.databind.JsonNode;

/// Engines as text and as JSON.
class EngineDescriptionTest {
    private static final EngineAddress HERE = new EngineAddress("h", 1);

    static JsonNode json(String singleQuoted) {
        return Json.parse(singleQuoted.replace('\'', '"').getBytes(StandardCharsets.UTF_8));
    }

    static Stream<Arguments> engines() {
        EngineInfo plain = EngineInfo.of(HERE, EngineRole.PREFILLER);
        return Stream.of(
                Arguments.of("h:1", "{'address':'h:1','role':'prefiller'}", plain),
                Arguments.of(
                        "h:1,weight=2.5,role=both",
                        "{'address':'h:1','role':'both','weight':2.5}",
                        plain.withWeight(2.5).withRole(EngineRole.BOTH)),
                Arguments.of(
                        "h:1,zmq=10.0.0.1:14579",
                        "{'address':'http://h:1','role':'P','zmq_address':'10.0.0.1:14579'}",
                        plain.withEndpoint(new ConnectorEndpoint.P2pNccl("10.0.0.1:14579"))),
                Arguments.of(
                        "h:1,bootstrap=8998",
                        "{'address':'h:1','role':'prefill','bootstrap_port':8998}",
                        plain.withEndpoint(new ConnectorEndpoint.Bootstrap(8998))),
                Arguments.of(
                        "h:1,nixl=e@x@[::1]:5600,tp=2",
                        "{'address':'h:1','role':'kv_producer','nixl':{'engine_id':'e@x','host':'::1','port':5600,"
                                + "'tp_size':2}}",
                        plain.withEndpoint(new ConnectorEndpoint.NixlSideChannel("e@x", "::1", 5600, 2, 1))),
                Arguments.of(
                        "h:1,lmcache=r/7300+7301/7400+7401",
                        "{'address':'h:1','role':'prefiller','lmcache':{'host':'r','init_ports':[7300,7301],"
                                + "'alloc_ports':[7400,7401]}}",
                        plain.withEndpoint(
                                new ConnectorEndpoint.LmCacheReceiver("r", List.of(7300, 7301), List.of(7400, 7401)))));
    }

    @ParameterizedTest
    @MethodSource("engines")
    void textAndJsonSayTheSameAndJsonIsReadAsItIsWritten(String text, String json, EngineInfo engine) {
        assertThat(EngineText.parse(text, EngineRole.PREFILLER)).isEqualTo(engine);
        assertThat(EngineJson.parse(json(json))).isEqualTo(engine);
        assertThat(EngineJson.parse(EngineJson.of(engine))).isEqualTo(engine);
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '"',
            value = {
                "h                              | not an engine address",
                "h:1,speed=2                    | 'speed=2' is none of weight=, role=",
                "h:1,weight                     | 'weight' is none of",
                "h:1,                           | '' is none of",
                "h:1,weight=1,weight=2          | weight twice",
                "h:1,weight=x                   | no number",
                "h:1,weight=0                   | needed is a number over 0",
                "h:1,weight=NaN                 | needed is a number over 0",
                "h:1,role=king                  | 'king' is no role",
                "h:1,zmq=nowhere                | 'nowhere' is not an engine address",
                "h:1,bootstrap=0                | port 0 of the bootstrap server",
                "h:1,bootstrap=1,zmq=a:1        | one connector",
                "h:1,nixl=a:1                   | not ENGINE_ID@HOST:PORT",
                "h:1,nixl=e@a:1,tp=0            | parallel sizes",
                "h:1,lmcache=r/1                | not HOST/INIT_PORT",
                "h:1,lmcache=r/1/2+3            | an init and an alloc port a rank",
                "h:1,lmcache=r/1/99999          | port 99999",
            })
    void wrongTextIsExplainedInOneSentence(String text, String sentence) {
        assertThatExceptionOfType(DiscoveryException.class)
                .isThrownBy(() -> EngineText.parse(text, EngineRole.DECODER))
                .withMessageContaining(sentence)
                .withMessageContaining(text.split(",")[0]);
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '"',
            value = {
                "[]                                                        | an engine is an object",
                "{'role':'decoder'}                                        | 'address' must be text, got nothing",
                "{'address':'h:1'}                                         | 'role' must be text, got nothing",
                "{'address':'h:1','role':1}                                | 'role' must be text, got 1",
                "{'address':'h:1','role':'decoder','wieght':2}             | no field 'wieght', but address",
                "{'address':'h:1','role':'decoder','weight':'2'}           | 'weight' must be a number",
                "{'address':'h:1','role':'decoder','weight':-1}            | needed is a number over 0",
                "{'address':'h:1','role':'decoder','bootstrap_port':1.5}   | 'bootstrap_port' must be a whole number",
                "{'address':'h:1','role':'decoder','bootstrap_port':9e9}   | 'bootstrap_port' must be a whole number",
                "{'address':'h:1','role':'decoder','nixl':{}}              | 'engine_id' must be text",
                "{'address':'h:1','role':'decoder','lmcache':{'host':'r'}} | an init and an alloc port a rank",
                "{'address':'h:1','role':'decoder','zmq_address':'a:1','bootstrap_port':1} | one connector",
            })
    void wrongJsonIsExplainedInOneSentence(String json, String sentence) {
        assertThatExceptionOfType(DiscoveryException.class)
                .isThrownBy(() -> EngineJson.parse(json(json)))
                .withMessageContaining(sentence);
    }

    @Test
    void listsMayHaveEnginesOfAnotherRole() {
        StaticEngines engines = StaticEngines.parse(List.of("p:1,weight=2", "b:1,role=both"), List.of());
        FleetRecorder fleet = new FleetRecorder();
        engines.start(fleet);
        assertThat(fleet.addresses()).containsExactly("b:1", "p:1");
        assertThat(engines.prefillers()).containsExactly(new EngineAddress("p", 1));
        assertThat(engines.decoders()).containsExactly(new EngineAddress("b", 1));
        assertThat(fleet.engine("p:1").weight()).isEqualTo(2);
    }
}
