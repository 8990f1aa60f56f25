package dev.baton.deployment;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// The official OpenAI client for Python against a router with a prefiller and a decoder behind it. Its Python is
/// `OPENAI_PYTHON`, or `python3` if that has the package `openai`.
class OpenAiPythonTest {
    @Test
    void officialClientForPythonIsServedThroughTheHandOff(@TempDir Path folder) throws Exception {
        String python = python();
        Path script = folder.resolve("openai_python.py");
        try (InputStream source = OpenAiPythonTest.class.getResourceAsStream("/clients/openai_python.py")) {
            Files.write(script, Objects.requireNonNull(source).readAllBytes());
        }
        try (Deployment deployment = new Deployment(folder)) {
            Deployment.Instance prefiller = deployment.prefiller();
            Deployment.Instance decoder = deployment.decoder();
            Deployment.Instance router = deployment.router(List.of(prefiller), List.of(decoder));
            deployment.awaitReady();
            Path output = folder.resolve("client.log");
            Process client = new ProcessBuilder(python, script.toString(), router.url("/v1"))
                    .redirectErrorStream(true)
                    .redirectOutput(output.toFile())
                    .start();
            boolean ended = client.waitFor(300, TimeUnit.SECONDS);
            client.destroyForcibly();
            String said = Files.readString(output);
            assertThat(ended).as(said).isTrue();
            assertThat(client.exitValue()).as(said).isZero();
            assertThat(said.lines()).hasSize(11).last().isEqualTo("a stream may be left");
        }
    }

    private static String python() throws IOException, InterruptedException {
        String python = Objects.requireNonNullElse(System.getenv("OPENAI_PYTHON"), "python3");
        boolean there;
        try {
            Process asked = new ProcessBuilder(python, "-c", "import openai")
                    .redirectErrorStream(true)
                    .start();
            new String(asked.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
            there = asked.waitFor() == 0;
        } catch (IOException e) {
            there = false;
        }
        Assumptions.assumeTrue(
                there, "no Python with the package openai: OPENAI_PYTHON does not name one, and python3 has none");
        return python;
    }
}
