package dev.baton.wire;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.transfer.tcp.KvThreads;
import java.io.IOException;
import java.net.InetAddress;
import java.net.Socket;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;

/// Threads that go on after a failure, and ends that are waited for.
@ExtendWith(KvThreads.class)
@Timeout(value = 20, unit = TimeUnit.SECONDS)
class ThreadsTest {
    @Test
    void periodicTaskThatThrowsRunsAgain() throws InterruptedException {
        CountDownLatch runs = new CountDownLatch(3);
        try (ScheduledExecutorService timer = Executors.newSingleThreadScheduledExecutor()) {
            Runnable task = Threads.surviving("a task", () -> {
                runs.countDown();
                throw new IllegalStateException("planted");
            });
            ScheduledFuture<?> _ = timer.scheduleWithFixedDelay(task, 1, 1, TimeUnit.MILLISECONDS);
            assertThat(runs.await(10, TimeUnit.SECONDS)).isTrue();
            timer.shutdownNow();
        }
    }

    @Test
    void waitForAnEndOutlastsAnInterruptAndKeepsIt() {
        CountDownLatch go = new CountDownLatch(1);
        Thread other = Thread.ofPlatform().daemon().start(() -> {
            try {
                go.await();
            } catch (InterruptedException e) {
                throw new IllegalStateException(e);
            }
        });
        Thread.ofPlatform().daemon().start(() -> {
            try {
                Thread.sleep(100);
            } catch (InterruptedException e) {
                throw new IllegalStateException(e);
            }
            go.countDown();
        });
        Thread.currentThread().interrupt();
        Threads.awaitEnd(other);
        assertThat(other.isAlive()).isFalse();
        assertThat(Thread.interrupted()).isTrue();
    }

    private static void awaitQuietly(CountDownLatch latch) {
        try {
            boolean _ = latch.await(10, TimeUnit.SECONDS);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    /// Where they wait is bounded: who finds no room there tries again after a second.
    @Test
    void manyConnectionsAtATimeAllComeAboutAtOnce() throws IOException {
        CountDownLatch go = new CountDownLatch(1);
        List<Wire> wires = new ArrayList<>();
        try (WireServer server = WireServer.start("baton-kv-test", "127.0.0.1", 0, 1, _ -> {
            awaitQuietly(go);
            throw new IllegalStateException("planted");
        })) {
            for (int i = 0; i < 200; i++) {
                Wire wire = Wire.unconnected();
                wires.add(wire);
                wire.connect("127.0.0.1", server.port(), Duration.ofMillis(900));
            }
            go.countDown();
        } finally {
            go.countDown();
            wires.forEach(Wire::close);
        }
    }

    @Test
    void serverThatCannotServeAConnectionClosesItAndAcceptsTheNext() throws IOException {
        AtomicInteger accepted = new AtomicInteger();
        try (WireServer server = WireServer.start("baton-kv-test", "127.0.0.1", 0, 4, wire -> {
            accepted.incrementAndGet();
            throw new IllegalStateException("planted");
        })) {
            for (int i = 1; i <= 3; i++) {
                try (Socket socket = new Socket(InetAddress.getLoopbackAddress(), server.port())) {
                    socket.setSoTimeout(20_000);
                    assertThat(socket.getInputStream().read()).isEqualTo(-1);
                }
                assertThat(accepted).hasValue(i);
            }
        }
    }
}
