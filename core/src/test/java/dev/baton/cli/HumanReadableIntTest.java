package dev.baton.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import picocli.CommandLine.TypeConversionException;

class HumanReadableIntTest {
    @ParameterizedTest
    @CsvSource({
        "0, 0",
        "2048, 2048",
        "1k, 1000",
        "1K, 1024",
        "25.6k, 25600",
        "2g, 2000000000",
        "2G, 2147483648",
        "1GiB, 1073741824",
        "0.5M, 524288"
    })
    void numbersAreReadAsVllmReadsThem(String text, long expected) {
        assertThat(new HumanReadableInt().convert(text)).isEqualTo(expected);
    }

    @ParameterizedTest
    @ValueSource(strings = {"", "k", "1x", "-5", "1.5", "1e3", "99999999999999T"})
    void whatIsNoWholeNumberIsRefused(String text) {
        assertThatThrownBy(() -> new HumanReadableInt().convert(text)).isInstanceOf(TypeConversionException.class);
    }
}
