package dev.baton.cli;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintWriter;
import java.nio.charset.Charset;
import java.util.Optional;
import java.util.concurrent.Callable;
import java.util.function.UnaryOperator;
import java.util.regex.Pattern;
import org.jline.reader.EndOfFileException;
import org.jline.reader.LineReader;
import org.jline.reader.LineReaderBuilder;
import org.jline.reader.UserInterruptException;
import org.jline.terminal.Terminal;
import org.jline.terminal.TerminalBuilder;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/// `baton chat`: a conversation in the terminal. Without a terminal each line of standard input is one question.
@Command(name = "chat", description = "Talks to a model. " + ChatCommand.COMMANDS, sortOptions = false)
final class ChatCommand implements Callable<Integer> {
    static final String COMMANDS = "/new begins anew, /help shows the commands, /exit ends.";
    static final String HOW_TO_LEAVE = "Ctrl+C again, Ctrl+D or /exit to leave";
    private static final String PROMPT = "> ";

    /// A word after a slash; a path such as `/etc/hosts` is none and goes to the model.
    private static final Pattern SLASH_COMMAND = Pattern.compile("/[\\p{Alpha}?]*(\\s.*)?");

    @Option(
            names = "--base-url",
            defaultValue = "http://localhost:9000",
            paramLabel = "URL",
            description = "Default: ${DEFAULT-VALUE}.")
    String baseUrl = "";

    @Option(names = "--model", paramLabel = "NAME", description = "Default: the server's first.")
    @Nullable
    String model;

    @Option(names = "--system", paramLabel = "TEXT", description = "Said to the model before the conversation.")
    @Nullable
    String system;

    @Option(names = "--temperature", paramLabel = "T", description = "Default: the server's.")
    @Nullable
    Double temperature;

    @Option(names = "--max-tokens", paramLabel = "N", description = "Longest answer (default: what fits).")
    @Nullable
    Integer maxTokens;

    @Spec
    CommandSpec spec = CommandSpec.create();

    @Override
    public Integer call() throws IOException {
        ChatSession.Settings settings = new ChatSession.Settings(
                Optional.ofNullable(model),
                Optional.ofNullable(system),
                Optional.ofNullable(temperature),
                Optional.ofNullable(maxTokens),
                ApiKeyVariable.read());
        try (ChatSession session = new ChatSession(baseUrl.replaceAll("/+$", ""), settings)) {
            return Terminals.isTerminal() ? inTerminal(session) : overStandardInput(session);
        }
    }

    private static int inTerminal(ChatSession session) throws IOException {
        try (Terminal terminal = TerminalBuilder.builder().system(true).build()) {
            LineReader lines = LineReaderBuilder.builder().terminal(terminal).build();
            terminal.handle(Terminal.Signal.INT, signal -> session.interrupt());
            return converse(session, lines::readLine, terminal.writer());
        }
    }

    /// Ctrl+C stops an answer, drops what has been typed, and at an empty prompt leaves the second time in a row.
    ///
    /// @param readLine shows a prompt and reads as JLine does, with its exceptions
    /// @return the exit status
    static int converse(ChatSession session, UnaryOperator<String> readLine, PrintWriter out) {
        out.printf("Talking to %s. %s Ctrl+C stops an answer.%n", session.model(), COMMANDS);
        boolean leavesNext = false;
        while (true) {
            try {
                if (!answer(session, readLine.apply(PROMPT), out)) {
                    return Exit.OK;
                }
                leavesNext = false;
            } catch (UserInterruptException e) {
                boolean isEmpty = e.getPartialLine().isBlank();
                if (leavesNext && isEmpty) {
                    return StopSignal.Cause.INTERRUPT.exitCode();
                }
                leavesNext = isEmpty;
                if (leavesNext) {
                    out.println(HOW_TO_LEAVE);
                    out.flush();
                }
            } catch (EndOfFileException e) {
                return Exit.OK;
            }
        }
    }

    private int overStandardInput(ChatSession session) throws IOException {
        PrintWriter out = spec.commandLine().getOut();
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, Charset.defaultCharset()));
        String line = lines.readLine();
        while (line != null && answer(session, line, out)) {
            line = lines.readLine();
        }
        return Exit.OK;
    }

    /// Obeys a slash command, or asks the model and shows its answer.
    ///
    /// @return false if the person wants to leave
    static boolean answer(ChatSession session, String line, PrintWriter out) {
        String said = line.strip();
        switch (said) {
            case "" -> {}
            case "/exit" -> {
                return false;
            }
            case "/new" -> {
                session.clear();
                out.println("(a new conversation)");
            }
            case "/help" -> out.println(COMMANDS);
            case String unknown
            when SLASH_COMMAND.matcher(unknown).matches() ->
                out.println("There is no command " + unknown + ". " + COMMANDS);
            default -> {
                try {
                    ChatSession.Ending ending = session.ask(said, piece -> {
                        out.print(piece);
                        out.flush();
                    });
                    out.println(ending == ChatSession.Ending.INTERRUPTED ? " (stopped)" : "");
                } catch (CliException e) {
                    out.println(e.getMessage());
                }
            }
        }
        out.flush();
        return true;
    }
}
