package dev.baton.cli;

import java.nio.file.Files;
import java.nio.file.Path;

/// Where models lie on this machine.
final class ModelFolder {
    private ModelFolder() {}

    /// `models/baton-tiny` of the checkout or installation, which the script `baton` names in `baton.home`.
    static Path embedded() {
        return Path.of(System.getProperty("baton.home", ".")).resolve("models/baton-tiny");
    }

    /// @throws CliException if there is no model
    static void check(Path directory, String flag) {
        if (!Files.isRegularFile(directory.resolve("config.json"))) {
            throw new CliException("There is no model in %s (no config.json there): name a Hugging Face folder with %s."
                    .formatted(directory, flag));
        }
    }

    /// The last name of the folder's path.
    static String nameOf(Path directory) {
        Path name = directory.toAbsolutePath().normalize().getFileName();
        return name == null ? directory.toString() : name.toString();
    }
}
