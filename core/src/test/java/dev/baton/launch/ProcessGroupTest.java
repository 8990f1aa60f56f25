package dev.baton.launch;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.awaitility.Awaitility.await;

import dev.baton.wire.FreePorts;
import java.io.IOException;
import java.net.ConnectException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// Real processes: each is a JVM that runs [FakeRole].
class ProcessGroupTest {
    private static final Duration SOON = Duration.ofSeconds(30);
    private static final JavaCommand JAVA = JavaCommand.current(FakeRole.class);

    @TempDir
    Path logs;

    private final List<String> events = Collections.synchronizedList(new ArrayList<>());
    private final List<RoleStatus.Died> deaths = Collections.synchronizedList(new ArrayList<>());

    @Test
    void rolesBecomeReadyAndStopRouterFirstLeavingNoProcessBehind() throws Exception {
        List<Role> roles = List.of(
                role(Role.Kind.PREFILLER, "prefiller1", "fine"),
                role(Role.Kind.DECODER, "decoder1", "fine"),
                role(Role.Kind.ROUTER, "router", "fine"));
        try (ProcessGroup group = start(roles, Duration.ofSeconds(5))) {
            group.awaitReady(SOON);
            assertThat(events).contains("prefiller1 Ready", "decoder1 Ready", "router Ready");
            roles.forEach(role -> assertThat(isListening(role)).isTrue());
        }
        roles.forEach(role -> assertThat(isListening(role)).isFalse());
        assertThat(events.subList(events.size() - 3, events.size()))
                .containsExactly("router Stopped", "decoder1 Stopped", "prefiller1 Stopped");
        assertThat(liveChildren()).isEmpty();
        for (Role role : roles) {
            assertThat(logs.resolve(role.name() + ".log"))
                    .content()
                    .contains(ProcessGroup.EXIT_WITH_PARENT)
                    .contains("variable " + role.name() + "'s");
        }
    }

    @Test
    void roleThatDiesBeforeItIsReadyIsNamedWithTheEndOfItsLog() throws Exception {
        List<Role> roles =
                List.of(role(Role.Kind.PREFILLER, "prefiller1", "fine"), role(Role.Kind.DECODER, "decoder1", "dies"));
        try (ProcessGroup group = start(roles, Duration.ofSeconds(5))) {
            assertThatThrownBy(() -> group.awaitReady(SOON)).isInstanceOfSatisfying(LaunchException.class, e -> {
                assertThat(e).hasMessageContaining("decoder1 ended with exit code 3");
                assertThat(e.logTail())
                        .isEqualTo(IntStream.rangeClosed(26, 40)
                                .mapToObj(line -> "line " + line)
                                .toList());
            });
        }
        assertThat(liveChildren()).isEmpty();
    }

    @Test
    void roleThatIsNotReadyInTimeIsNamed() throws Exception {
        List<Role> roles = List.of(role(Role.Kind.DECODER, "decoder1", "never-ready"));
        try (ProcessGroup group = start(roles, Duration.ofSeconds(5))) {
            assertThatThrownBy(() -> group.awaitReady(Duration.ofMillis(300)))
                    .isInstanceOf(LaunchException.class)
                    .hasMessageContaining("decoder1")
                    .hasMessageContaining("decoder1.log");
        }
        assertThat(liveChildren()).isEmpty();
    }

    @Test
    void killedPrefillerIsReportedAndTheOthersGoOnUntilTheRouterDies() throws Exception {
        List<Role> roles =
                List.of(role(Role.Kind.PREFILLER, "prefiller1", "fine"), role(Role.Kind.ROUTER, "router", "fine"));
        try (ProcessGroup group = start(roles, Duration.ofSeconds(5))) {
            group.awaitReady(SOON);
            assertThat(group.hasDeaths()).isFalse();

            kill(roles.get(0));
            await().atMost(SOON).untilAsserted(() -> assertThat(deaths).hasSize(1));
            assertThat(deaths.getFirst().exitCode()).isEqualTo(128 + 9);
            assertThat(isListening(roles.get(1))).isTrue();
            assertThat(group.hasDeaths()).isTrue();

            kill(roles.get(1));
            group.awaitEnd();
            assertThat(events).contains("router Died");
        }
        assertThat(liveChildren()).isEmpty();
    }

    @Test
    void roleThatDoesNotStopIsKilledAfterTheDeadline() throws Exception {
        List<Role> roles = List.of(role(Role.Kind.DECODER, "decoder1", "stubborn"));
        long begin;
        try (ProcessGroup group = start(roles, Duration.ofMillis(500))) {
            group.awaitReady(SOON);
            begin = System.nanoTime();
        }
        assertThat(Duration.ofNanos(System.nanoTime() - begin)).isLessThan(Duration.ofSeconds(20));
        assertThat(events).endsWith("decoder1 Stopped");
        assertThat(liveChildren()).isEmpty();
    }

    @Test
    void killedLauncherLeavesNoRoleBehind() throws Exception {
        List<Role> roles = List.of(role(Role.Kind.DECODER, "role1", "fine"), role(Role.Kind.DECODER, "role2", "fine"));
        Process launcher = new ProcessBuilder(
                        JAVA.java().toString(),
                        "-cp",
                        System.getProperty("java.class.path"),
                        FakeLauncher.class.getName(),
                        logs.toString(),
                        Integer.toString(roles.get(0).port()),
                        Integer.toString(roles.get(1).port()))
                .redirectErrorStream(true)
                .start();
        try {
            assertThat(launcher.inputReader().readLine()).isEqualTo("ready");
            List<ProcessHandle> children = launcher.descendants().toList();
            assertThat(children).hasSize(2);
            launcher.destroyForcibly().waitFor();
            await().atMost(SOON).untilAsserted(() -> assertThat(children).noneMatch(ProcessHandle::isAlive));
        } finally {
            launcher.destroyForcibly();
        }
    }

    @Test
    void takenPortIsNamedWithItsRoleAndFlagAndNothingIsStarted() throws Exception {
        try (ServerSocket taken = new ServerSocket(0, 1, InetAddress.getByName("127.0.0.1"))) {
            Role free = role(Role.Kind.PREFILLER, "prefiller1", "fine");
            Role blocked = new Role(
                    Role.Kind.DECODER,
                    "decoder1",
                    "127.0.0.1",
                    taken.getLocalPort(),
                    "--decoder-port",
                    List.of(),
                    Map.of());
            assertThatThrownBy(() -> start(List.of(free, blocked), SOON))
                    .isInstanceOf(LaunchException.class)
                    .hasMessageContaining("Port " + taken.getLocalPort())
                    .hasMessageContaining("decoder1")
                    .hasMessageContaining("--decoder-port");
        }
        assertThat(events).isEmpty();
    }

    @Test
    void twoRolesOnOnePortAreRefused() {
        Role first = role(Role.Kind.PREFILLER, "prefiller1", "fine");
        Role second = new Role(
                Role.Kind.DECODER, "decoder1", "127.0.0.1", first.port(), "--decoder-port", List.of(), Map.of());
        assertThatThrownBy(() -> start(List.of(first, second), SOON))
                .isInstanceOf(LaunchException.class)
                .hasMessageContaining("prefiller1 and decoder1");
    }

    @Test
    void logFolderBelongsToOneGroupUntilItIsClosed() throws Exception {
        Role first = role(Role.Kind.DECODER, "decoder1", "fine");
        Role second = role(Role.Kind.DECODER, "decoder1", "fine");
        try (ProcessGroup group = start(List.of(first), Duration.ofSeconds(5))) {
            group.awaitReady(SOON);
            assertThat(isLockedForOtherProcesses()).isTrue();
            assertThatThrownBy(() -> start(List.of(second), SOON))
                    .isInstanceOf(LaunchException.class)
                    .hasMessageContaining(logs.toString())
                    .hasMessageContaining("--log-dir");
            assertThat(isListening(second)).isFalse();
        }
        LogDirectory.hold(logs).close();
    }

    /// Within one JVM the JDK keeps a table of its own, so that only another process sees the system's lock.
    private boolean isLockedForOtherProcesses() throws Exception {
        String program =
                "import java.nio.channels.*; import java.nio.file.*; class Try { public static void main(String[] a)"
                        + " throws Exception { FileChannel c = FileChannel.open(Path.of(a[0]), StandardOpenOption.WRITE);"
                        + " System.exit(c.tryLock() == null ? 7 : 0); } }";
        Path source = Files.writeString(logs.resolve("Try.java"), program);
        return new ProcessBuilder(
                                JAVA.java().toString(),
                                source.toString(),
                                logs.resolve(LogDirectory.LOCK_FILE).toString())
                        .start()
                        .waitFor()
                == 7;
    }

    @Test
    void logFolderThatCannotBeMadeIsNamed() throws Exception {
        Path file = Files.createFile(logs.resolve("file"));
        assertThatThrownBy(() -> ProcessGroup.start(
                        List.of(role(Role.Kind.DECODER, "decoder1", "fine")),
                        JAVA,
                        file.resolve("below"),
                        SOON,
                        this::onStatus))
                .isInstanceOf(LaunchException.class)
                .hasMessageContaining("--log-dir");
    }

    private ProcessGroup start(List<Role> roles, Duration stopDeadline) {
        return ProcessGroup.start(roles, JAVA, logs, stopDeadline, this::onStatus);
    }

    private void onStatus(Role role, RoleStatus status) {
        events.add(role.name() + " " + status.getClass().getSimpleName());
        if (status instanceof RoleStatus.Died died) {
            deaths.add(died);
        }
    }

    private static Role role(Role.Kind kind, String name, String behaviour) {
        int port = FreePorts.next();
        return new Role(
                kind,
                name,
                "127.0.0.1",
                port,
                "--port",
                List.of(Integer.toString(port), behaviour),
                Map.of("FAKE_ROLE", name + "'s"));
    }

    private static boolean isListening(Role role) {
        try (Socket socket = new Socket()) {
            socket.connect(new InetSocketAddress(role.host(), role.port()), 1_000);
            return true;
        } catch (ConnectException e) {
            return false;
        } catch (IOException e) {
            throw new AssertionError(e);
        }
    }

    private void kill(Role role) throws IOException {
        long pid = Files.readAllLines(logs.resolve(role.name() + ".log")).stream()
                .filter(line -> line.startsWith("pid "))
                .mapToLong(line -> Long.parseLong(line.substring("pid ".length())))
                .findFirst()
                .orElseThrow();
        ProcessHandle.of(pid).orElseThrow().destroyForcibly();
    }

    private static List<ProcessHandle> liveChildren() {
        return ProcessHandle.current().children().filter(ProcessHandle::isAlive).toList();
    }
}
