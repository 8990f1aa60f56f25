package dev.baton.cli;

import java.math.BigDecimal;
import java.time.Duration;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.TypeConversionException;

/// Times as flags take them: a number of seconds, `10` or `0.5`, to the millisecond.
class Seconds implements ITypeConverter<Duration> {
    private static final BigDecimal LONGEST =
            BigDecimal.valueOf(Duration.ofDays(365).toSeconds());

    /// A time that must pass: not 0 either.
    static final class Positive extends Seconds {
        @Override
        public Duration convert(String text) {
            Duration time = super.convert(text);
            if (time.isZero()) {
                throw new TypeConversionException("it must be more than 0 seconds, got " + text);
            }
            return time;
        }
    }

    @Override
    public Duration convert(String text) {
        BigDecimal seconds;
        try {
            seconds = new BigDecimal(text.strip());
        } catch (NumberFormatException e) {
            throw new TypeConversionException("'" + text + "' is no number of seconds such as 10 or 0.5");
        }
        if (seconds.signum() < 0) {
            throw new TypeConversionException("a time cannot be negative, got " + text + " seconds");
        }
        if (seconds.compareTo(LONGEST) > 0) {
            throw new TypeConversionException("it must be at most " + LONGEST + " seconds, a year, got " + text);
        }
        return Duration.ofMillis(seconds.movePointRight(3).longValue());
    }

    /// The text that converts to this time.
    static String text(Duration time) {
        return BigDecimal.valueOf(time.toMillis(), 3).stripTrailingZeros().toPlainString();
    }
}
