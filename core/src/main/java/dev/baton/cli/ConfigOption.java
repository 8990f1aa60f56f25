package dev.baton.cli;

import java.nio.file.Path;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/// The flag `--config`; [GivenFlags] reads the file before the command line is parsed.
@Command
final class ConfigOption {
    static final String NAME = "--config";

    /// Marks flags whose value is JSON: a configuration file may have YAML there.
    static final String JSON_LABEL = "JSON";

    @Option(
            names = NAME,
            paramLabel = "FILE",
            description = "YAML file with further flags: max-num-seqs: 64 for --max-num-seqs 64. Flags here and"
                    + " variables go before it.")
    @Nullable
    Path file;
}
