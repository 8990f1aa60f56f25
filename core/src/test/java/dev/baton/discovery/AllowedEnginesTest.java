package dev.baton.discovery;

import static org.assertj.core.api.Assertions.assertThatCode;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;

import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/// Which addresses engines may register.
class AllowedEnginesTest {
    private static EngineInfo engine(String address) {
        return EngineInfo.of(EngineAddress.parse(address), EngineRole.DECODER);
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "127.0.0.1:1",
                "127.8.8.8:1",
                "[::1]:1",
                "localhost:1",
                "10.255.0.1:1",
                "172.16.0.1:1",
                "172.31.255.255:1",
                "192.168.1.1:1",
                "100.64.0.1:1",
                "[fd12::1]:1",
                "[::ffff:10.0.0.1]:1"
            })
    void privateNetworksMayRegister(String address) {
        assertThatCode(() -> AllowedEngines.privateNetworks().check(engine(address)))
                .doesNotThrowAnyException();
    }

    /// The metadata service of clouds, however it is written, and whatever a name may come to mean.
    @ParameterizedTest
    @ValueSource(
            strings = {
                "169.254.169.254:80", "[::ffff:169.254.169.254]:80", "[fe80::1]:1", "0.0.0.0:1", "[::]:1", "8.8.8.8:1",
                "172.32.0.1:1", "172.15.255.255:1", "192.169.0.1:1", "100.128.0.1:1", "[2001:db8::1]:1",
                        "metadata.google:80",
                "localhost.evil.example:1", "2852039166:80", "0xa9fea9fe:80"
            })
    void nothingElseMay(String address) {
        assertThatExceptionOfType(DiscoveryException.class)
                .isThrownBy(() -> AllowedEngines.privateNetworks().check(engine(address)))
                .withMessageContaining("--allowed-engines");
    }

    @ParameterizedTest
    @CsvSource({
        "10.1.0.0/16,        10.1.255.255, 10.2.0.0",
        "10.1.2.3,           10.1.2.3,     10.1.2.4",
        "10.1.2.128/25,      10.1.2.200,   10.1.2.127",
        "fd00:1::/32,        '[fd00:1::9]','[fd00:2::9]'",
        "2001:db8::7,        '[2001:db8:0::7]', '[2001:db8::8]'",
        "0.0.0.0/0,          8.8.8.8,      '[::1]'",
        "node1,              NODE1,        node2",
        "*.prefill.svc,      a.prefill.svc, prefill.svc",
        "*.prefill.svc,      a.b.prefill.svc, aprefill.svc",
        "private node9,      10.0.0.1,     8.8.8.8",
    })
    void listSaysWhoMay(String entries, String inside, String outside) {
        AllowedEngines allowed = AllowedEngines.parse(Arrays.asList(entries.split(" ")));
        assertThatCode(() -> allowed.check(engine(inside + ":1"))).doesNotThrowAnyException();
        assertThatExceptionOfType(DiscoveryException.class).isThrownBy(() -> allowed.check(engine(outside + ":1")));
    }

    @Test
    void starIsEverything() {
        AllowedEngines all = AllowedEngines.parse(List.of("*"));
        assertThatCode(() -> all.check(engine("8.8.8.8:1"))).doesNotThrowAnyException();
        assertThatCode(() -> all.check(engine("some.name:1"))).doesNotThrowAnyException();
    }

    @ParameterizedTest
    @ValueSource(strings = {"", "10.0.0.0/33", "10.0.0.0/x", "10.0.0.0/-1", "/8", "a/8", "a b", "http://a", "::/129"})
    void whatIsNoNetworkAndNoNameIsRefused(String entry) {
        assertThatExceptionOfType(DiscoveryException.class)
                .isThrownBy(() -> AllowedEngines.parse(List.of(entry)))
                .withMessageContaining("'" + entry + "'");
    }

    @Test
    void connectorsHostIsLookedAtAsWell() {
        EngineInfo elsewhere = engine("10.0.0.1:1").withEndpoint(new ConnectorEndpoint.P2pNccl("8.8.8.8:1"));
        assertThatExceptionOfType(DiscoveryException.class)
                .isThrownBy(() -> AllowedEngines.privateNetworks().check(elsewhere))
                .withMessageContaining("8.8.8.8");
    }
}
