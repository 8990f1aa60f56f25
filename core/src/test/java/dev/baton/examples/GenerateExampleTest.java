package dev.baton.examples;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.tokenizer.Tokenizer;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/// The program that shows the engine as a library: it runs as it is in `examples/`, and `README.md` shows it as
/// it is.
@Timeout(120)
class GenerateExampleTest {
    private static final int TOKENS = 40;

    private static Path repository() {
        Path here = Path.of("").toAbsolutePath();
        return Files.exists(here.resolve("models")) ? here : here.getParent();
    }

    private static final Path EXAMPLE = repository().resolve("examples/Generate.java");

    @Test
    void exampleWritesWhatTransformersWrites() throws Exception {
        Path model = repository().resolve("models/baton-tiny");
        Assumptions.assumeTrue(Files.exists(model.resolve("model.safetensors")), "the embedded model is not there");
        Process process = new ProcessBuilder(List.of(
                        Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                        "--add-modules=jdk.incubator.vector",
                        "--enable-native-access=ALL-UNNAMED",
                        "-Dstdout.encoding=UTF-8",
                        "-cp",
                        System.getProperty("java.class.path"),
                        EXAMPLE.toString()))
                .directory(repository().toFile())
                .redirectError(ProcessBuilder.Redirect.DISCARD)
                .start();
        String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertThat(process.waitFor(10, TimeUnit.SECONDS)).isTrue();
        assertThat(process.exitValue()).as(output).isZero();
        assertThat(output).isEqualTo(expected(model) + System.lineSeparator());
    }

    /// The first tokens of the greedy text that the fixture has of the same prompt.
    private static String expected(Path model) throws IOException {
        try (InputStream fixture = GenerateExampleTest.class.getResourceAsStream("/fixtures/baton-tiny-greedy.json");
                Tokenizer tokenizer = Tokenizer.load(model)) {
            for (JsonNode item : JsonMapper.shared().readTree(fixture).path("items")) {
                if (item.path("prompt").asString("").equals("Once upon a time")) {
                    int[] ids = new int[TOKENS];
                    for (int i = 0; i < TOKENS; i++) {
                        ids[i] = item.path("generated_token_ids").path(i).asInt();
                    }
                    return tokenizer.decode(ids, true);
                }
            }
            throw new AssertionError("the fixture has no such prompt");
        }
    }

    @Test
    void exampleHasTenLinesAndTheReadmeShowsThem() throws IOException {
        List<String> lines = Files.readAllLines(EXAMPLE);
        int begin = lines.indexOf("void main() throws Exception {") + 1;
        String body =
                String.join("\n", lines.subList(begin, lines.lastIndexOf("}"))).stripIndent();
        assertThat(body.lines()).hasSizeLessThanOrEqualTo(10);
        assertThat(Files.readString(repository().resolve("README.md"))).contains("```java\n" + body + "\n```\n");
    }
}
