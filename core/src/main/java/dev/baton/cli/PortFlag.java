package dev.baton.cli;

import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.ParameterException;

/// Checks the flags that name a port to listen on.
final class PortFlag {
    private static final int HIGHEST_PORT = 65_535;

    private PortFlag() {}

    /// @throws ParameterException if there is no such port; 0 is any free one
    static void check(CommandSpec command, int port) {
        if (port < 0 || port > HIGHEST_PORT) {
            throw new ParameterException(
                    command.commandLine(), "--port must be 0 to %d, got %d.".formatted(HIGHEST_PORT, port));
        }
    }
}
