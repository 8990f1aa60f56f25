package dev.baton.tokenizer.jinja;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.function.IntPredicate;

/// String operations as Python defines them: by code point, with Python's idea of white space.
public final class Text {
    private Text() {}

    /// `str.isspace` for one character.
    static boolean isSpace(int c) {
        return (c >= 0x09 && c <= 0x0d)
                || (c >= 0x1c && c <= 0x20)
                || c == 0x85
                || c == 0xa0
                || c == 0x1680
                || (c >= 0x2000 && c <= 0x200a)
                || c == 0x2028
                || c == 0x2029
                || c == 0x202f
                || c == 0x205f
                || c == 0x3000;
    }

    static boolean isBlank(String text, int from) {
        for (int at = from; at < text.length(); at++) {
            if (!isSpace(text.charAt(at))) {
                return false;
            }
        }
        return true;
    }

    /// `str.rstrip()`.
    public static String stripRight(String text) {
        return strip(text, Text::isSpace, false, true);
    }

    /// `str.strip()`.
    public static String strip(String text) {
        return strip(text, Text::isSpace, true, true);
    }

    static String strip(String text, IntPredicate stripped, boolean left, boolean right) {
        int begin = 0;
        int end = text.length();
        while (left && begin < end && stripped.test(text.codePointAt(begin))) {
            begin += Character.charCount(text.codePointAt(begin));
        }
        while (right && begin < end && stripped.test(text.codePointBefore(end))) {
            end -= Character.charCount(text.codePointBefore(end));
        }
        return text.substring(begin, end);
    }

    static int length(String text) {
        return text.codePointCount(0, text.length());
    }

    /// The characters of a string, each a string of its own.
    static List<Object> characters(String text) {
        List<Object> characters = new ArrayList<>(text.length());
        for (int at = 0; at < text.length(); ) {
            int next = text.offsetByCodePoints(at, 1);
            characters.add(text.substring(at, next));
            at = next;
        }
        return characters;
    }

    /// The part from one code point to another.
    static String substring(String text, int begin, int end) {
        int from = text.offsetByCodePoints(0, begin);
        return text.substring(from, text.offsetByCodePoints(from, end - begin));
    }

    static String capitalize(String text) {
        if (text.isEmpty()) {
            return text;
        }
        int first = text.offsetByCodePoints(0, 1);
        return titleCase(text.substring(0, first)) + text.substring(first).toLowerCase(Locale.ROOT);
    }

    private static String titleCase(String character) {
        int codePoint = character.codePointAt(0);
        int title = Character.toTitleCase(codePoint);
        return title == codePoint ? character.toUpperCase(Locale.ROOT) : Character.toString(title);
    }

    /// `str.title`: every run of letters starts with a capital.
    static String title(String text) {
        StringBuilder out = new StringBuilder(text.length());
        boolean afterLetter = false;
        for (Object character : characters(text)) {
            String c = (String) character;
            out.append(afterLetter ? c.toLowerCase(Locale.ROOT) : titleCase(c));
            afterLetter = isCased(c.codePointAt(0));
        }
        return out.toString();
    }

    static boolean isCased(int c) {
        return Character.isUpperCase(c) || Character.isLowerCase(c) || Character.isTitleCase(c);
    }

    /// `str.isupper` or `str.islower`: at least one cased character, and all of them of the case asked for.
    static boolean hasCase(String text, boolean upper) {
        boolean cased = false;
        for (int at = 0; at < text.length(); at += Character.charCount(text.codePointAt(at))) {
            int c = text.codePointAt(at);
            if (isCased(c)) {
                cased = true;
                if (upper != Character.isUpperCase(c)) {
                    return false;
                }
            }
        }
        return cased;
    }

    static boolean all(String text, IntPredicate predicate) {
        return !text.isEmpty() && text.codePoints().allMatch(predicate);
    }

    /// `str.split()` without a separator: at runs of white space, without empty parts.
    static List<Object> splitWords(String text, int maxSplits) {
        List<Object> words = new ArrayList<>();
        int at = 0;
        while (true) {
            while (at < text.length() && isSpace(text.charAt(at))) {
                at++;
            }
            if (at == text.length()) {
                return words;
            }
            if (maxSplits >= 0 && words.size() == maxSplits) {
                words.add(text.substring(at));
                return words;
            }
            int end = at;
            while (end < text.length() && !isSpace(text.charAt(end))) {
                end++;
            }
            words.add(text.substring(at, end));
            at = end;
        }
    }

    static List<Object> split(String text, String separator, int maxSplits) {
        if (separator.isEmpty()) {
            throw new JinjaException("empty separator");
        }
        List<Object> parts = new ArrayList<>();
        int from = 0;
        int at = text.indexOf(separator);
        while (at >= 0 && (maxSplits < 0 || parts.size() < maxSplits)) {
            parts.add(text.substring(from, at));
            from = at + separator.length();
            at = text.indexOf(separator, from);
        }
        parts.add(text.substring(from));
        return parts;
    }

    static List<Object> splitFromRight(String text, String separator, int maxSplits) {
        if (separator.isEmpty()) {
            throw new JinjaException("empty separator");
        }
        List<Object> parts = new ArrayList<>();
        int end = text.length();
        int at = text.lastIndexOf(separator);
        while (at >= 0 && (maxSplits < 0 || parts.size() < maxSplits)) {
            parts.addFirst(text.substring(at + separator.length(), end));
            end = at;
            at = at == 0 ? -1 : text.lastIndexOf(separator, at - separator.length());
        }
        parts.addFirst(text.substring(0, end));
        return parts;
    }

    /// `str.splitlines`.
    static List<Object> splitLines(String text, boolean keepEnds) {
        List<Object> lines = new ArrayList<>();
        int from = 0;
        for (int at = 0; at < text.length(); at++) {
            char c = text.charAt(at);
            boolean boundary =
                    (c >= 0x0a && c <= 0x0d) || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 || c == 0x2029;
            if (boundary) {
                int end = c == '\r' && text.startsWith("\n", at + 1) ? at + 2 : at + 1;
                lines.add(text.substring(from, keepEnds ? end : at));
                from = end;
                at = end - 1;
            }
        }
        if (from < text.length()) {
            lines.add(text.substring(from));
        }
        return lines;
    }

    /// `str.replace`; a negative `count` replaces all.
    static String replace(String text, String old, String replacement, int count) {
        if (count < 0) {
            return text.replace(old, replacement);
        }
        StringBuilder out = new StringBuilder(text.length());
        int from = 0;
        int replaced = 0;
        int at = text.indexOf(old);
        while (at >= 0 && replaced < count) {
            out.append(text, from, at).append(replacement);
            from = at + old.length();
            replaced++;
            if (old.isEmpty()) {
                if (from == text.length()) {
                    break;
                }
                int next = text.offsetByCodePoints(from, 1);
                out.append(text, from, next);
                from = next;
                at = from;
            } else {
                at = text.indexOf(old, from);
            }
        }
        return out.append(text, from, text.length()).toString();
    }

    static int count(String text, String part) {
        if (part.isEmpty()) {
            return length(text) + 1;
        }
        int count = 0;
        for (int at = text.indexOf(part); at >= 0; at = text.indexOf(part, at + part.length())) {
            count++;
        }
        return count;
    }

    /// Compares by code point, as Python does; `String.compareTo` compares UTF-16 units.
    static int compare(String left, String right) {
        int length = Math.min(left.length(), right.length());
        for (int at = 0; at < length; at++) {
            char a = left.charAt(at);
            char b = right.charAt(at);
            if (a != b) {
                boolean astral = Character.isSurrogate(a);
                return astral == Character.isSurrogate(b) ? Character.compare(a, b) : astral ? 1 : -1;
            }
        }
        return Integer.compare(left.length(), right.length());
    }

    static String pad(String text, long width, String fill, boolean left, boolean right) {
        int missing = Math.toIntExact(Math.max(0, width - length(text)));
        if (left && right) {
            int before = missing / 2 + (missing & Math.toIntExact(width) & 1);
            return fill.repeat(before) + text + fill.repeat(missing - before);
        }
        return left ? fill.repeat(missing) + text : text + fill.repeat(missing);
    }
}
