package dev.baton.transfer.lmcache;

import dev.baton.transfer.TransferException;
import dev.baton.transfer.nixl.NixlAgent;
import dev.baton.wire.Threads;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.locks.LockSupport;

/// A NIXL agent and the thread that owns it, which also makes NIXL's progress: what others write here arrives only
/// as it is looked after. Thread-safe.
final class PdAgent implements AutoCloseable {
    private static final long POLL_NANOS = Duration.ofMillis(5).toNanos();
    private static final long WRITE_POLL_NANOS = Duration.ofNanos(200_000).toNanos();
    private static final Duration START_LIMIT = Duration.ofSeconds(30);

    private final MemorySegment memory;
    private final LinkedBlockingQueue<Runnable> tasks = new LinkedBlockingQueue<>();
    private final Thread thread;
    private volatile boolean closed;

    /// What is done with the agent.
    @FunctionalInterface
    interface Use<T> {
        T with(NixlAgent agent) throws IOException;
    }

    /// Starts an agent over memory, which outlives it.
    ///
    /// @throws TransferException if there is no NIXL, or it cannot start
    PdAgent(Optional<Path> home, Map<String, String> environment, String name, MemorySegment memory) {
        this.memory = memory;
        CompletableFuture<Void> started = new CompletableFuture<>();
        this.thread = Thread.ofPlatform()
                .daemon()
                .name("baton-kv-pd-nixl")
                .unstarted(() -> run(home, environment, name, started));
        thread.start();
        try {
            started.get(START_LIMIT.toSeconds(), TimeUnit.SECONDS);
        } catch (ExecutionException e) {
            Threads.awaitEnd(thread);
            throw new TransferException(reason(e), e);
        } catch (TimeoutException e) {
            throw new TransferException("NIXL did not start within " + START_LIMIT, e);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new TransferException("interrupted", e);
        }
    }

    private void run(
            Optional<Path> home, Map<String, String> environment, String name, CompletableFuture<Void> started) {
        try (NixlAgent agent = NixlAgent.start(home, environment, name)) {
            agent.register(memory);
            current = Optional.of(agent);
            started.complete(null);
            while (!closed) {
                Runnable task = tasks.poll(POLL_NANOS, TimeUnit.NANOSECONDS);
                if (task != null) {
                    task.run();
                }
                List<NixlAgent.Notification> _ = agent.notifications(); // LMCache sends none
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        } catch (RuntimeException | Error e) {
            started.completeExceptionally(e);
        } finally {
            closed = true;
            for (Runnable task = tasks.poll(); task != null; task = tasks.poll()) {
                task.run(); // fails, as there is no agent any more
            }
        }
    }

    private static String reason(ExecutionException e) {
        Throwable cause = e.getCause();
        return String.valueOf(cause == null ? e.getMessage() : cause.getMessage());
    }

    private Optional<NixlAgent> current = Optional.empty(); // of the owning thread

    /// Has something done by the owning thread.
    ///
    /// @throws IOException if it failed, or was not done in time
    <T> T call(Use<T> use, Duration timeout) throws IOException {
        CompletableFuture<T> done = new CompletableFuture<>();
        tasks.add(() -> {
            try {
                if (closed || current.isEmpty()) {
                    throw new IOException("the connector was closed");
                }
                done.complete(use.with(current.get()));
            } catch (IOException | RuntimeException e) {
                done.completeExceptionally(e);
            }
        });
        if (closed && !thread.isAlive()) {
            throw new IOException("the connector was closed");
        }
        try {
            return done.get(timeout.toNanos(), TimeUnit.NANOSECONDS);
        } catch (ExecutionException e) {
            throw new IOException(reason(e), e);
        } catch (TimeoutException e) {
            throw new IOException("NIXL was busy for longer than " + timeout, e);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IOException("interrupted", e);
        }
    }

    /// Waits, on the owning thread, for the end of a write.
    ///
    /// @throws IOException if it fails or takes too long; nothing reads the memory any more then
    static void finish(NixlAgent.Transfer write, Duration timeout) throws IOException {
        long deadline = System.nanoTime() + timeout.toNanos();
        while (write.status() == NixlAgent.Status.IN_PROGRESS && System.nanoTime() - deadline < 0) {
            LockSupport.parkNanos(WRITE_POLL_NANOS);
        }
        NixlAgent.Status status = write.status();
        while (!write.end()) {
            LockSupport.parkNanos(WRITE_POLL_NANOS);
        }
        if (status != NixlAgent.Status.DONE) {
            throw new IOException(
                    status == NixlAgent.Status.FAILED
                            ? "NIXL could not write"
                            : "NIXL did not write within " + timeout);
        }
    }

    @Override
    public void close() {
        closed = true;
        Threads.awaitEnd(thread);
    }
}
