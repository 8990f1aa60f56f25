package dev.baton.tokenizer.jinja;

import java.time.LocalDateTime;
import java.time.format.DateTimeFormatter;
import java.time.format.TextStyle;
import java.util.Locale;

/// `datetime.now().strftime(format)` in the C locale, for the directives that templates use.
final class Strftime {
    private Strftime() {}

    static String format(String format, LocalDateTime time) {
        StringBuilder out = new StringBuilder();
        int at = 0;
        while (at < format.length()) {
            char c = format.charAt(at++);
            if (c != '%' || at == format.length()) {
                out.append(c);
                continue;
            }
            char directive = format.charAt(at++);
            boolean unpadded = directive == '-' && at < format.length();
            if (unpadded) {
                directive = format.charAt(at++);
            }
            String text = directive(directive, time);
            out.append(unpadded && "dmHIMSjy".indexOf(directive) >= 0 ? unpad(text) : text);
        }
        return out.toString();
    }

    private static String unpad(String text) {
        return Integer.toString(Integer.parseInt(text));
    }

    private static String directive(char directive, LocalDateTime time) {
        return switch (directive) {
            case 'a' -> time.getDayOfWeek().getDisplayName(TextStyle.SHORT, Locale.ENGLISH);
            case 'A' -> time.getDayOfWeek().getDisplayName(TextStyle.FULL, Locale.ENGLISH);
            case 'b', 'h' -> time.getMonth().getDisplayName(TextStyle.SHORT, Locale.ENGLISH);
            case 'B' -> time.getMonth().getDisplayName(TextStyle.FULL, Locale.ENGLISH);
            case 'd' -> two(time.getDayOfMonth());
            case 'e' -> Text.pad(Integer.toString(time.getDayOfMonth()), 2, " ", true, false);
            case 'm' -> two(time.getMonthValue());
            case 'y' -> two(time.getYear() % 100);
            case 'Y' -> Integer.toString(time.getYear());
            case 'H' -> two(time.getHour());
            case 'I' -> two((time.getHour() + 11) % 12 + 1);
            case 'M' -> two(time.getMinute());
            case 'S' -> two(time.getSecond());
            case 'p' -> time.getHour() < 12 ? "AM" : "PM";
            case 'f' -> time.format(DateTimeFormatter.ofPattern("SSSSSS", Locale.ROOT));
            case 'j' -> Text.pad(Integer.toString(time.getDayOfYear()), 3, "0", true, false);
            case 'u' -> Integer.toString(time.getDayOfWeek().getValue());
            case 'w' -> Integer.toString(time.getDayOfWeek().getValue() % 7);
            case 'F' -> format("%Y-%m-%d", time);
            case 'D', 'x' -> format("%m/%d/%y", time);
            case 'T', 'X' -> format("%H:%M:%S", time);
            case 'R' -> format("%H:%M", time);
            case 'c' -> format("%a %b %e %H:%M:%S %Y", time);
            case 'z', 'Z' -> "";
            case 'n' -> "\n";
            case 't' -> "\t";
            case '%' -> "%";
            default -> throw JinjaException.unsupported("the date directive '%" + directive + "'");
        };
    }

    private static String two(int number) {
        return Text.pad(Integer.toString(number), 2, "0", true, false);
    }
}
