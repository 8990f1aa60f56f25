package dev.baton.cli;

import java.util.List;
import java.util.Locale;
import java.util.Optional;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Model.OptionSpec;

/// A flag that was not given on the command line but by a variable or a file.
///
/// @param flag its name, with dashes
/// @param words what would have to stand on the command line for the same
/// @param origin where it was given, for messages
record FlagSetting(String flag, List<String> words, String origin) {

    /// A setting as words of a command line.
    ///
    /// @param flag a name that the command has, also `--no-NAME` of a switch
    /// @param values one, or more for a flag that may be repeated
    /// @throws IllegalArgumentException if they do not fit the flag, saying what does
    static FlagSetting of(CommandSpec command, String flag, List<String> values, String origin) {
        OptionSpec option = find(command, flag).orElseThrow();
        boolean isNegated = !command.optionsMap().containsKey(flag);
        String name = option.longestName();
        if (values.size() != 1 && !option.isMultiValue()) {
            throw new IllegalArgumentException("it takes one value, got a list of " + values.size());
        }
        if (option.arity().max() > 0) {
            return new FlagSetting(
                    name, values.stream().map(value -> name + "=" + value).toList(), origin);
        }
        boolean isOn = isTrue(values.getFirst()) != isNegated;
        if (isOn) {
            return new FlagSetting(name, List.of(name), origin);
        }
        return new FlagSetting(
                name, option.negatable() ? List.of("--no-" + name.substring("--".length())) : List.of(), origin);
    }

    /// The option of a name, `--no-NAME` of a switch included.
    static Optional<OptionSpec> find(CommandSpec command, String flag) {
        return Optional.ofNullable(command.optionsMap().get(flag))
                .or(() -> Optional.ofNullable(command.negatedOptionsMap().get(flag)));
    }

    private static boolean isTrue(String text) {
        return switch (text.strip().toLowerCase(Locale.ROOT)) {
            case "true", "yes", "on", "1" -> true;
            case "false", "no", "off", "0" -> false;
            default -> throw new IllegalArgumentException("it takes true or false, got '" + text + "'");
        };
    }
}
