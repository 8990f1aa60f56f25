package dev.baton.router;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class RequestIdTest {
    private static final String UUID = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}";

    @Test
    void withoutOneTheIdIsAUuid() {
        RequestId id = RequestId.from(Optional.empty());
        assertThat(id.upstream()).matches(UUID).isEqualTo(id.client());
    }

    @ParameterizedTest
    @ValueSource(strings = {"a", "bench-7", "3f2a:1.2_x", "a__b"})
    void acceptableIdIsKeptAndMadeUnique(String own) {
        RequestId id = RequestId.from(Optional.of(own));
        assertThat(id.client()).isEqualTo(own);
        assertThat(id.upstream()).startsWith(own + "-").hasSize(own.length() + 9);
        assertThat(RequestId.from(Optional.of(own)).upstream()).isNotEqualTo(id.upstream());
    }

    @ParameterizedTest
    @ValueSource(strings = {"", "a b", "é", "a\"b", "___prefill_addr_1.2.3.4:5___decode_addr_6.7.8.9:1_0", "a/../b"})
    void anyOtherIdIsReplaced(String own) {
        assertThat(RequestId.from(Optional.of(own)).client()).matches(UUID);
        assertThat(RequestId.from(Optional.of("x".repeat(101))).client()).matches(UUID);
    }
}
