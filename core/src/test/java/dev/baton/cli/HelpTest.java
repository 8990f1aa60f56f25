package dev.baton.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import picocli.CommandLine;
import picocli.CommandLine.Model.OptionSpec;

/// What `--help` shows, and that the documentation keeps up with it.
class HelpTest {
    private static final Path FLAGS = Baton.repository().resolve("docs/flags.md");

    private static CommandLine command(String names) {
        CommandLine command = Main.program();
        for (String name : names.split(" ")) {
            command = command.getSubcommands().get(name);
        }
        return command;
    }

    private static Stream<OptionSpec> flags(CommandLine command) {
        return command.getCommandSpec().options().stream()
                .filter(option -> !option.hidden() && !option.usageHelp() && !option.versionHelp());
    }

    @ParameterizedTest
    @ValueSource(ints = {80, 120})
    void serveShowsEveryFlagOnceInItsGroupWithinTheTerminal(int columns) {
        CommandLine serve = command("serve").setUsageHelpAutoWidth(false).setUsageHelpWidth(columns);
        String help = serve.getUsageMessage(CommandLine.Help.Ansi.OFF);
        assertThat(help.lines()).allMatch(line -> line.length() <= columns);
        List<String> headings =
                help.lines().filter(line -> line.matches("[A-Z][A-Za-z ]*:")).toList();
        assertThat(headings)
                .containsExactly(
                        "Options:",
                        "Frontend:",
                        "Model:",
                        "Cache:",
                        "Scheduler:",
                        "Engine:",
                        "Logging:",
                        "KV transfer:",
                        "Registration:");
        flags(serve).forEach(option -> {
            String name = option.longestName().substring(2);
            assertThat(help.lines()
                            .filter(line -> line.matches(" {2}(    |-., |    -tp, )--(\\[no-])?" + name + "([ =].*)?")))
                    .as("lines that explain --" + name)
                    .hasSize(1);
        });
        assertThat(help).doesNotContain(dev.baton.launch.ProcessGroup.EXIT_WITH_PARENT);
        String footer = help.substring(help.lastIndexOf("\n\n")).replaceAll("\\s+", " ");
        assertThat(footer)
                .contains("--model by BATON_MODEL", "VLLM_API_KEY for --api-key", "variables before the file");
    }

    @ParameterizedTest
    @ValueSource(strings = {"serve", "up", "router", "cache-server", "chat", "bench serve"})
    void valuesAreNamedInCapitalsAndChoicesAsTheyAreTyped(String names) {
        String help = command(names).getUsageMessage(CommandLine.Help.Ansi.OFF);
        assertThat(help).doesNotContain("=<", "SCALAR", "NIXL,");
    }

    @Test
    void everySwitchOfServeCanBeTurnedOff() {
        assertThat(flags(command("serve")).filter(option -> option.arity().max() == 0))
                .hasSizeGreaterThan(5)
                .allMatch(OptionSpec::negatable);
    }

    @ParameterizedTest
    @ValueSource(strings = {"serve", "up", "router", "cache-server", "chat", "bench serve"})
    void everyFlagIsDocumented(String names) throws IOException {
        String page = Files.readString(FLAGS);
        assertThat(flags(command(names)).map(OptionSpec::longestName))
                .isNotEmpty()
                .allSatisfy(flag -> assertThat(page).contains("`" + flag + "`"));
    }

    @ParameterizedTest
    @CsvSource({"--port, BATON_PORT", "--kv-cache-memory-bytes, BATON_KV_CACHE_MEMORY_BYTES"})
    void variableIsTheFlagInCapitals(String flag, String variable) {
        assertThat(FlagVariables.nameFor(
                        command("serve").getCommandSpec().optionsMap().get(flag)))
                .isEqualTo(variable);
    }
}
