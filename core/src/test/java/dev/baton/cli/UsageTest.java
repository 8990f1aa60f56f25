package dev.baton.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
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
            --block-size 0 --num-gpu-blocks-override 9   | --block-size is 0
            --max-model-len 4096                         | --max-model-len 4096 does not fit the model, which has 2048 positions
            --max-num-batched-tokens 1                   | --max-num-batched-tokens is 1; it must be at least --max-num-seqs
            --dtype bf16                                 | --dtype bf16 is not there
            --kv-cache-dtype fp8                         | --kv-cache-dtype fp8 is not there
            --device tpu                                 | tpu
            --device cuda --dtype float32                | --dtype float32 is not there: a GPU computes in bfloat16
            --device cuda --kv-cache-dtype float16       | --kv-cache-dtype float16 is not there on a GPU
            --device cuda --quantization int8            | --quantization int8 is not there on a GPU
            --device cuda --block-size 24                | blocks on a GPU have a power of two from 16 to 128 tokens, not 24 (--block-size)
            --device cuda --gpu-memory-utilization 1.5   | --gpu-memory-utilization must be above 0 and at most 1, got 1.5
            --quantization int4                          | --quantization int4 is not there
            --load-format gguf                           | --load-format gguf is not there
            --threads 0                                  | --threads must be at least 1, got 0
            --port 99999                                 | --port
            --shutdown-timeout -1                        | '--shutdown-timeout': a time cannot be negative, got -1 seconds
            --step-deadline 0                            | '--step-deadline': it must be more than 0 seconds, got 0
            --step-deadline soon                         | 'soon' is no number of seconds such as 10 or 0.5
            --max-num-seq 3                              | There is no flag --max-num-seq; did you mean --max-num-seqs?
            --max_num_seq=3                              | There is no flag --max-num-seq; did you mean --max-num-seqs?
            --pipeline-parallel-size 2                   | --pipeline-parallel-size is refused: it can only be 1
            --tensor-parallel-size 2                     | --tensor-parallel-size 2 needs --device cuda
            -tp 0                                        | --tensor-parallel-size must be at least 1, got 0
            --generation-config nowhere                  | --generation-config nowhere is no folder with a generation_config.json
            --override-generation-config [1]             | --override-generation-config is no JSON object
            --override-generation-config {               | --override-generation-config is no JSON:
            --override-generation-config {"temperature":"warm"} | --override-generation-config: temperature must be a number, got "warm".
            --override-generation-config {"top_k":1.5}   | --override-generation-config: top_k must be an integer, got 1.5.
            --override-generation-config {"temperature":-1} | (--generation-config, --override-generation-config) cannot be used: temperature is -1.0
            --allowed-origins ["a",                      | --allowed-origins ["a", is no JSON list of strings
            --config nowhere.yaml                        | There is no file nowhere.yaml.
            --api-key=                                   | --api-key has an empty key
            --api-key-file nowhere.yaml                  | --api-key-file nowhere.yaml cannot be read: there is no such file
            """)
    void engineFlagThatCannotBeServedIsWrongUsageOfServeAndOfUp(String flags, String sentence) {
        assertWrongUsage(("serve " + MODEL + " " + flags).split(" "), sentence);
        assertWrongUsage(("up --model " + MODEL + " " + flags).split(" "), sentence);
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', quoteCharacter = '`', textBlock = """
            up --prefillers 0                                | --prefillers and --decoders must be at least 1
            up --w-tpot -1                                   | --w-tpot is -1.0, needed is a number from 0 on
            up --decoder-port 70000                          | --decoder-port 70000
            router --decoder 127.0.0.1:8200 --port 99999     | --port must be 0 to 65535, got 99999
            router --decoder 127.0.0.1                       | '127.0.0.1' is not an engine address: write host:port
            router --decoder a:1 --prefiller a:1             | a:1 is listed twice
            router --port 0                                  | at least one decoder is needed
            router --decoder a:1,weight=0                    | 'a:1,weight=0': the weight of a:1 is 0.0
            router --discovery k8s://a:1                     | --discovery k8s://a:1 is neither zmq://HOST:PORT nor etcd
            router --discovery etcd://a                      | 'etcd://a' is not etcd://host:2379
            router --admin-api-key=                          | --admin-api-key has an empty key
            router --registration --allowed-engines a/b      | 'a/b' is no network such as 10.0.0.0/8
            serve --register ftp://a:1                       | 'ftp://a:1' is none of http://host:port, zmq://host:port
            serve --register http://a:1 --advertise-host a/b | 'a/b' is not a host name
            serve --register http://a:1 --register-ttl 0.5   | a registration must hold for at least 1 s
            router --decoder a:1 --max-in-flight 0           | --max-in-flight is 0, needed is at least 1
            router --backend p2p-nccl --prefillers a:1 --decoders b:1,zmq=b:9  | prefiller a:1 has no ZMQ address: P2pNcclConnector needs one of each engine, by registration or as zmq=IP:PORT after its own; add it in --prefillers, or choose another --backend
            router --backend p2p-nccl --prefillers a:1,zmq=a:9 --decoders b:1  | add it in --decoders
            router --backend nixl-push --prefillers a:1 --decoders b:1 --registration | prefiller a:1 has no NIXL side channel
            router --decoder a:1 --event-loops 0             | --event-loops is 0, needed is at least 1
            router --decoder a:1 --circuit-failures -1       | --circuit-failures is -1, needed is at least 0
            router --decoder a:1 --w-ttft -1                 | --w-ttft is -1.0, needed is a number from 0 on
            router --decoder a:1 --gap-timeout -1            | '--gap-timeout': a time cannot be negative, got -1 seconds
            router --decoder a:1 --prefill-timeout 0         | '--prefill-timeout': it must be more than 0 seconds
            router --decoder a:1 --gap-timout 3              | There is no flag --gap-timout; did you mean --gap-timeout?
            router --decoder a:1 --tensor-parallel-size 1    | There is no flag --tensor-parallel-size
            up --ready-timeout 1e99                          | '--ready-timeout': it must be at most 31536000 seconds
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

    @ParameterizedTest
    @CsvSource(delimiter = '|', quoteCharacter = '`', textBlock = """
            BATON_PORT              | abc  | Invalid value for option '--port': 'abc' is not an int (set by BATON_PORT).
            BATON_BLOCK_SIZE        | 0    | --block-size must be at least 1, got 0 (set by BATON_BLOCK_SIZE).
            BATON_STEP_DEADLINE     | -5   | a time cannot be negative, got -5 seconds (set by BATON_STEP_DEADLINE).
            BATON_DISABLE_LOG_STATS | much | The variable BATON_DISABLE_LOG_STATS is wrong: it takes true or false, got 'much'.
            VLLM_LOG_STATS_INTERVAL | x    | is no number of seconds such as 10 or 0.5 (set by VLLM_LOG_STATS_INTERVAL).
            BATON_CONFIG            | no.y | There is no file no.y.
            """)
    void wrongVariableIsNamed(String variable, String value, String sentence) {
        assertThat(run(Map.of(variable, value), "serve", MODEL.toString())).isEqualTo(Exit.USAGE);
        assertThat(said()).startsWith("baton: ").contains(sentence).hasLineCount(2);
    }

    /// The roles get their keys in one variable, separated by blanks: each word would be a key of its own.
    @Test
    void keyWithABlankIsNotHandedToTheRoles() {
        assertThat(run(Map.of("VLLM_API_KEY", "one key"), "up", "--model", MODEL.toString(), "--prefillers", "0"))
                .isEqualTo(Exit.USAGE);
        assertThat(said()).contains("--api-key has a key with a blank in it").doesNotContain("one key");
    }

    @Test
    void serveWithoutAModelAsksForOne() {
        assertWrongUsage(new String[] {"serve"}, "Name a model: the folder of a Hugging Face model, as MODEL.");
    }

    @Test
    void flagsOfVllmWithoutMeaningHereAreLeftOutWithAWarningEach() {
        assertThat(run("serve", "--enforce-eager", "-pp", "1", MODEL.toString(), "--block-size=0"))
                .isEqualTo(Exit.USAGE);
        assertThat(said())
                .hasLineCount(4)
                .startsWith("baton: --enforce-eager has no effect: ")
                .contains("baton: -pp has no effect: ", "--block-size must be at least 1, got 0");
    }

    @Test
    void templateThatIsNoFileIsOneSentence() {
        assertThat(run("serve", MODEL.toString(), "--chat-template", "nowhere.jinja"))
                .isEqualTo(Exit.FAILURE);
        assertThat(said())
                .startsWith("baton: --chat-template nowhere.jinja cannot be read: name a file")
                .hasLineCount(1);
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
        return run(Map.of(), arguments);
    }

    private int run(Map<String, String> environment, String... arguments) {
        PrintStream out = System.out;
        PrintStream err = System.err;
        try (PrintStream stream = new PrintStream(text, true, StandardCharsets.UTF_8)) {
            System.setOut(stream);
            System.setErr(stream);
            return Main.run(environment, arguments);
        } finally {
            System.setOut(out);
            System.setErr(err);
        }
    }

    private String said() {
        return text.toString(StandardCharsets.UTF_8);
    }
}
