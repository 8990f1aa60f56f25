package dev.baton.cli;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/// A `baton` command as a process of its own, from the test's class path, with its output in a file.
final class Baton implements AutoCloseable {
    private static final int DEADLINE_SECONDS = 120;

    private final Process process;
    private final Path output;

    private Baton(Process process, Path output) {
        this.process = process;
        this.output = output;
    }

    static Baton start(Path folder, String... arguments) {
        return start(folder, Map.of(), arguments);
    }

    static Baton start(Path folder, Map<String, String> environment, String... arguments) {
        List<String> command = TestJvm.command(
                List.of("--enable-native-access=ALL-UNNAMED", "-Xmx256m", "-Dbaton.home=" + repository()), Main.class);
        command.addAll(List.of(arguments));
        Path output = folder.resolve("output.txt");
        try {
            ProcessBuilder builder = new ProcessBuilder(command)
                    .directory(folder.toFile())
                    .redirectErrorStream(true)
                    .redirectOutput(output.toFile());
            builder.environment().put("BATON_JAVA_OPTS", String.join(" ", TestJvm.sharing())); // for those of `up`
            builder.environment().putAll(environment);
            Process process = builder.start();
            return new Baton(process, output);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    static Path repository() {
        Path here = Path.of("").toAbsolutePath();
        return Files.exists(here.resolve("models")) ? here : here.getParent();
    }

    String output() {
        try {
            return Files.readString(output);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    boolean isAlive() {
        return process.isAlive();
    }

    List<ProcessHandle> children() {
        return process.children().toList();
    }

    /// `INT` is what Ctrl+C sends.
    void signal(String name) {
        signal(process.toHandle(), name);
    }

    static void signal(ProcessHandle process, String name) {
        try {
            int status = new ProcessBuilder("kill", "-" + name, Long.toString(process.pid()))
                    .start()
                    .waitFor();
            if (status != 0) {
                throw new AssertionError("kill failed with " + status);
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    int awaitExit() throws InterruptedException {
        if (!process.waitFor(DEADLINE_SECONDS, TimeUnit.SECONDS)) {
            throw new AssertionError("did not end; its output:\n" + output());
        }
        return process.exitValue();
    }

    @Override
    public void close() {
        List<ProcessHandle> all = new ArrayList<>(process.descendants().toList());
        all.add(process.toHandle());
        all.forEach(ProcessHandle::destroyForcibly);
    }
}
