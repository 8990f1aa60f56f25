package dev.baton.cli;

import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.IVersionProvider;

/// `baton version`: which Baton on which Java.
@Command(name = "version", description = "Says which Baton runs on which Java.")
final class VersionCommand implements Callable<Integer> {

    @Override
    public Integer call() {
        System.out.println(text());
        return Exit.OK;
    }

    /// This program's version, as the jar says it.
    static String version() {
        String version = Main.class.getPackage().getImplementationVersion();
        return version == null ? "dev" : version;
    }

    private static String text() {
        return "Baton %s, Java %s (%s), %s %s"
                .formatted(
                        version(),
                        Runtime.version(),
                        System.getProperty("java.vendor"),
                        System.getProperty("os.name"),
                        System.getProperty("os.arch"));
    }

    /// The same for `baton --version`.
    static final class Provider implements IVersionProvider {
        @Override
        public String[] getVersion() {
            return new String[] {text()};
        }
    }
}
