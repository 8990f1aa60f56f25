package dev.baton.tokenizer;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// Several processes that unpack the native library into one empty cache at the same time, as `baton up` starts
/// them.
class TokenizerProcessesTest {
    /// What each process runs: loads the tokenizer and prints a text's ids.
    static final class Main {
        public static void main(String[] args) {
            try (Tokenizer tokenizer = Tokenizer.load(Path.of(args[0]))) {
                System.out.print(Arrays.toString(tokenizer.encode("the red apple", true)));
            }
        }
    }

    @Test
    void processesThatStartTogetherShareOneCache(@TempDir Path cache) throws IOException, InterruptedException {
        List<Process> processes = new ArrayList<>();
        for (int i = 0; i < 4; i++) {
            processes.add(start(cache));
        }
        List<String> outputs = new ArrayList<>();
        for (Process process : processes) {
            outputs.add(new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8));
            assertThat(process.waitFor(60, TimeUnit.SECONDS)).isTrue();
            assertThat(process.exitValue()).as(outputs.getLast()).isZero();
        }
        String expected;
        try (Tokenizer tokenizer = Tokenizer.load(TokenizerTest.folder("byte-level"))) {
            expected = Arrays.toString(tokenizer.encode("the red apple", true));
        }
        assertThat(outputs).allSatisfy(output -> assertThat(output).endsWith(expected));
        try (Stream<Path> files = Files.walk(cache)) {
            assertThat(files.filter(Files::isRegularFile))
                    .as("one copy, no leftovers")
                    .hasSize(1);
        }
    }

    private static Process start(Path cache) throws IOException {
        Path java = Path.of(System.getProperty("java.home"), "bin", "java");
        ProcessBuilder builder = new ProcessBuilder(
                java.toString(),
                "-Xmx96m",
                "--enable-native-access=ALL-UNNAMED",
                "-cp",
                System.getProperty("java.class.path"),
                Main.class.getName(),
                TokenizerTest.folder("byte-level").toString());
        builder.environment().remove("DJL_CACHE_DIR");
        builder.environment().put("XDG_CACHE_HOME", cache.toString());
        builder.redirectErrorStream(true);
        return builder.start();
    }
}
