package dev.baton.grammar;

import java.util.Locale;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.IntPredicate;

/// Named sets of characters.
final class CharClasses {
    static final CodePointSet DIGIT = CodePointSet.of('0', '9');
    static final CodePointSet WORD = CodePointSet.of('0', '9', 'A', 'Z', 'a', 'z', '_', '_');
    static final CodePointSet SPACE = CodePointSet.of('\t', '\r', ' ', ' ');
    static final CodePointSet NOT_LINE_END = CodePointSet.of('\n', '\n').complement();

    private static final Map<String, Integer> CATEGORIES = Map.ofEntries(
            Map.entry("lu", 1 << Character.UPPERCASE_LETTER),
            Map.entry("ll", 1 << Character.LOWERCASE_LETTER),
            Map.entry("lt", 1 << Character.TITLECASE_LETTER),
            Map.entry("lm", 1 << Character.MODIFIER_LETTER),
            Map.entry("lo", 1 << Character.OTHER_LETTER),
            Map.entry("mn", 1 << Character.NON_SPACING_MARK),
            Map.entry("mc", 1 << Character.COMBINING_SPACING_MARK),
            Map.entry("me", 1 << Character.ENCLOSING_MARK),
            Map.entry("nd", 1 << Character.DECIMAL_DIGIT_NUMBER),
            Map.entry("nl", 1 << Character.LETTER_NUMBER),
            Map.entry("no", 1 << Character.OTHER_NUMBER),
            Map.entry("zs", 1 << Character.SPACE_SEPARATOR),
            Map.entry("zl", 1 << Character.LINE_SEPARATOR),
            Map.entry("zp", 1 << Character.PARAGRAPH_SEPARATOR),
            Map.entry("cc", 1 << Character.CONTROL),
            Map.entry("cf", 1 << Character.FORMAT),
            Map.entry("pd", 1 << Character.DASH_PUNCTUATION),
            Map.entry("ps", 1 << Character.START_PUNCTUATION),
            Map.entry("pe", 1 << Character.END_PUNCTUATION),
            Map.entry("pc", 1 << Character.CONNECTOR_PUNCTUATION),
            Map.entry("po", 1 << Character.OTHER_PUNCTUATION),
            Map.entry("pi", 1 << Character.INITIAL_QUOTE_PUNCTUATION),
            Map.entry("pf", 1 << Character.FINAL_QUOTE_PUNCTUATION),
            Map.entry("sm", 1 << Character.MATH_SYMBOL),
            Map.entry("sc", 1 << Character.CURRENCY_SYMBOL),
            Map.entry("sk", 1 << Character.MODIFIER_SYMBOL),
            Map.entry("so", 1 << Character.OTHER_SYMBOL));

    private static final Map<String, CodePointSet> UNICODE = new ConcurrentHashMap<>();

    private CharClasses() {}

    /// The set of `\p{name}`: a general category (`L`, `Lu`, `Nd`), or a script (`Script=Greek`, `Greek`).
    ///
    /// @throws GrammarException if there is none of that name
    static CodePointSet unicode(String name) {
        return UNICODE.computeIfAbsent(name.toLowerCase(Locale.ROOT), CharClasses::find);
    }

    private static CodePointSet find(String name) {
        int categories = 0;
        for (Map.Entry<String, Integer> category : CATEGORIES.entrySet()) {
            if (category.getKey().equals(name)
                    || (name.length() == 1 && category.getKey().startsWith(name))) {
                categories |= category.getValue();
            }
        }
        if (categories != 0) {
            int wanted = categories;
            return where(c -> (wanted & 1 << Character.getType(c)) != 0);
        }
        // No other word before the sign: each name that is found is remembered, so there must be few.
        String script =
                name.startsWith("script=") || name.startsWith("sc=") ? name.substring(name.indexOf('=') + 1) : name;
        try {
            Character.UnicodeScript wanted = Character.UnicodeScript.forName(script);
            return where(c -> Character.UnicodeScript.of(c) == wanted);
        } catch (IllegalArgumentException e) {
            throw new GrammarException("\\p{" + name + "} is no general category and no script of Unicode", e);
        }
    }

    private static CodePointSet where(IntPredicate test) {
        CodePointSet.Builder builder = new CodePointSet.Builder();
        int first = -1;
        for (int c = 0; c <= CodePointSet.MAX + 1; c++) {
            boolean is = c <= CodePointSet.MAX && test.test(c);
            if (is && first < 0) {
                first = c;
            } else if (!is && first >= 0) {
                builder.add(first, c - 1);
                first = -1;
            }
        }
        return builder.build();
    }
}
