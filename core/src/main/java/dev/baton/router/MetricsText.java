package dev.baton.router;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;

/// Reads Prometheus' text format (0.0.4), line by line. Lines that are none are passed over: an engine's slip must
/// not cost the rest. Thread-safe.
final class MetricsText {
    /// What is found, in the order of the text.
    interface Visitor {
        /// A `# TYPE` line.
        default void type(String family, String type) {}

        /// A `# HELP` line.
        default void help(String family, String help) {}

        /// Whether the samples of this name are wanted; the others are not read further.
        boolean wants(String name);

        /// One sample.
        ///
        /// @param labels between the braces, as they stand; empty without any
        void sample(String name, String labels, double value);
    }

    /// One label; the value as it stands, with its escapes.
    record Label(String name, String value) {}

    private MetricsText() {}

    static void read(String text, Visitor visitor) {
        int start = 0;
        while (start < text.length()) {
            int newline = text.indexOf('\n', start);
            int end = newline < 0 ? text.length() : newline;
            if (end > start) {
                line(text, start, end, visitor);
            }
            start = end + 1;
        }
    }

    private static void line(String text, int start, int end, Visitor visitor) {
        if (text.charAt(start) == '#') {
            comment(text.substring(start, end).strip(), visitor);
            return;
        }
        int nameEnd = start;
        while (nameEnd < end && isNamePart(text.charAt(nameEnd))) {
            nameEnd++;
        }
        if (nameEnd == start || nameEnd == end) {
            return;
        }
        String name = text.substring(start, nameEnd);
        if (!visitor.wants(name)) {
            return;
        }
        int valueStart = nameEnd;
        String labels = "";
        if (text.charAt(nameEnd) == '{') {
            int close = closingBrace(text, nameEnd + 1, end);
            if (close < 0) {
                return;
            }
            labels = text.substring(nameEnd + 1, close);
            valueStart = close + 1;
        }
        String rest = text.substring(valueStart, end).strip();
        int blank = rest.indexOf(' '); // a timestamp may follow
        try {
            visitor.sample(name, labels, value(blank < 0 ? rest : rest.substring(0, blank)));
        } catch (NumberFormatException e) {
            return; // not a sample
        }
    }

    private static void comment(String line, Visitor visitor) {
        String[] words = line.split(" ", 4);
        if (words.length < 3) {
            return;
        }
        if (words[1].equals("TYPE") && words.length == 4) {
            visitor.type(words[2], words[3].strip());
        } else if (words[1].equals("HELP")) {
            visitor.help(words[2], words.length == 4 ? words[3] : "");
        }
    }

    private static boolean isNamePart(char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == ':';
    }

    /// A brace within quotes does not close.
    private static int closingBrace(String text, int start, int end) {
        boolean quoted = false;
        for (int i = start; i < end; i++) {
            char c = text.charAt(i);
            if (quoted && c == '\\') {
                i++;
            } else if (c == '"') {
                quoted = !quoted;
            } else if (c == '}' && !quoted) {
                return i;
            }
        }
        return -1;
    }

    private static double value(String text) {
        return switch (text) {
            case "+Inf", "Inf" -> Double.POSITIVE_INFINITY;
            case "-Inf" -> Double.NEGATIVE_INFINITY;
            default -> Double.parseDouble(text);
        };
    }

    /// The labels of a sample, by name.
    static List<Label> labels(String text) {
        List<Label> labels = new ArrayList<>();
        int at = 0;
        while (at < text.length()) {
            int equals = text.indexOf('=', at);
            int open = equals < 0 ? -1 : text.indexOf('"', equals);
            if (open < 0) {
                break;
            }
            int close = open + 1;
            while (close < text.length() && text.charAt(close) != '"') {
                close += text.charAt(close) == '\\' ? 2 : 1;
            }
            if (close >= text.length()) {
                break;
            }
            labels.add(new Label(text.substring(at, equals).strip(), text.substring(open + 1, close)));
            at = close + 1;
            while (at < text.length() && (text.charAt(at) == ',' || text.charAt(at) == ' ')) {
                at++;
            }
        }
        labels.sort(Comparator.comparing(Label::name));
        return labels;
    }
}
