package dev.baton.serving.tools;

import java.util.function.Consumer;

/// The part of an output that a parser has not taken yet. One thread.
final class TextWindow {
    private final StringBuilder text = new StringBuilder();
    private int from;

    void append(String more) {
        text.delete(0, from);
        from = 0;
        text.append(more);
    }

    boolean isEmpty() {
        return from == text.length();
    }

    /// The next character, which stays.
    char peek() {
        return text.charAt(from);
    }

    /// Takes one character.
    char next() {
        return text.charAt(from++);
    }

    /// Takes everything.
    String takeAll() {
        return take(text.length() - from);
    }

    String take(int characters) {
        String taken = text.substring(from, from + characters);
        from += characters;
        return taken;
    }

    /// Takes white space; false if nothing is left behind it.
    boolean skipSpace() {
        while (!isEmpty() && JsonScanner.isSpace(peek())) {
            from++;
        }
        return !isEmpty();
    }

    /// Which of the markers comes first.
    ///
    /// @param at characters before the marker
    record Found(int at, String marker) {}

    /// The first of the markers.
    ///
    /// @return `at` without a marker (an empty string) is the number of characters that no marker can begin in
    Found find(String... markers) {
        int first = -1;
        String which = "";
        for (String marker : markers) {
            int at = text.indexOf(marker, from);
            if (at >= 0 && (first < 0 || at < first)) {
                first = at;
                which = marker;
            }
        }
        if (first >= 0) {
            return new Found(first - from, which);
        }
        int held = 0;
        for (String marker : markers) {
            held = Math.max(held, partial(marker));
        }
        return new Found(text.length() - from - held, "");
    }

    /// Takes what stands before the first of the markers, and gives it out unless it is empty. The marker stays.
    Found takeBefore(Consumer<String> out, String... markers) {
        Found found = find(markers);
        String before = take(found.at());
        if (!before.isEmpty()) {
            out.accept(before);
        }
        return found;
    }

    /// Length of the longest end of the text that is a beginning of `marker`.
    private int partial(String marker) {
        for (int length = Math.min(marker.length() - 1, text.length() - from); length > 0; length--) {
            if (marker.startsWith(text.substring(text.length() - length))) {
                return length;
            }
        }
        return 0;
    }
}
