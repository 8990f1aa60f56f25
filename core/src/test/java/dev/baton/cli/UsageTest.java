package dev.baton.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// What `baton` says to flags that cannot be served, before it loads or starts anything.
@Timeout(60)
class UsageTest {
    private static final Path MODEL = Baton.repository().resolve("models/baton-tiny");

    private final ByteArrayOutputStream text = new ByteArrayOutputStream();

    @BeforeEach
    void theModelIsThere() {
        Assumptions.assumeTrue(Files.exists(MODEL.resolve("config.json")), "the embedded model is not there");
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', quoteCharacter = '`', textBlock = """
            --block-size 0                               | --block-size must be at least 1, got 0
            --block-size 0 --num-gpu-blocks-override 9   | blockTokens is 0
            --max-model-len 4096                         | --max-model-len 4096 does not fit the model, which has 2048 positions
            --max-num-batched-tokens 1                   | maxNumBatchedTokens is 1
            --dtype bf16                                 | --dtype bf16 is not there
            --kv-cache-dtype fp8                         | --kv-cache-dtype fp8 is not there
            --quantization int4                          | --quantization int4 is not there
            --load-format gguf                           | --load-format gguf is not there
            --threads 0                                  | --threads must be at least 1, got 0
            --port 99999                                 | --port
            """)
    void engineFlagThatCannotBeServedIsWrongUsageOfServeAndOfUp(String flags, String sentence) {
        assertWrongUsage(("serve " + MODEL + " " + flags).split(" "), sentence);
        assertWrongUsage(("up --model " + MODEL + " " + flags).split(" "), sentence);
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', quoteCharacter = '`', textBlock = """
            up --prefillers 0                                | --prefillers and --decoders must be at least 1
            up --decoder-port 70000                          | --decoder-port 70000
            router --decoder 127.0.0.1:8200 --port 99999     | --port must be 0 to 65535, got 99999
            serve MODEL --kv-transfer-config {"kv_connector":"XConnector","kv_role":"kv_both"} | kv_connector "XConnector" is not in this version
            """)
    void flagOfOneCommandThatCannotBeServedIsWrongUsage(String line, String sentence) {
        String[] arguments = line.split(" ");
        for (int i = 0; i < arguments.length; i++) {
            arguments[i] = arguments[i].equals("MODEL") ? MODEL.toString() : arguments[i];
        }
        if (arguments[0].equals("up")) {
            arguments = (line + " --model " + MODEL).split(" ");
        }
        assertWrongUsage(arguments, sentence);
    }

    @Test
    void helpExplainsEachCommand() {
        assertThat(run("help", "up")).isZero();
        assertThat(said()).startsWith("Usage: baton up").contains("--log-dir");
        text.reset();
        assertThat(run("help")).isZero();
        assertThat(said()).startsWith("Usage: baton").contains("router");
        text.reset();
        assertThat(run("help", "uq")).isEqualTo(Exit.USAGE);
    }

    private void assertWrongUsage(String[] arguments, String sentence) {
        text.reset();
        assertThat(run(arguments)).as(said()).isEqualTo(Exit.USAGE);
        assertThat(said()).startsWith("baton: ").contains(sentence).hasLineCount(2);
    }

    private int run(String... arguments) {
        PrintStream out = System.out;
        PrintStream err = System.err;
        try (PrintStream stream = new PrintStream(text, true, StandardCharsets.UTF_8)) {
            System.setOut(stream);
            System.setErr(stream);
            return Main.run(arguments);
        } finally {
            System.setOut(out);
            System.setErr(err);
        }
    }

    private String said() {
        return text.toString(StandardCharsets.UTF_8);
    }
}
