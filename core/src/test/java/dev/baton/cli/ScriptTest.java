package dev.baton.cli;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.launch.JavaCommand;
import dev.baton.launch.Role;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// The script `baton`, which does not start a JVM here: it only prints what it would start.
class ScriptTest {
    private static final Path SCRIPT = Baton.repository().resolve("baton");

    @TempDir
    Path folder;

    private record Outcome(int exitCode, List<String> lines) {}

    @ParameterizedTest
    @CsvSource({"serve, PREFILLER", "serve, DECODER", "router, ROUTER"})
    void roleStartedByHandGetsTheJvmFlagsThatUpGivesIt(String command, Role.Kind kind) throws Exception {
        assertThat(run(jar(), command).lines()).containsAll(JavaCommand.flags(kind));
    }

    /// A machine with a GPU may have a runtime without a compiler, which the script `baton` does not take.
    @Test
    void routerIsMeasuredOnGpusWithTheFlagsThatItHasOtherwise() throws Exception {
        String client = Files.readString(Baton.repository().resolve("scripts/gpu/bench_client.py"));
        int list = client.indexOf("ROUTER_FLAGS = [");
        assertThat(list).isPositive();
        List<String> flags = Pattern.compile("\"([^\"]*)\"")
                .matcher(client.substring(list, client.indexOf(']', list)))
                .results()
                .map(word -> word.group(1))
                .toList();
        assertThat(flags).containsExactlyInAnyOrderElementsOf(JavaCommand.flags(Role.Kind.ROUTER));
    }

    @Test
    void userFlagsComeLastAndTheCommandLineIsPassedOnAsItIs() throws Exception {
        List<String> lines = run(jar(), "up", "--model", "a folder").lines();
        assertThat(lines).containsSubsequence("-Xmx256m", "-Xmx77m", "-jar", "up", "--model", "a folder");
        assertThat(lines).contains("-Dbaton.home=" + Baton.repository().toRealPath());
    }

    @Test
    void worksThroughALinkFromAnyFolder() throws Exception {
        Path link = Files.createSymbolicLink(folder.resolve("link"), SCRIPT);
        assertThat(run(jar(), link, "version").lines())
                .contains("-Dbaton.home=" + Baton.repository().toRealPath());
    }

    @Test
    void oldJdkIsPassedOverForANewerOne() throws Exception {
        Path old = jdk("old", "17.0.1");
        Path recent = jdk("new", "25.0.1");
        Map<String, String> environment = jar();
        environment.put("BATON_JAVA_HOME", old.toString());
        environment.put("JAVA_HOME", recent.toString());
        assertThat(run(environment, "version").lines())
                .startsWith(recent.resolve("bin/java").toString());
    }

    @Test
    void namedJdkWinsOverJavaHome() throws Exception {
        Path named = jdk("named", "26");
        Map<String, String> environment = jar();
        environment.put("BATON_JAVA_HOME", named.toString());
        environment.put("JAVA_HOME", jdk("other", "27-ea").toString());
        assertThat(run(environment, "version").lines())
                .startsWith(named.resolve("bin/java").toString());
    }

    @Test
    void jarThatIsNotThereIsOneSentence() throws Exception {
        Map<String, String> environment = jar();
        environment.put("BATON_JAR", folder.resolve("none.jar").toString());
        Outcome outcome = run(environment, "version");
        assertThat(outcome.exitCode()).isEqualTo(1);
        assertThat(outcome.lines()).singleElement().asString().contains("BATON_JAR");
    }

    private Map<String, String> jar() throws IOException {
        Path jar = folder.resolve("baton.jar");
        Files.writeString(jar, "");
        Map<String, String> environment = new java.util.HashMap<>();
        environment.put("BATON_JAR", jar.toString());
        environment.put("BATON_DRY_RUN", "1");
        environment.put("BATON_JAVA_OPTS", "-Xmx77m");
        environment.put("BATON_JAVA_HOME", System.getProperty("java.home"));
        return environment;
    }

    private Path jdk(String name, String version) throws IOException {
        Path home = folder.resolve(name);
        Files.createDirectories(home.resolve("bin"));
        for (String tool : List.of("java", "javac")) {
            Path file = Files.writeString(home.resolve("bin").resolve(tool), "#!/bin/sh\nexit 1\n");
            assertThat(file.toFile().setExecutable(true)).isTrue();
        }
        Files.writeString(home.resolve("release"), "IMPLEMENTOR=\"X\"\nJAVA_VERSION=\"" + version + "\"\nOS=\"Y\"\n");
        return home;
    }

    private Outcome run(Map<String, String> environment, String... arguments) throws Exception {
        return run(environment, SCRIPT, arguments);
    }

    private Outcome run(Map<String, String> environment, Path script, String... arguments) throws Exception {
        List<String> command = new ArrayList<>(List.of(script.toString()));
        command.addAll(List.of(arguments));
        ProcessBuilder builder =
                new ProcessBuilder(command).directory(folder.toFile()).redirectErrorStream(true);
        builder.environment().putAll(environment);
        Process process = builder.start();
        List<String> lines = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8)
                .lines()
                .toList();
        return new Outcome(process.waitFor(), lines);
    }
}
