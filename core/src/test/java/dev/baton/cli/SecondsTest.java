package dev.baton.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.time.Duration;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import picocli.CommandLine.TypeConversionException;

class SecondsTest {
    @ParameterizedTest
    @CsvSource({"10, 10000", "0.5, 500", "0, 0", "1e2, 100000", " 3 , 3000", "0.001, 1", "31536000, 31536000000"})
    void timesAreReadToTheMillisecondAndWrittenAsTheyAreRead(String text, long millis) {
        Duration time = new Seconds().convert(text);
        assertThat(time).isEqualTo(Duration.ofMillis(millis));
        assertThat(new Seconds().convert(Seconds.text(time))).isEqualTo(time);
        assertThat(Seconds.text(time)).doesNotContain("E");
    }

    @ParameterizedTest
    @ValueSource(strings = {"-1", "-0.001", "soon", "", "10s", "NaN", "inf", "31536001", "1e999999"})
    void whatIsNoTimeIsRefused(String text) {
        assertThatThrownBy(() -> new Seconds().convert(text))
                .isInstanceOf(TypeConversionException.class)
                .hasMessageContaining(text);
    }

    @ParameterizedTest
    @ValueSource(strings = {"0", "0.0004"})
    void timeThatMustPassIsNotNothing(String text) {
        assertThatThrownBy(() -> new Seconds.Positive().convert(text)).hasMessageContaining("more than 0");
    }
}
