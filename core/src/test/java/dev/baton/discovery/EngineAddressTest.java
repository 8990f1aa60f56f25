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

    @Test
    void decoderIsNeededAndPrefillersAreNot() {
        assertThatThrownBy(() -> StaticEngines.parse(List.of("a:1"), List.of()))
                .isInstanceOf(DiscoveryException.class)
                .hasMessageContaining("--decoder");
        assertThat(StaticEngines.parse(List.of(), List.of("a:1")).prefillers()).isEmpty();
    }
}
