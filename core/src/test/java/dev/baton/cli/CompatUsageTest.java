package dev.baton.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import dev.baton.cli.compat.CompatProxy;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import picocli.CommandLine;
import picocli.CommandLine.Model.OptionSpec;

/// What `baton router --compat` says, and that it runs as a process of its own.
@Timeout(120)
class CompatUsageTest {
    private final ByteArrayOutputStream text = new ByteArrayOutputStream();

    private int run(String... arguments) {
        PrintStream out = System.out;
        PrintStream err = System.err;
        try (PrintStream stream = new PrintStream(text, true, StandardCharsets.UTF_8)) {
            System.setOut(stream);
            System.setErr(stream);
            return Main.run(Map.of(), arguments);
        } finally {
            System.setOut(out);
            System.setErr(err);
        }
    }

    private String said() {
        return text.toString(StandardCharsets.UTF_8);
    }

    @ParameterizedTest
    @EnumSource(CompatProxy.Name.class)
    void helpShowsExactlyTheProxysFlags(CompatProxy.Name name) throws IOException {
        assertThat(run("router", "--compat", name.toString(), "--help")).isZero();
        assertThat(said()).startsWith("Usage: baton router --compat " + name).contains("Stands in for");
        for (OptionSpec option : new CommandLine(name.proxy()).getCommandSpec().options()) {
            assertThat(said()).contains(option.longestName());
        }
        assertThat(said()).doesNotContain("--backend");
        assertThat(Files.readString(Baton.repository().resolve("docs/compat.md")))
                .contains("--compat " + name);
        text.reset();
        assertThat(run("router", "--help")).isZero();
        assertThat(said().replaceAll("\\s+", " ")).contains(name.toString());
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', quoteCharacter = '`', textBlock = """
            --compat                                             | --compat needs a name: disagg_proxy_server,
            --compat --port 3                                    | --compat needs a name: disagg_proxy_server,
            --compat toy_proxy                                   | There is no proxy toy_proxy to stand in for; did you mean toy_proxy_server?
            --compat=toy_proxy_server --prefil-hosts a           | There is no flag --prefil-hosts; did you mean --prefiller-hosts?
            --compat toy_proxy_server --prefiller-hosts a --x b  | There is no flag --x
            --compat toy_proxy_server --backend nixl             | There is no flag --backend
            --compat toy_proxy_server --port eight               | Invalid value for option '--port': 'eight' is not an int
            --compat toy_proxy_server --prefiller-hosts a b      | there are 2 prefiller hosts and 1 prefiller ports
            --compat disagg_proxy_p2p_nccl_xpyd --port 1         | There is no flag --port
            --compat disagg_proxy_ppd --mode adaptive            | Invalid value for option '--mode': expected one of [PD, PPD] (case-insensitive) but was 'adaptive'
            --compat disagg_proxy_demo -p a:1 -d b:2             | Missing required option: '--model=NAME'
            --decoder a:1 --compat toy_proxy_server              | --compat has to be the first flag: baton router --compat toy_proxy_server
            """)
    void wrongUsageIsOneSentenceThatNamesTheNearestFlag(String line, String sentence) {
        assertThat(run(("router " + line).split(" "))).as(said()).isEqualTo(Exit.USAGE);
        assertThat(said()).startsWith("baton: ").contains(sentence).hasLineCount(2);
    }

    @Test
    void aProxyIsReplacedInItsLaunchScriptByOneLine(@TempDir Path folder) throws Exception {
        try (Baton router = Baton.start(
                folder,
                ("router --compat toy_proxy_server --port 0 --prefiller-hosts localhost --prefiller-ports 1"
                                + " --decoder-hosts localhost --decoder-ports 2")
                        .split(" "))) {
            await().atMost(Duration.ofSeconds(60))
                    .until(() -> !router.isAlive() || router.output().contains("Router on http://127.0.0.1:"));
            assertThat(router.output())
                    .contains("Router on http://127.0.0.1:")
                    .contains("prefillers [localhost:1] and decoders [localhost:2]");
            router.signal("TERM");
            assertThat(router.awaitExit()).isZero();
        }
    }
}
