package dev.baton.cli;

import java.io.Console;

/// Whether a person sits at the other end.
final class Terminals {
    private Terminals() {}

    /// Whether standard input and output are a terminal that understands cursor movements.
    @SuppressWarnings("SystemConsoleNull") // since JDK 25 it is null again where there is no terminal
    static boolean isTerminal() {
        Console console = System.console();
        return console != null && console.isTerminal() && !"dumb".equals(System.getenv("TERM"));
    }
}
