package dev.baton.transfer.tcp;

import dev.baton.transfer.RemotePrefill;
import java.io.BufferedReader;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.IntStream;

/// [PrefillerMain] as a child process, to be killed or stopped.
final class PrefillerProcess implements AutoCloseable {
    private final Process process;
    final RemotePrefill params;

    PrefillerProcess() throws IOException {
        this(false);
    }

    /// @param shares whether its pool is one that other processes can map
    PrefillerProcess(boolean shares) throws IOException {
        process = new ProcessBuilder(
                        Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                        "-XX:+UseSerialGC",
                        "-Xmx128m",
                        "--enable-native-access=ALL-UNNAMED",
                        "-cp",
                        System.getProperty("java.class.path"),
                        PrefillerMain.class.getName(),
                        shares ? "shared" : "alone")
                .redirectError(ProcessBuilder.Redirect.INHERIT)
                .start();
        BufferedReader out = process.inputReader(StandardCharsets.UTF_8);
        String line = out.readLine();
        while (line != null && !line.matches("\\d+ \\S+")) {
            line = out.readLine(); // log lines
        }
        if (line == null) {
            throw new IOException("the prefiller did not start");
        }
        String[] words = line.split(" ");
        params = new RemotePrefill(
                "prefiller-1",
                words[1],
                IntStream.range(0, PrefillerMain.BLOCKS).boxed().toList(),
                "127.0.0.1",
                Integer.parseInt(words[0]),
                1,
                PrefillerMain.BLOCKS * PrefillerMain.BLOCK_TOKENS);
    }

    void kill() {
        process.destroyForcibly().onExit().join();
    }

    /// Sends a signal by name.
    void signal(String name) throws IOException, InterruptedException {
        int status = new ProcessBuilder(List.of("kill", "-" + name, Long.toString(process.pid())))
                .inheritIO()
                .start()
                .waitFor();
        if (status != 0) {
            throw new IOException("kill -" + name + " ended with " + status);
        }
    }

    @Override
    public void close() {
        kill();
    }
}
