package dev.baton.discovery;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class EngineAddressTest {
    @ParameterizedTest
    @CsvSource({
        "localhost:8100, localhost, 8100",
        "10.0.0.1:1, 10.0.0.1, 1",
        "gpu-node-7.example.com:65535, gpu-node-7.example.com, 65535",
        "[::1]:8200, ::1, 8200",
        "[2001:db8::7]:8200, 2001:db8::7, 8200",
        "http://Decoder:8200, decoder, 8200",
        "http://[::1]:8200/, ::1, 8200"
    })
    void hostAndPortAreRead(String text, String host, int port) {
        EngineAddress address = EngineAddress.parse(text);
        assertThat(address).isEqualTo(new EngineAddress(host, port));
        assertThat(EngineAddress.parse(address.toString())).isEqualTo(address);
        assertThat(address.uri("/health").getPort()).isEqualTo(port);
        assertThat(address.uri("/health").getHost()).isNotNull();
    }

    @Test
    void httpsIsKept() {
        EngineAddress address = EngineAddress.parse("https://[::1]:8200/");
        assertThat(address).isEqualTo(new EngineAddress("::1", 8200, true));
        assertThat(EngineAddress.parse(address.toString())).isEqualTo(address);
        assertThat(address.uri("/health")).hasToString("https://[::1]:8200/health");
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "",
                "localhost",
                ":8100",
                "localhost:",
                "localhost:0",
                "localhost:65536",
                "localhost:-1",
                "localhost:8100x",
                "::1:8100",
                "[localhost]:8100",
                "[::1]",
                "a b:80",
                "a/b:80",
                "a_b:80",
                "user@host:80",
                "http://host:80/path"
            })
    void anythingElseIsRefusedInOneSentence(String text) {
        assertThatThrownBy(() -> EngineAddress.parse(text))
                .isInstanceOf(DiscoveryException.class)
                .message()
                .doesNotContain("\n");
    }

    @Test
    void engineIsListedOnce() {
        assertThatThrownBy(() -> StaticEngines.parse(List.of("a:1", "b:1", "A:1"), List.of("d:1")))
                .isInstanceOf(DiscoveryException.class)
                .hasMessageStartingWith("a:1 is listed twice, as prefiller and as prefiller");
        assertThatThrownBy(() -> StaticEngines.parse(List.of("a:1"), List.of("a:1")))
                .isInstanceOf(DiscoveryException.class)
                .hasMessageStartingWith("a:1 is listed twice, as prefiller and as decoder");
    }

    /// As other routers' flags take them.
    @Test
    void enginesMayBeSeparatedByCommasWithTheirParts() {
        StaticEngines engines =
                StaticEngines.parse(List.of("a:1,weight=2,b:1", "c:1"), List.of("[::1]:1,d:1,weight=3,zmq=d:9"));
        assertThat(engines.prefillers()).extracting(EngineAddress::toString).containsExactly("a:1", "b:1", "c:1");
        assertThat(engines.decoders()).extracting(EngineAddress::toString).containsExactly("[::1]:1", "d:1");
        assertThat(engines.engines()).extracting(EngineInfo::weight).containsExactly(2.0, 1.0, 1.0, 1.0, 3.0);
        assertThat(engines.engines().getLast().endpoint()).isEqualTo(new ConnectorEndpoint.P2pNccl("d:9"));
        for (String wrong : List.of("a:1,weight", "a:1,", ",a:1", "a:1,,b:1")) {
            assertThatThrownBy(() -> StaticEngines.parse(List.of(), List.of(wrong)))
                    .isInstanceOf(DiscoveryException.class)
                    .hasMessageContaining("is not an engine address");
        }
    }

    @Test
    void decoderIsNeededAndPrefillersAreNot() {
        assertThatThrownBy(() -> StaticEngines.parse(List.of("a:1"), List.of()))
                .isInstanceOf(DiscoveryException.class)
                .hasMessageContaining("--decoder");
        assertThat(StaticEngines.parse(List.of(), List.of("a:1")).prefillers()).isEmpty();
    }
}
