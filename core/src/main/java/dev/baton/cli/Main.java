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
import java.util.List;
import java.util.Map;
import java.util.function.UnaryOperator;
import org.slf4j.LoggerFactory;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.HelpCommand;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;
import picocli.CommandLine.UnmatchedArgumentException;

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
            CacheServerCommand.class,
            ChatCommand.class,
            BenchCommand.class,
            GpuCheckCommand.class,
            GpuCheckPrefillerCommand.class,
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
        System.exit(run(System.getenv(), args));
    }

    static int run(Map<String, String> environment, String... args) {
        CommandLine program = program();
        if (CompatRouter.isMeant(args)) {
            return runCompat(program, environment, args);
        }
        GivenFlags given;
        try {
            given = GivenFlags.of(program, List.of(args), environment);
        } catch (ParameterException e) {
            return explainUsage(e, String.valueOf(e.getMessage()));
        }
        given.warnings().forEach(warning -> program.getErr().println("baton: " + warning));
        return program.setExecutionExceptionHandler((failure, command, _) -> explain(failure, command, given::explain))
                .setParameterExceptionHandler((failure, _) -> explainUsage(failure, given))
                .execute(given.words().toArray(String[]::new));
    }

    /// Flags of others: no variables, no file, no flag of Baton's own.
    private static int runCompat(CommandLine program, Map<String, String> environment, String... args) {
        try {
            CommandLine compat = CompatRouter.command(program, environment, args);
            List<String> flags = CompatRouter.flags(args);
            CompatRouter.requireKnown(compat, flags);
            return compat.setExecutionExceptionHandler(
                            (failure, command, _) -> explain(failure, command, UnaryOperator.identity()))
                    .setParameterExceptionHandler((failure, _) -> explainUsage(failure, sentence(failure)))
                    .execute(flags.toArray(String[]::new));
        } catch (ParameterException e) {
            return explainUsage(e, String.valueOf(e.getMessage()));
        }
    }

    /// The command with its sub-commands, ready to parse.
    static CommandLine program() {
        CommandLine program = new CommandLine(new Main());
        program.getSubcommands().values().forEach(Main::addHelp);
        program.setCaseInsensitiveEnumValuesAllowed(true).setUsageHelpAutoWidth(true);
        GroupedHelp.install(program);
        return program;
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

    private static int explain(Exception failure, CommandLine commandLine, UnaryOperator<String> origin) {
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
            err.println("baton: " + origin.apply(String.valueOf(failure.getMessage())));
        } else {
            err.println("baton: unexpected failure: " + failure);
            LoggerFactory.getLogger(Main.class).error("Unexpected failure", failure);
        }
        return Exit.FAILURE;
    }

    private static int explainUsage(ParameterException failure, GivenFlags given) {
        return explainUsage(failure, given.explain(sentence(failure)));
    }

    /// Wrong usage gets a sentence and the nearest known flag or command, not the whole help.
    private static int explainUsage(ParameterException failure, String sentence) {
        CommandLine commandLine = failure.getCommandLine();
        PrintWriter err = commandLine.getErr();
        err.println("baton: " + sentence);
        if (failure instanceof UnmatchedArgumentException unmatched && !unmatched.isUnknownOption()) {
            UnmatchedArgumentException.printSuggestions(failure, err);
        }
        err.println("See: " + commandLine.getCommandSpec().qualifiedName() + " --help");
        return Exit.USAGE;
    }

    private static String sentence(ParameterException failure) {
        if (failure instanceof UnmatchedArgumentException unmatched && unmatched.isUnknownOption()) {
            return GivenFlags.unknown(
                    failure.getCommandLine().getCommandSpec(),
                    unmatched.getUnmatched().getFirst());
        }
        return String.valueOf(failure.getMessage());
    }
}
