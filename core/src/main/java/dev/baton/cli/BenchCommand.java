package dev.baton.cli;

import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/// `baton bench`: the group of benchmarks.
@Command(
        name = "bench",
        description = "Measures a deployment.",
        subcommands = {BenchServeCommand.class})
final class BenchCommand implements Runnable {
    @Spec
    CommandSpec spec = CommandSpec.create();

    @Override
    public void run() {
        throw new ParameterException(spec.commandLine(), "Name a benchmark: serve.");
    }
}
