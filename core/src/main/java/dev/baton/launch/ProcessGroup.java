package dev.baton.launch;

import java.io.IOException;
import java.net.HttpURLConnection;
import java.net.Proxy;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;

/// The running processes of a deployment, one log file each.
///
/// A role's standard input is a pipe whose other end this process holds: when this process ends, however it
/// ends, the pipe closes, and a role that was given `--exit-with-parent` stops by itself. So nothing is left
/// behind even after `kill -9`. Roles do not see the terminal's Ctrl+C, so that they can be stopped in order.
///
/// Thread-safe.
public final class ProcessGroup implements AutoCloseable {
    /// Tells a role to stop when its standard input ends.
    public static final String EXIT_WITH_PARENT = "--exit-with-parent";

    private static final int LOG_TAIL_LINES = 15;
    private static final Duration PROBE_INTERVAL = Duration.ofMillis(100);
    private static final int PROBE_TIMEOUT_MILLIS = 2_000;

    /// Ctrl+C reaches every process of the terminal's group. A JVM leaves a SIGINT alone that was ignored at its
    /// start.
    private static final List<String> WITHOUT_CTRL_C = List.of("/bin/sh", "-c", "trap '' INT; exec \"$@\"", "sh");

    private final LogDirectory logs;
    private final RoleListener listener;
    private final Duration stopDeadline;
    private final List<Member> members = new ArrayList<>();
    private final ReentrantLock lock = new ReentrantLock();
    private final Condition changed = lock.newCondition();
    private boolean stopping; // guarded by lock

    private ProcessGroup(LogDirectory logs, RoleListener listener, Duration stopDeadline) {
        this.logs = logs;
        this.listener = listener;
        this.stopDeadline = stopDeadline;
    }

    /// Starts every role. Either all processes run afterwards, or none.
    ///
    /// @param logDirectory receives `NAME.log` of each role; made if it is not there; old files are replaced;
    ///     no other group may use it until this one is closed
    /// @param stopDeadline how long a role may take to stop before it is killed
    /// @throws LaunchException if a port or the log folder is taken, a log cannot be written or a process
    ///     cannot be started
    public static ProcessGroup start(
            List<Role> roles, JavaCommand java, Path logDirectory, Duration stopDeadline, RoleListener listener) {
        Ports.check(roles);
        ProcessGroup group = new ProcessGroup(LogDirectory.hold(logDirectory), listener, stopDeadline);
        try {
            for (Role role : roles) {
                group.startMember(role, java);
            }
        } catch (RuntimeException e) {
            group.close();
            throw e;
        }
        return group;
    }

    private void startMember(Role role, JavaCommand java) {
        Path log = logs.logOf(role);
        List<String> command = new ArrayList<>(WITHOUT_CTRL_C);
        List<String> arguments = new ArrayList<>(role.arguments());
        arguments.add(EXIT_WITH_PARENT);
        command.addAll(java.commandLine(role.kind(), arguments));
        Process process;
        try {
            ProcessBuilder builder =
                    new ProcessBuilder(command).redirectErrorStream(true).redirectOutput(log.toFile());
            java.prepare(builder.environment());
            builder.environment().putAll(role.variables());
            process = builder.start();
        } catch (IOException e) {
            throw new LaunchException(
                    "%s cannot be started, with its log in %s: %s".formatted(role.name(), log, e.getMessage()), e);
        }
        Member member = new Member(role, process, log, System.nanoTime());
        members.add(member);
        report(member, new RoleStatus.Starting());
        member.end = process.onExit().thenAccept(ended -> onExit(member, ended.exitValue()));
    }

    /// Waits until every role says that it is ready.
    ///
    /// @throws LaunchException as soon as one dies, if one takes longer than `deadline`, or if the group is closed
    ///     meanwhile; the caller closes the group
    public void awaitReady(Duration deadline) throws InterruptedException {
        long end = System.nanoTime() + deadline.toNanos();
        for (Member member : members) {
            Thread.ofVirtual().name("ready-" + member.role.name()).start(() -> probe(member, end));
        }
        lock.lock();
        try {
            while (!areAllReady()) {
                long left = end - System.nanoTime();
                if (left <= 0) {
                    throw tooSlow(deadline);
                }
                changed.awaitNanos(left);
            }
        } finally {
            lock.unlock();
        }
    }

    private boolean areAllReady() {
        boolean ready = true;
        for (Member member : members) {
            switch (member.status) {
                case RoleStatus.Ready _ -> {}
                case RoleStatus.Starting _ -> ready = false;
                case RoleStatus.Died died ->
                    throw new LaunchException(
                            "%s ended with exit code %d before it was ready; its log is %s and ends so:"
                                    .formatted(member.role.name(), died.exitCode(), member.log),
                            died.logTail());
                case RoleStatus.Stopped _ -> throw new LaunchException("Stopped before every role was ready.");
            }
        }
        return ready;
    }

    private LaunchException tooSlow(Duration deadline) {
        List<String> slow = members.stream()
                .filter(member -> member.status instanceof RoleStatus.Starting)
                .map(member -> member.role.name() + " (log: " + member.log + ")")
                .toList();
        return new LaunchException(
                "Not ready within %d s: %s.".formatted(deadline.toSeconds(), String.join(", ", slow)));
    }

    /// Waits until the deployment is of no more use: the router is dead, or every role is, or the group is closed.
    public void awaitEnd() throws InterruptedException {
        lock.lock();
        try {
            while (isUseful()) {
                changed.await();
            }
        } finally {
            lock.unlock();
        }
    }

    private boolean isUseful() {
        return members.stream().anyMatch(Member::isRunning)
                && members.stream().allMatch(member -> member.isRunning() || member.role.kind() != Role.Kind.ROUTER);
    }

    /// Whether a role ended without being told to.
    public boolean hasDeaths() {
        lock.lock();
        try {
            return members.stream().anyMatch(member -> member.status instanceof RoleStatus.Died);
        } finally {
            lock.unlock();
        }
    }

    /// Stops every process, the router first, then the decoders, then the prefillers; kills what does not stop
    /// in time. Returns when no process is left. May be called again.
    @Override
    public void close() {
        lock.lock();
        try {
            stopping = true;
        } finally {
            lock.unlock();
        }
        Map<Role.Kind, List<Member>> byKind = new EnumMap<>(Role.Kind.class);
        for (Member member : members) {
            byKind.computeIfAbsent(member.role.kind(), _ -> new ArrayList<>()).add(member);
        }
        for (Role.Kind kind : List.of(Role.Kind.values()).reversed()) {
            stop(byKind.getOrDefault(kind, List.of()));
        }
        logs.close();
    }

    /// Kills every process at once.
    public void kill() {
        lock.lock();
        try {
            stopping = true;
        } finally {
            lock.unlock();
        }
        members.forEach(member -> member.process.destroyForcibly());
    }

    private void stop(List<Member> stage) {
        // By its handle: Process.destroy closes the role's standard input as well, which would look like our
        // own end.
        stage.forEach(member -> member.process.toHandle().destroy());
        long deadline = System.nanoTime() + stopDeadline.toNanos();
        boolean interrupted = false;
        for (Member member : stage) {
            try {
                if (interrupted || !member.process.waitFor(deadline - System.nanoTime(), TimeUnit.NANOSECONDS)) {
                    member.process.destroyForcibly();
                }
            } catch (InterruptedException e) {
                interrupted = true;
                member.process.destroyForcibly();
            }
            member.end.join();
        }
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
    }

    private void onExit(Member member, int exitCode) {
        boolean asked;
        lock.lock();
        try {
            asked = stopping;
        } finally {
            lock.unlock();
        }
        report(
                member,
                asked
                        ? new RoleStatus.Stopped()
                        : new RoleStatus.Died(exitCode, LogTail.last(member.log, LOG_TAIL_LINES)));
    }

    private void report(Member member, RoleStatus status) {
        lock.lock();
        try {
            if (!member.isRunning()) {
                return;
            }
            member.status = status;
            listener.onStatus(member.role, status);
            changed.signalAll();
        } finally {
            lock.unlock();
        }
    }

    private void probe(Member member, long end) {
        try {
            while (member.process.isAlive() && System.nanoTime() < end) {
                if (isReady(member.role)) {
                    report(member, new RoleStatus.Ready(Duration.ofNanos(System.nanoTime() - member.startedNanos)));
                    return;
                }
                Thread.sleep(PROBE_INTERVAL);
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    private static boolean isReady(Role role) {
        try {
            HttpURLConnection connection =
                    (HttpURLConnection) role.readyUri().toURL().openConnection(Proxy.NO_PROXY);
            connection.setConnectTimeout(PROBE_TIMEOUT_MILLIS);
            connection.setReadTimeout(PROBE_TIMEOUT_MILLIS);
            try {
                return connection.getResponseCode() == HttpURLConnection.HTTP_OK;
            } finally {
                connection.disconnect();
            }
        } catch (IOException e) {
            return false;
        }
    }

    /// A role's process; its status is guarded by the group's lock.
    private static final class Member {
        final Role role;
        final Process process;
        final Path log;
        final long startedNanos;
        RoleStatus status = new RoleStatus.Starting();

        /// Complete once the listener has heard of the end.
        CompletableFuture<Void> end = CompletableFuture.completedFuture(null);

        Member(Role role, Process process, Path log, long startedNanos) {
            this.role = role;
            this.process = process;
            this.log = log;
            this.startedNanos = startedNanos;
        }

        boolean isRunning() {
            return status instanceof RoleStatus.Starting || status instanceof RoleStatus.Ready;
        }
    }
}
