package dev.baton.cli;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;
import picocli.CommandLine;
import picocli.CommandLine.Help;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Model.OptionSpec;
import picocli.CommandLine.Model.UsageMessageSpec;

/// Shows a command's flags in groups: a mixin whose name begins with a capital letter is a group under that
/// name, and the other flags come first.
final class GroupedHelp {
    private static final String FIRST = "Options";

    private GroupedHelp() {}

    /// Lets a command and those under it show their flags so.
    static void install(CommandLine command) {
        command.getHelpSectionMap().put(UsageMessageSpec.SECTION_KEY_OPTION_LIST, GroupedHelp::render);
        if (command.getSubcommands().isEmpty()) {
            command.getHelpSectionMap().put(UsageMessageSpec.SECTION_KEY_FOOTER, GroupedHelp::footer);
        }
        command.getSubcommands().values().forEach(GroupedHelp::install);
    }

    private static String render(Help help) {
        CommandSpec command = help.commandSpec();
        Map<String, List<OptionSpec>> groups = groups(command);
        StringBuilder text = new StringBuilder();
        groups.forEach((name, options) -> {
            if (!options.isEmpty()) {
                // All options decide the columns, so that every group has the same.
                Help.Layout layout =
                        help.createDefaultLayout(command.options(), command.positionalParameters(), help.colorScheme());
                layout.addAllOptions(options, help.parameterLabelRenderer());
                text.append(System.lineSeparator())
                        .append(name)
                        .append(':')
                        .append(System.lineSeparator())
                        .append(layout);
            }
        });
        return text.toString();
    }

    /// Which variables give flags; the flags themselves would be noise.
    private static String footer(Help help) {
        CommandSpec command = help.commandSpec();
        boolean isEmpty = command.options().stream().allMatch(option -> option.usageHelp() || option.versionHelp());
        if (isEmpty || command.parent() == null) {
            return "";
        }
        String ofVllm = command.options().stream()
                .filter(option -> FlagVariables.OF_VLLM.containsKey(option.longestName()))
                .map(option -> FlagVariables.OF_VLLM.get(option.longestName()) + " for " + option.longestName())
                .collect(Collectors.joining(", "));
        OptionSpec example = command.options().getFirst();
        String text = "Each flag may also be given by a variable: " + example.longestName() + " by "
                + FlagVariables.nameFor(example)
                + (ofVllm.isEmpty() ? "." : "; vLLM's variables " + ofVllm + " do as well.");
        String order = command.optionsMap().containsKey(ConfigOption.NAME)
                ? " The command line goes before variables, variables before the file of --config."
                : "";
        return System.lineSeparator()
                + help.colorScheme().text(text + order).toString().transform(line -> wrapped(line, help))
                + System.lineSeparator();
    }

    private static String wrapped(String text, Help help) {
        int width = help.commandSpec().usageMessage().width();
        StringBuilder lines = new StringBuilder();
        int column = 0;
        for (String word : text.split(" ", -1)) {
            if (column > 0 && column + 1 + word.length() >= width) {
                lines.append(System.lineSeparator());
                column = 0;
            } else if (column > 0) {
                lines.append(' ');
                column++;
            }
            lines.append(word);
            column += word.length();
        }
        return lines.toString();
    }

    private static Map<String, List<OptionSpec>> groups(CommandSpec command) {
        Map<String, List<OptionSpec>> groups = new LinkedHashMap<>();
        groups.put(FIRST, new ArrayList<>());
        collect(command, groups);
        Set<String> grouped = groups.values().stream()
                .flatMap(List::stream)
                .map(OptionSpec::longestName)
                .collect(Collectors.toSet());
        command.options().stream()
                .filter(option -> !option.hidden() && !grouped.contains(option.longestName()))
                .forEach(option -> groups.get(FIRST).add(option));
        return groups;
    }

    private static void collect(CommandSpec command, Map<String, List<OptionSpec>> groups) {
        command.mixins().forEach((name, mixin) -> {
            if (Character.isUpperCase(name.charAt(0))) {
                groups.computeIfAbsent(name, _ -> new ArrayList<>()).addAll(mixin.options());
            } else {
                collect(mixin, groups);
            }
        });
    }
}
