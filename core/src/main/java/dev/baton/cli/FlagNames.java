package dev.baton.cli;

import java.util.Locale;
import java.util.Map;
import java.util.regex.Pattern;
import picocli.CommandLine.Model.CommandSpec;

/// Says what other rooms find wrong with a value in the words of the command line: their sentences name the
/// fields of their records, and who reads them has typed flags.
final class FlagNames {
    /// A name of several words, `maxInFlight` or `w_ttft`, that is no part of a file's name.
    private static final Pattern FIELD =
            Pattern.compile("(?<![\\w./-])(?:[a-z]+(?:[A-Z][a-z]+)+|[a-z]+(?:_[a-z]+)+)(?![\\w/-]|\\.\\w)");

    /// Fields that are not called as their flags are.
    private static final Map<String, String> OTHERS = Map.of(
            "blockTokens", "--block-size",
            "maxWaitingTokens", "--max-num-queued-tokens",
            "numBlocks", "--num-gpu-blocks-override");

    private FlagNames() {}

    /// A sentence with the flags of a command in place of the fields that they set; other words stay.
    static String in(String sentence, CommandSpec command) {
        return FIELD.matcher(sentence).replaceAll(found -> {
            String field = found.group();
            String flag = OTHERS.getOrDefault(
                    field,
                    "--" + field.replaceAll("([A-Z])", "-$1").replace('_', '-').toLowerCase(Locale.ROOT));
            return command.optionsMap().containsKey(flag) ? flag : field;
        });
    }
}
