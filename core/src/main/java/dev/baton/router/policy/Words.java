package dev.baton.router.policy;

import java.util.Arrays;
import java.util.Locale;
import java.util.Optional;
import java.util.stream.Collectors;

/// The constants of an enum as words of flags and paths: their names in lower case. Stateless.
final class Words {
    private Words() {}

    static String of(Enum<?> constant) {
        return constant.name().toLowerCase(Locale.ROOT);
    }

    /// The constant of a word, in any case.
    static <E extends Enum<E>> Optional<E> find(E[] constants, String word) {
        return Arrays.stream(constants)
                .filter(constant -> of(constant).equals(word.toLowerCase(Locale.ROOT)))
                .findFirst();
    }

    /// All words, for messages: `'pd', 'ppd', ...`.
    static String all(Enum<?>[] constants) {
        return Arrays.stream(constants)
                .map(constant -> "'" + of(constant) + "'")
                .collect(Collectors.joining(", "));
    }
}
