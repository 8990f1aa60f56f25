package dev.baton.cli;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintWriter;
import java.nio.charset.Charset;
import java.util.Optional;
import java.util.concurrent.Callable;
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
@Command(name = "chat", description = "Talks to a model: /new begins anew, /exit ends.", sortOptions = false)
final class ChatCommand implements Callable<Integer> {
    private static final String PROMPT = "> ";

    @Option(
            names = "--base-url",
            defaultValue = "http://localhost:9000",
            paramLabel = "URL",
            description = "Default: ${DEFAULT-VALUE}.")
    String baseUrl = "";

    @Option(names = "--model", description = "Default: the server's first.")
    @Nullable
    String model;

    @Option(names = "--system", paramLabel = "TEXT", description = "Said to the model before the conversation.")
    @Nullable
    String system;

    @Option(names = "--temperature", description = "Default: the server's.")
    @Nullable
    Double temperature;

    @Option(names = "--max-tokens", description = "Longest answer (default: what fits).")
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
                Optional.ofNullable(maxTokens));
        try (ChatSession session = new ChatSession(baseUrl.replaceAll("/+$", ""), settings)) {
            return Terminals.isTerminal() ? inTerminal(session) : overStandardInput(session);
        }
    }

    private static int inTerminal(ChatSession session) throws IOException {
        try (Terminal terminal = TerminalBuilder.builder().system(true).build()) {
            LineReader lines = LineReaderBuilder.builder().terminal(terminal).build();
            PrintWriter out = terminal.writer();
            out.printf(
                    "Talking to %s. /new begins anew, /exit ends; Ctrl+C stops an answer, at the prompt it ends.%n",
                    session.model());
            terminal.handle(Terminal.Signal.INT, signal -> session.interrupt());
            while (true) {
                String line;
                try {
                    line = lines.readLine(PROMPT);
                } catch (UserInterruptException e) {
                    return StopSignal.Cause.INTERRUPT.exitCode();
                } catch (EndOfFileException e) {
                    return Exit.OK;
                }
                if (!answer(session, line, out)) {
                    return Exit.OK;
                }
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

    /// @return false if the person wants to leave
    private static boolean answer(ChatSession session, String line, PrintWriter out) {
        switch (line.strip()) {
            case "" -> {}
            case "/exit" -> {
                return false;
            }
            case "/new" -> {
                session.clear();
                out.println("(a new conversation)");
            }
            default -> {
                try {
                    ChatSession.Ending ending = session.ask(line.strip(), piece -> {
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
