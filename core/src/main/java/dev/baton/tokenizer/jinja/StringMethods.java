package dev.baton.tokenizer.jinja;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.function.IntPredicate;
import org.jspecify.annotations.Nullable;

/// The methods of Python's `str` that templates call.
final class StringMethods {
    private static final Set<String> SUPPORTED = Set.of(
            "strip",
            "lstrip",
            "rstrip",
            "upper",
            "lower",
            "capitalize",
            "title",
            "split",
            "rsplit",
            "splitlines",
            "join",
            "replace",
            "startswith",
            "endswith",
            "find",
            "rfind",
            "index",
            "rindex",
            "count",
            "isdigit",
            "isalpha",
            "isalnum",
            "isspace",
            "isupper",
            "islower",
            "isnumeric",
            "isdecimal",
            "removeprefix",
            "removesuffix",
            "partition",
            "rpartition",
            "zfill",
            "ljust",
            "rjust",
            "center",
            "format");
    private static final Set<String> UNSUPPORTED = Set.of(
            "casefold",
            "encode",
            "expandtabs",
            "format_map",
            "isascii",
            "isidentifier",
            "isprintable",
            "istitle",
            "maketrans",
            "swapcase",
            "translate");

    private StringMethods() {}

    /// The method of that name, bound to `text`; null when `str` has none.
    static @Nullable Callable method(String text, String name) {
        if (SUPPORTED.contains(name)) {
            return arguments -> call(text, name, arguments);
        }
        if (UNSUPPORTED.contains(name)) {
            throw JinjaException.unsupported("str." + name + "()");
        }
        return null;
    }

    private static Object call(String text, String name, Arguments arguments) {
        return switch (name) {
            case "strip" -> strip(text, arguments, name, true, true);
            case "lstrip" -> strip(text, arguments, name, true, false);
            case "rstrip" -> strip(text, arguments, name, false, true);
            case "upper" -> none(arguments, name, text.toUpperCase(Locale.ROOT));
            case "lower" -> none(arguments, name, text.toLowerCase(Locale.ROOT));
            case "capitalize" -> none(arguments, name, Text.capitalize(text));
            case "title" -> none(arguments, name, Text.title(text));
            case "isdigit", "isdecimal", "isnumeric" -> none(arguments, name, isDigits(text, name));
            case "isalpha" -> none(arguments, name, Text.all(text, Character::isLetter));
            case "isalnum" -> none(arguments, name, Text.all(text, Character::isLetterOrDigit));
            case "isspace" -> none(arguments, name, Text.all(text, Text::isSpace));
            case "isupper" -> none(arguments, name, Text.hasCase(text, true));
            case "islower" -> none(arguments, name, Text.hasCase(text, false));
            case "split", "rsplit" -> split(text, name, arguments);
            case "splitlines" ->
                Text.splitLines(
                        text, Values.isTrue(arguments.check(name, "keepends").get(0, "keepends", false)));
            case "join" ->
                join(text, Values.items(arguments.check(name, "iterable").require(name, 0, "iterable")));
            case "replace" -> {
                arguments.check(name, "old", "new", "count");
                yield Text.replace(text, text(arguments, name, 0, "old"), text(arguments, name, 1, "new"), (int)
                        Values.integer(arguments.get(2, "count", -1L), "count"));
            }
            case "startswith", "endswith" -> affix(text, name, arguments);
            case "find", "rfind", "index", "rindex" -> find(text, name, arguments);
            case "count" -> (long) Text.count(text, text(arguments.check(name, "sub"), name, 0, "sub"));
            case "removeprefix" -> {
                String prefix = text(arguments.check(name, "prefix"), name, 0, "prefix");
                yield text.startsWith(prefix) ? text.substring(prefix.length()) : text;
            }
            case "removesuffix" -> {
                String suffix = text(arguments.check(name, "suffix"), name, 0, "suffix");
                yield text.endsWith(suffix) ? text.substring(0, text.length() - suffix.length()) : text;
            }
            case "partition" -> partition(text, text(arguments.check(name, "sep"), name, 0, "sep"), true);
            case "rpartition" -> partition(text, text(arguments.check(name, "sep"), name, 0, "sep"), false);
            case "zfill" -> zeroFill(text, Values.integer(arguments.require(name, 0, "width"), "width"));
            case "ljust", "rjust", "center" -> {
                arguments.check(name, "width", "fillchar");
                yield Text.pad(
                        text,
                        Values.integer(arguments.require(name, 0, "width"), "width"),
                        Values.string(arguments.get(1, "fillchar", " "), "fillchar"),
                        !name.equals("ljust"),
                        !name.equals("rjust"));
            }
            case "format" -> Formatting.braces(text, arguments);
            default -> throw JinjaException.unsupported("str." + name + "()");
        };
    }

    private static Object none(Arguments arguments, String name, Object result) {
        arguments.check(name);
        return result;
    }

    private static String text(Arguments arguments, String method, int index, String name) {
        return Values.string(arguments.require(method, index, name), method + "(): '" + name + "'");
    }

    private static boolean isDigits(String text, String name) {
        if (!text.isEmpty() && !Text.all(text, c -> c < 0x80 || Character.isDigit(c) || Character.isLetter(c))) {
            throw JinjaException.unsupported("str." + name + "() of characters outside ASCII that are no plain digits");
        }
        return Text.all(text, Character::isDigit);
    }

    private static String strip(String text, Arguments arguments, String name, boolean left, boolean right) {
        Object characters = arguments.check(name, "chars").get(0, "chars", None.NONE);
        return Text.strip(text, stripped(characters), left, right);
    }

    /// What `strip(characters)` takes away.
    static IntPredicate stripped(Object characters) {
        if (characters == None.NONE) {
            return Text::isSpace;
        }
        String set = Values.string(characters, "the characters to strip");
        return c -> set.indexOf(c) >= 0;
    }

    private static List<Object> split(String text, String name, Arguments arguments) {
        arguments.check(name, "sep", "maxsplit");
        Object separator = arguments.get(0, "sep", None.NONE);
        int maxSplits = (int) Values.integer(arguments.get(1, "maxsplit", -1L), "maxsplit");
        boolean fromRight = name.equals("rsplit");
        if (separator == None.NONE) {
            if (fromRight && maxSplits >= 0) {
                throw JinjaException.unsupported("str.rsplit() at white space with a limit");
            }
            return Text.splitWords(text, maxSplits);
        }
        String sign = Values.string(separator, "a separator");
        return fromRight ? Text.splitFromRight(text, sign, maxSplits) : Text.split(text, sign, maxSplits);
    }

    private static String join(String separator, List<Object> items) {
        List<String> parts = new ArrayList<>(items.size());
        for (Object item : items) {
            parts.add(Values.string(item, "an item to join"));
        }
        return String.join(separator, parts);
    }

    private static boolean affix(String text, String name, Arguments arguments) {
        arguments.check(name, "affix", "start");
        long start = Values.integer(arguments.get(1, "start", 0L), "start");
        int length = Text.length(text);
        long from = start < 0 ? Math.max(0, start + length) : start;
        if (from > length) {
            return false;
        }
        String tail = Text.substring(text, (int) from, length);
        Object affix = arguments.require(name, 0, "affix");
        for (Object candidate : affix instanceof Tuple tuple ? tuple.items() : List.of(affix)) {
            String part = Values.string(candidate, name + "(): what to look for");
            if (name.equals("startswith") ? tail.startsWith(part) : tail.endsWith(part)) {
                return true;
            }
        }
        return false;
    }

    private static long find(String text, String name, Arguments arguments) {
        String part = text(arguments.check(name, "sub"), name, 0, "sub");
        int at = name.startsWith("r") ? text.lastIndexOf(part) : text.indexOf(part);
        if (at < 0 && name.endsWith("index")) {
            throw new JinjaException("substring not found");
        }
        return at < 0 ? -1 : text.codePointCount(0, at);
    }

    private static Tuple partition(String text, String separator, boolean first) {
        if (separator.isEmpty()) {
            throw new JinjaException("empty separator");
        }
        int at = first ? text.indexOf(separator) : text.lastIndexOf(separator);
        if (at < 0) {
            return first ? Tuple.of(text, "", "") : Tuple.of("", "", text);
        }
        return Tuple.of(text.substring(0, at), separator, text.substring(at + separator.length()));
    }

    private static String zeroFill(String text, long width) {
        boolean signed = text.startsWith("-") || text.startsWith("+");
        String digits = signed ? text.substring(1) : text;
        return (signed ? text.substring(0, 1) : "") + Text.pad(digits, signed ? width - 1 : width, "0", true, false);
    }
}
