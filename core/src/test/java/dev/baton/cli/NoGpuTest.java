package dev.baton.cli;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.tensor.cuda.owned.Context;
import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/// What a machine without a GPU says when it is asked for one.
@Timeout(60)
class NoGpuTest {
    private static final Path MODEL = Baton.repository().resolve("models/baton-tiny");

    private final ByteArrayOutputStream text = new ByteArrayOutputStream();
    private String missing = "";

    @BeforeEach
    void thereIsNoGpu() {
        Optional<String> reason = Context.missing(System.getenv());
        Assumptions.assumeTrue(reason.isPresent(), "there is a GPU");
        Assumptions.assumeTrue(Files.exists(MODEL.resolve("config.json")), "the embedded model is not there");
        missing = reason.orElseThrow();
    }

    private int run(String... words) {
        PrintStream before = System.err;
        System.setErr(new PrintStream(text, true, StandardCharsets.UTF_8));
        try {
            return Main.run(Map.of(), words);
        } finally {
            System.setErr(before);
        }
    }

    @Test
    void serveOnAGpuFailsWithOneSentenceThatSaysWhatIsMissing() {
        assertThat(run("serve", MODEL.toString(), "--device", "cuda", "--port", "0"))
                .isEqualTo(Exit.FAILURE);
        assertThat(missing).matches("(The NVIDIA driver|NVRTC|cuBLASLt|there is no NVIDIA GPU).*");
        assertThat(text.toString(StandardCharsets.UTF_8).lines()).contains("baton: " + missing);
    }

    @Test
    void gpuCheckFailsWithTheSame() {
        assertThat(run("gpu-check")).isEqualTo(Exit.FAILURE);
        assertThat(text.toString(StandardCharsets.UTF_8).lines()).contains("baton: " + missing);
    }
}
