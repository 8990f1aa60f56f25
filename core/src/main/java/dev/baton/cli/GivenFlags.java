package dev.baton.cli;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine;
import picocli.CommandLine.HelpCommand;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Model.OptionSpec;
import picocli.CommandLine.ParameterException;

/// All flags that a command is given: those of the command line, then those of environment variables that are not
/// on the command line, then those of the file of `--config` that are in neither. What is in none of them keeps its
/// default.
///
/// All become words of one command line, so that they are parsed, checked and handed to other processes in one way;
/// where each came from is kept for messages. As with vLLM, `_` in a flag's name stands for `-`.
final class GivenFlags {
    private static final Pattern FLAG_WORD = Pattern.compile("--?[a-zA-Z].*", Pattern.DOTALL);
    private static final Pattern FLAG = Pattern.compile("--[a-z][a-z0-9-]*");

    private final CommandSpec command;
    private final List<String> words = new ArrayList<>();
    private final Set<OptionSpec> onCommandLine = new HashSet<>();
    private final Map<String, String> origins = new HashMap<>();
    private final List<String> warnings = new ArrayList<>();
    private @Nullable Path file;

    private GivenFlags(CommandSpec command) {
        this.command = command;
    }

    /// Collects the flags for the sub-command that a command line names.
    ///
    /// @throws ParameterException if a variable or the file cannot be used, or a flag of vLLM's would have to be
    static GivenFlags of(CommandLine program, List<String> commandLine, Map<String, String> environment) {
        CommandLine named = program;
        int numNames = 0;
        CommandLine next = subcommand(named, commandLine, 0);
        while (next != null) {
            named = next;
            numNames++;
            next = subcommand(named, commandLine, numNames);
        }
        GivenFlags given = new GivenFlags(named.getCommandSpec());
        List<String> rest = commandLine.subList(numNames, commandLine.size());
        boolean isSettled = numNames == 0 || named.getCommand() instanceof HelpCommand || asksForHelp(rest);
        given.words.addAll(commandLine.subList(0, numNames));
        if (isSettled) {
            given.words.addAll(rest);
        } else {
            List<String> own = given.readCommandLine(rest);
            int end = own.contains("--") ? own.indexOf("--") : own.size();
            // First the command line, so that a flag that takes several values does not take the model as well.
            given.words.addAll(own.subList(0, end));
            given.readEnvironment(program, environment);
            given.readFile();
            given.words.addAll(own.subList(end, own.size()));
        }
        return given;
    }

    private static @Nullable CommandLine subcommand(CommandLine command, List<String> words, int at) {
        return at < words.size() ? command.getSubcommands().get(words.get(at)) : null;
    }

    private static boolean asksForHelp(List<String> words) {
        return words.stream().anyMatch(word -> word.equals("--help") || word.equals("-h"));
    }

    /// What the command line is to be parsed as.
    List<String> words() {
        return words;
    }

    /// What was left out, and what is probably misspelt.
    List<String> warnings() {
        return warnings;
    }

    /// Adds to a message about a flag where its value came from, unless from the command line.
    String explain(String message) {
        Matcher flags = FLAG.matcher(message);
        while (flags.find()) {
            String origin = origins.get(flags.group());
            if (origin != null) {
                return message.replaceFirst("\\.?$", "") + " (set by " + origin + ").";
            }
        }
        return message;
    }

    /// Notes which flags are there, and takes out what is vLLM's alone.
    private List<String> readCommandLine(List<String> rest) {
        List<String> kept = new ArrayList<>();
        int at = 0;
        while (at < rest.size() && !rest.get(at).equals("--")) {
            String word = withDashes(rest.get(at));
            String name = word.split("=", 2)[0];
            Optional<OptionSpec> option = FlagSetting.find(command, name);
            if (option.isPresent()) {
                onCommandLine.add(option.get());
                kept.add(word);
                boolean valueFollows = option.get().arity().min() > 0 && name.equals(word) && at + 1 < rest.size();
                if (valueFollows) {
                    at++;
                    kept.add(rest.get(at));
                }
                if (option.get().longestName().equals(ConfigOption.NAME)) {
                    file = Path.of(word.contains("=") ? word.split("=", 2)[1] : valueFollows ? rest.get(at) : "");
                }
                at++;
            } else {
                List<String> from = new ArrayList<>(rest.subList(at, rest.size()));
                from.set(0, word);
                int numWords = leftOut(from);
                if (numWords == 0) {
                    kept.add(requireNoFlag(word));
                }
                at += Math.max(1, numWords);
            }
        }
        kept.addAll(rest.subList(at, rest.size()));
        return kept;
    }

    private static String withDashes(String word) {
        if (!word.startsWith("--")) {
            return word;
        }
        int end = word.indexOf('=');
        return end < 0 ? word.replace('_', '-') : word.substring(0, end).replace('_', '-') + word.substring(end);
    }

    /// An unknown flag must not become one of the values of a flag that takes several.
    private String requireNoFlag(String word) {
        if (FLAG_WORD.matcher(word).matches()) {
            throw new ParameterException(command.commandLine(), unknown(command, word));
        }
        return word;
    }

    /// The sentence about a flag that a command does not have.
    static String unknown(CommandSpec command, String word) {
        String flag = word.split("=", 2)[0];
        return "There is no flag " + flag
                + Optional.of(flag)
                        .filter(name -> name.startsWith("--"))
                        .flatMap(name ->
                                NearestName.of(name, command.optionsMap().keySet()))
                        .map(near -> "; did you mean " + near + "?")
                        .orElse(".");
    }

    /// How many words are a flag of vLLM's that has no effect here.
    private int leftOut(List<String> from) {
        if (!from.getFirst().startsWith("-") || !EngineOptions.areIn(command)) {
            return 0;
        }
        return VllmFlags.judge(from, 0)
                .map(verdict -> switch (verdict) {
                    case VllmFlags.Verdict.LeftOut leftOut -> {
                        warnings.add(leftOut.warning());
                        yield leftOut.numWords();
                    }
                    case VllmFlags.Verdict.Refused refused ->
                        throw new ParameterException(command.commandLine(), refused.reason());
                })
                .orElse(0);
    }

    private void readEnvironment(CommandLine program, Map<String, String> environment) {
        warnings.addAll(FlagVariables.warnings(program, environment));
        for (FlagSetting setting : FlagVariables.read(command, environment)) {
            add(setting);
            if (setting.flag().equals(ConfigOption.NAME) && file == null) {
                file = Path.of(setting.words().getFirst().substring(ConfigOption.NAME.length() + 1));
            }
        }
    }

    private void readFile() {
        if (file != null) {
            ConfigFile config = ConfigFile.read(command, file);
            warnings.addAll(config.warnings());
            config.settings().forEach(this::add);
        }
    }

    /// Unless something that goes before it has set the flag.
    private void add(FlagSetting setting) {
        boolean isOnCommandLine =
                onCommandLine.stream().anyMatch(option -> option.longestName().equals(setting.flag()));
        if (!isOnCommandLine && origins.putIfAbsent(setting.flag(), setting.origin()) == null) {
            words.addAll(setting.words());
        }
    }
}
