package dev.baton.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import picocli.CommandLine;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.ParseResult;

/// Command line before variables before the file before the default, and what is said when one of them is wrong.
class GivenFlagsTest {
    @TempDir
    Path folder;

    private Path file(String yaml) throws IOException {
        return Files.writeString(folder.resolve("serve.yaml"), yaml);
    }

    private static <T> T parsed(Class<T> type, GivenFlags given, CommandLine program) {
        ParseResult result = program.parseArgs(given.words().toArray(String[]::new));
        while (result.hasSubcommand()) {
            result = result.subcommand();
        }
        return type.cast(result.commandSpec().userObject());
    }

    private static ServeCommand serve(Map<String, String> environment, String... words) {
        return parse(ServeCommand.class, environment, words);
    }

    private static <T> T parse(Class<T> type, Map<String, String> environment, String... words) {
        CommandLine program = Main.program();
        return parsed(type, GivenFlags.of(program, List.of(words), environment), program);
    }

    @ParameterizedTest
    @ValueSource(longs = {1, 2, 3, 4, 5, 6, 7, 8})
    void whatComesFirstWins(long seed) throws IOException {
        SplittableRandom random = new SplittableRandom(seed);
        List<String> flags =
                List.of("port", "max-num-seqs", "block-size", "max-waiting", "threads", "num-gpu-blocks-override");
        Map<String, Integer> expected = new HashMap<>();
        Map<String, String> environment = new HashMap<>();
        StringBuilder yaml = new StringBuilder("# a comment\n");
        List<String> words = new ArrayList<>(List.of("serve", "MODEL", "--config"));
        words.add(folder.resolve("serve.yaml").toString());
        for (String flag : flags) {
            int value = random.nextInt(1, 60_000);
            if (random.nextBoolean()) {
                yaml.append(random.nextBoolean() ? flag : flag.replace('-', '_'))
                        .append(": ")
                        .append(value)
                        .append('\n');
                expected.put(flag, value);
            }
            if (random.nextBoolean()) {
                environment.put(
                        "BATON_" + flag.replace('-', '_').toUpperCase(java.util.Locale.ROOT),
                        Integer.toString(value + 1));
                expected.put(flag, value + 1);
            }
            if (random.nextBoolean()) {
                String name = "--" + (random.nextBoolean() ? flag : flag.replace('-', '_'));
                if (random.nextBoolean()) {
                    words.add(name + "=" + (value + 2));
                } else {
                    words.addAll(List.of(name, Integer.toString(value + 2)));
                }
                expected.put(flag, value + 2);
            }
        }
        file(yaml.toString());
        ServeCommand command = serve(environment, words.toArray(String[]::new));
        assertThat(command.port).isEqualTo(expected.getOrDefault("port", 8000));
        assertThat(command.engine.scheduler.maxNumSeqs).isEqualTo(expected.getOrDefault("max-num-seqs", 256));
        assertThat(command.engine.cache.blockSize).isEqualTo(expected.getOrDefault("block-size", 16));
        assertThat(command.engine.scheduler.maxWaiting).isEqualTo(expected.getOrDefault("max-waiting", 1024));
        assertThat(command.engine.runtime.threads).isEqualTo(expected.get("threads"));
        assertThat(command.engine.cache.numBlocksOverride).isEqualTo(expected.get("num-gpu-blocks-override"));
    }

    @Test
    void fileOfVllmsFormIsRead() throws IOException {
        file("""
                model: /models/tiny
                served-model-name: [tiny, "small"]
                api-key: sk-1
                port: 0
                enable-prefix-caching: false
                disable-log-stats: true
                max-model-len: 4k
                shutdown-timeout: 2.5
                chat_template:
                kv-transfer-config:
                  kv_connector: TcpConnector
                  kv_role: kv_producer
                  kv_port: 14579
                  kv_connector_extra_config: {lease_s: 1.5, deep: [1, true, null, "1"]}
                override-generation-config:
                  temperature: 0.5
                swap-space: 4
                compilation-config: {mode: 3}
                """);
        CommandLine program = Main.program();
        GivenFlags given = GivenFlags.of(
                program, List.of("serve", "--config=" + folder.resolve("serve.yaml"), "--trust-remote-code"), Map.of());
        ServeCommand command = parsed(ServeCommand.class, given, program);
        assertThat(command.namedModel).isEqualTo(Path.of("/models/tiny"));
        assertThat(command.engine.model.servedModelNames).containsExactly("tiny", "small");
        assertThat(command.access.apiKeys).containsExactly("sk-1");
        assertThat(command.port).isZero();
        assertThat(command.engine.cache.enablePrefixCaching).isFalse();
        assertThat(command.engine.runtime.disableLogStats).isTrue();
        assertThat(command.engine.model.maxModelLen).isEqualTo(4000);
        assertThat(command.shutdownTimeout).isEqualTo(Duration.ofMillis(2500));
        assertThat(command.engine.frontend.chatTemplate).isNull();
        assertThat(command.transfer.config()).hasValueSatisfying(config -> {
            assertThat(config.port()).isEqualTo(14579);
            assertThat(config.extra()).containsEntry("lease_s", 1.5);
            assertThat(config.extra().get("deep").toString()).isEqualTo("[1, true, null, 1]");
        });
        assertThat(command.engine.model.overrideGenerationConfig).isEqualTo("{\"temperature\":0.5}");
        assertThat(given.warnings())
                .hasSize(3)
                .anyMatch(warning -> warning.startsWith("--trust-remote-code has no effect"))
                .anyMatch(warning -> warning.contains("line 17: --swap-space has no effect"))
                .anyMatch(warning -> warning.contains("--compilation-config has no effect"));
    }

    @Test
    void listsReplaceEachOtherInsteadOfGrowing() throws IOException {
        file("decoder: ['10.0.0.1:1', '10.0.0.2:1']\nprefillers: 10.0.0.3:1\n");
        String config = folder.resolve("serve.yaml").toString();
        RouterCommand router = parse(RouterCommand.class, Map.of(), "router", "--config", config);
        assertThat(router.discovery.decoders).containsExactly("10.0.0.1:1", "10.0.0.2:1");
        assertThat(router.discovery.prefillers).containsExactly("10.0.0.3:1");
        router = parse(
                RouterCommand.class,
                Map.of("BATON_DECODERS", "a:1 b:2", "BATON_CONFIG", config),
                "router",
                "--prefiller",
                "x:1",
                "y:2");
        assertThat(router.discovery.decoders).containsExactly("a:1", "b:2");
        assertThat(router.discovery.prefillers).containsExactly("x:1", "y:2");
    }

    @Test
    void variablesOfVllmMeanTheSameAndBatonsGoBeforeThem() {
        Map<String, String> environment = new HashMap<>(Map.of(
                "VLLM_API_KEY", "one key",
                "VLLM_SERVER_DEV_MODE", "1",
                "VLLM_LOG_STATS_INTERVAL", "2.5",
                "VLLM_LOGGING_LEVEL", "WARNING"));
        ServeCommand command = serve(environment, "serve", "MODEL");
        assertThat(command.access.apiKeys).containsExactly("one key");
        assertThat(command.engine.frontend.serverDevMode).isTrue();
        assertThat(command.engine.runtime.logStatsInterval).isEqualTo(Duration.ofMillis(2500));
        assertThat(command.engine.log.level).isEqualTo(LogOptions.Level.WARNING);
        environment.put("BATON_API_KEY", "k1 k2");
        environment.put("BATON_SERVER_DEV_MODE", "0");
        command = serve(environment, "serve", "MODEL");
        assertThat(command.access.apiKeys).containsExactly("k1", "k2");
        assertThat(command.positionalModel).as("the keys leave the model alone").isEqualTo(Path.of("MODEL"));
        assertThat(serve(environment, "serve", "--", "MODEL").positionalModel).isEqualTo(Path.of("MODEL"));
        assertThat(command.engine.frontend.serverDevMode).isFalse();
        assertThat(serve(environment, "serve", "MODEL", "--api-key", "k3").access.apiKeys)
                .containsExactly("k3");
    }

    @Test
    void switchesAreTurnedOffOnTheCommandLineInVariablesAndInFiles() throws IOException {
        file("no-enable-prefix-caching: true\n");
        String config = folder.resolve("serve.yaml").toString();
        Map<String, String> on = Map.of("BATON_ENABLE_PREFIX_CACHING", "yes");
        assertThat(serve(Map.of(), "serve", "MODEL").engine.cache.enablePrefixCaching)
                .isTrue();
        assertThat(serve(Map.of(), "serve", "MODEL", "--config", config).engine.cache.enablePrefixCaching)
                .isFalse();
        assertThat(serve(on, "serve", "MODEL", "--config", config).engine.cache.enablePrefixCaching)
                .isTrue();
        assertThat(serve(on, "serve", "MODEL", "--no-enable-prefix-caching").engine.cache.enablePrefixCaching)
                .isFalse();
        assertThat(serve(on, "serve", "MODEL", "--no_enable_prefix_caching").engine.cache.enablePrefixCaching)
                .isFalse();
    }

    @Test
    void eachServiceLinkOfKubernetesIsNoPort() {
        assertThat(serve(Map.of("BATON_PORT", "tcp://10.96.0.7:8000"), "serve", "MODEL").port)
                .isEqualTo(8000);
    }

    @Test
    void misspeltVariableIsToldAndAnotherCommandsIsNot() {
        Map<String, String> environment = Map.of(
                "BATON_MAX_NUM_SEQ", "1", "BATON_GAP_TIMEOUT", "5", "BATON_JAVA_OPTS", "-Xmx1g", "BATON_OWN", "x");
        assertThat(GivenFlags.of(Main.program(), List.of("serve", "MODEL"), environment)
                        .warnings())
                .containsExactly("The variable BATON_MAX_NUM_SEQ has no effect; did you mean BATON_MAX_NUM_SEQS?");
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', quoteCharacter = '`', textBlock = """
            max-num-seq: 3                         | line 2: there is no flag for the key max-num-seq; did you mean max-num-seqs?
            port: [1, 2]                           | line 2: port is wrong: it takes one value.
            port: {a: 1}                           | line 2: port is wrong: it takes one value.
            enable_prefix_caching: maybe           | line 2: enable_prefix_caching is wrong: it takes true or false, got 'maybe'.
            api-key: {a: sk-secret}                | line 2: api-key is wrong: it takes a list, got a mapping.
            api-key: [[sk-secret]]                 | line 2: api-key is wrong: it takes a list of single values.
            pipeline-parallel-size: 2              | line 2: --pipeline-parallel-size is refused: it can only be 1
            - port                                 | line 2: needed are lines such as 'port: 8000'.
            config: other.yaml                     | line 2: there is no flag for the key config
            exit-with-parent: true                 | line 2: there is no flag for the key exit-with-parent
            help: true                             | line 2: there is no flag for the key help
            {a: 1}: 1                              | line 2: a key must be the name of a flag.
            api-key: [sk-secret                    | is no YAML: expected ',' or ']'
            api-key: "sk-secret                    | is no YAML: found unexpected end of stream
            """)
    void wrongFileIsOneSentenceWithFileLineAndKeyButNoSecret(String yaml, String sentence) throws IOException {
        String config = file("# first line\n" + yaml + "\n").toString();
        assertThatThrownBy(() -> GivenFlags.of(Main.program(), List.of("serve", "--config", config), Map.of()))
                .isInstanceOf(ParameterException.class)
                .hasMessageStartingWith(config)
                .hasMessageContaining(sentence)
                .hasMessageNotContaining("sk-secret")
                .hasMessageNotContaining("\n");
    }

    @ParameterizedTest
    @CsvSource({"max-num-seqs: 1, max_num_seqs", "no-enable-prefix-caching: 1, enable-prefix-caching"})
    void sameKeyTwiceIsRefusedHoweverItIsWritten(String first, String second) throws IOException {
        String config = file(first + "\n" + second + ": 2\n").toString();
        assertThatThrownBy(() -> GivenFlags.of(Main.program(), List.of("serve", "--config", config), Map.of()))
                .hasMessage(config + ", line 2: the key " + second + " is there twice.");
    }

    @Test
    void emptyFileSaysNothing() throws IOException {
        file("# nothing\n");
        assertThat(serve(
                                Map.of(),
                                "serve",
                                "MODEL",
                                "--config",
                                folder.resolve("serve.yaml").toString())
                        .port)
                .isEqualTo(8000);
    }

    @Test
    void helpDoesNotLookAtVariablesOrFiles() {
        GivenFlags given = GivenFlags.of(
                Main.program(),
                List.of("serve", "--config", "nowhere.yaml", "--help"),
                Map.of("BATON_ENABLE_PREFIX_CACHING", "x"));
        assertThat(given.words()).containsExactly("serve", "--config", "nowhere.yaml", "--help");
    }

    @Test
    void benchHasAFileAndVariablesAsWell() throws IOException {
        file("num-prompts: 7\ngoodput: ['ttft:200', 'tpot:50']\nignore-eos: false\n");
        String config = folder.resolve("serve.yaml").toString();
        CommandLine program = Main.program();
        GivenFlags given =
                GivenFlags.of(program, List.of("bench", "serve", "--config", config), Map.of("BATON_SEED", "3"));
        BenchServeCommand bench = parsed(BenchServeCommand.class, given, program);
        assertThat(bench.numPrompts).isEqualTo(7);
        assertThat(bench.goodput).containsExactly("ttft:200", "tpot:50");
        assertThat(bench.ignoreEos).isFalse();
        assertThat(bench.seed).isEqualTo(3);
    }
}
