package dev.baton.cli;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;
import java.util.regex.Pattern;
import picocli.CommandLine;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Model.OptionSpec;
import picocli.CommandLine.ParameterException;

/// Flags that are given by environment variables: `--max-num-seqs` by `BATON_MAX_NUM_SEQS`, and a few by the
/// variable that vLLM has for the same.
final class FlagVariables {
    /// Flags that vLLM or one of its proxies knows as variables. A `BATON_` variable goes before it.
    static final Map<String, String> OF_VLLM = Map.of(
            "--admin-api-key", "ADMIN_API_KEY",
            "--api-key", "VLLM_API_KEY",
            "--log-level", "VLLM_LOGGING_LEVEL",
            "--log-stats-interval", "VLLM_LOG_STATS_INTERVAL",
            "--server-dev-mode", "VLLM_SERVER_DEV_MODE");

    private static final String PREFIX = "BATON_";

    /// Variables of the script `baton`, and of this project's own scripts.
    private static final Set<String> OF_SCRIPTS =
            Set.of("BATON_JAVA_HOME", "BATON_JAVA_OPTS", "BATON_JAR", "BATON_DRY_RUN", "BATON_PEERS");

    /// Kubernetes sets `BATON_PORT` to such an address in every pod beside a Service that is called `baton`.
    private static final Pattern SERVICE_LINK = Pattern.compile("(tcp|udp|sctp)://.*");

    /// A variable of somebody else's may well resemble one of ours a little.
    private static final int MOST_CHANGED_LETTERS = 2;

    private FlagVariables() {}

    static String nameFor(OptionSpec option) {
        return PREFIX
                + option.longestName()
                        .substring("--".length())
                        .replace('-', '_')
                        .toUpperCase(Locale.ROOT);
    }

    /// The flags of a command that the environment gives.
    ///
    /// @throws ParameterException naming the variable if its value does not fit
    static List<FlagSetting> read(CommandSpec command, Map<String, String> environment) {
        List<FlagSetting> settings = new ArrayList<>();
        for (OptionSpec option : command.options()) {
            if (option.hidden() || option.usageHelp() || option.versionHelp()) {
                continue;
            }
            find(option, environment).ifPresent(variable -> {
                String value = environment.getOrDefault(variable, "");
                // Several values are separated by blanks, as on the command line; vLLM's key is one key.
                List<String> values = option.isMultiValue() && variable.startsWith(PREFIX)
                        ? Arrays.asList(value.strip().split("\\s+"))
                        : List.of(value);
                try {
                    settings.add(FlagSetting.of(command, option.longestName(), values, variable));
                } catch (IllegalArgumentException e) {
                    throw new ParameterException(
                            command.commandLine(),
                            "The variable %s is wrong: %s.".formatted(variable, e.getMessage()),
                            e);
                }
            });
        }
        return settings;
    }

    private static Optional<String> find(OptionSpec option, Map<String, String> environment) {
        List<String> names = new ArrayList<>(List.of(nameFor(option)));
        Optional.ofNullable(OF_VLLM.get(option.longestName())).ifPresent(names::add);
        return names.stream()
                .filter(name -> !environment.getOrDefault(name, "").isEmpty())
                .filter(name -> !SERVICE_LINK
                        .matcher(environment.getOrDefault(name, ""))
                        .matches())
                .findFirst();
    }

    /// Says which variables are probably misspelt.
    static List<String> warnings(CommandLine program, Map<String, String> environment) {
        Set<String> known = new TreeSet<>(OF_SCRIPTS);
        collect(program, known);
        List<String> warnings = new ArrayList<>();
        for (String name : new TreeSet<>(environment.keySet())) {
            if (name.startsWith(PREFIX) && !known.contains(name)) {
                int numLetters = name.length() - PREFIX.length();
                NearestName.of(name, known, Math.min(MOST_CHANGED_LETTERS, numLetters / 3))
                        .ifPresent(near ->
                                warnings.add("The variable %s has no effect; did you mean %s?".formatted(name, near)));
            }
        }
        return warnings;
    }

    private static void collect(CommandLine command, Collection<String> names) {
        for (OptionSpec option : command.getCommandSpec().options()) {
            names.add(nameFor(option));
        }
        command.getSubcommands().values().forEach(subcommand -> collect(subcommand, names));
    }
}
