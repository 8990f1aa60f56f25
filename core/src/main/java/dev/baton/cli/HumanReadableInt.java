package dev.baton.cli;

import java.math.BigDecimal;
import java.util.Locale;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.TypeConversionException;

/// Numbers as vLLM's flags take them: `4096`, `1k` (1,000), `1K` (1,024), `25.6k`, `2G`, `2GiB`.
final class HumanReadableInt implements ITypeConverter<Long> {
    private static final Pattern FORM = Pattern.compile("(\\d+(?:\\.\\d+)?)([kKmMgGtT]?)(iB|B)?");

    @Override
    public Long convert(String text) {
        Matcher matcher = FORM.matcher(text.strip());
        if (!matcher.matches()) {
            throw new TypeConversionException("'" + text + "' is no number such as 4096, 1k, 1K, 2G or 2GiB");
        }
        String unit = matcher.group(2);
        int power = unit.isEmpty() ? 0 : "kmgt".indexOf(unit.toLowerCase(Locale.ROOT)) + 1;
        boolean isBinary = !unit.equals(unit.toLowerCase(Locale.ROOT));
        BigDecimal value = new BigDecimal(matcher.group(1))
                .multiply(BigDecimal.valueOf(isBinary ? 1024 : 1000).pow(power));
        try {
            return value.longValueExact();
        } catch (ArithmeticException e) {
            throw new TypeConversionException("'" + text + "' is no whole number");
        }
    }
}
