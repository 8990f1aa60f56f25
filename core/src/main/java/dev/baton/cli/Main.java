package dev.baton.cli;

import dev.baton.bench.BenchException;
import dev.baton.discovery.DiscoveryException;
import dev.baton.engine.EngineException;
import dev.baton.http.HttpException;
import dev.baton.launch.LaunchException;
import dev.baton.model.ModelException;
import dev.baton.router.RouterException;
import dev.baton.tensor.TensorException;
import dev.baton.tokenizer.TokenizerException;
import dev.baton.transfer.TransferException;
import java.io.PrintWriter;
import org.slf4j.LoggerFactory;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.HelpCommand;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.ParseResult;
import picocli.CommandLine.Spec;

/// The `baton` command: parses the command line and hands over to one sub-command.
///
/// Exit status: 0 done, 1 failed, 2 wrong usage, 130 ended by Ctrl+C.
@Command(
        name = "baton",
        mixinStandardHelpOptions = true,
        versionProvider = VersionCommand.Provider.class,
        synopsisSubcommandLabel = "COMMAND",
        description = "Serves large language models with prefill and decode in separate processes.",
        subcommands = {
            UpCommand.class,
            ServeCommand.class,
            RouterCommand.class,
            ChatCommand.class,
            BenchCommand.class,
            VersionCommand.class,
            HelpCommand.class
        })
public final class Main implements Runnable {
    @Spec
    CommandSpec spec = CommandSpec.create();

    private Main() {}

    /// Runs one sub-command and exits with its status.
    ///
    /// @param args the command line, without the program's name
    public static void main(String[] args) {
        System.exit(run(args));
    }

    static int run(String... args) {
        CommandLine commandLine = new CommandLine(new Main());
        commandLine.getSubcommands().values().forEach(Main::addHelp);
        return commandLine
                .setCaseInsensitiveEnumValuesAllowed(true)
                .setUsageHelpAutoWidth(true)
                .setExecutionExceptionHandler(Main::explain)
                .setParameterExceptionHandler(Main::explainUsage)
                .execute(args);
    }

    private static void addHelp(CommandLine subcommand) {
        if (subcommand.getCommand() instanceof HelpCommand) {
            return; // has an option of its own
        }
        subcommand.getCommandSpec().mixinStandardHelpOptions(true);
        subcommand.getSubcommands().values().forEach(Main::addHelp);
    }

    @Override
    public void run() {
        throw new ParameterException(spec.commandLine(), "Name a command.");
    }

    private static int explain(Exception failure, CommandLine commandLine, ParseResult parsed) {
        PrintWriter err = commandLine.getErr();
        if (failure instanceof LaunchException launch) {
            err.println("baton: " + launch.getMessage());
            StatusBoard.printLog(err, launch.logTail());
        } else if (failure instanceof CliException
                || failure instanceof BenchException
                || failure instanceof DiscoveryException
                || failure instanceof EngineException
                || failure instanceof HttpException
                || failure instanceof ModelException
                || failure instanceof RouterException
                || failure instanceof TensorException
                || failure instanceof TokenizerException
                || failure instanceof TransferException) {
            err.println("baton: " + failure.getMessage());
        } else {
            err.println("baton: unexpected failure: " + failure);
            LoggerFactory.getLogger(Main.class).error("Unexpected failure", failure);
        }
        return Exit.FAILURE;
    }

    /// Wrong usage gets a sentence and the nearest known flag or command, not the whole help.
    private static int explainUsage(ParameterException failure, String[] args) {
        CommandLine commandLine = failure.getCommandLine();
        PrintWriter err = commandLine.getErr();
        err.println("baton: " + failure.getMessage());
        CommandLine.UnmatchedArgumentException.printSuggestions(failure, err);
        err.println("See: " + commandLine.getCommandSpec().qualifiedName() + " --help");
        return Exit.USAGE;
    }
}
