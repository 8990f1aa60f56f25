package dev.baton.cli;

import picocli.CommandLine;
import picocli.CommandLine.Command;

/// The `baton` command: parses the command line and hands over to one sub-command.
@Command(
        name = "baton",
        mixinStandardHelpOptions = true,
        description = "Serves large language models with prefill and decode in separate processes.")
public final class Main {
    private Main() {}

    /// Runs one sub-command and exits with its status.
    ///
    /// @param args the command line, without the program's name
    public static void main(String[] args) {
        System.exit(new CommandLine(new Main()).execute(args));
    }
}
