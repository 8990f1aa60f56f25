package dev.baton.http;

import static org.assertj.core.api.Assertions.assertThat;

import io.vertx.core.Context;
import io.vertx.core.Vertx;
import java.time.Duration;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

class DeadlineTest {
    private static final Duration SOON = Duration.ofMillis(60);
    private static final Duration LATE = Duration.ofSeconds(60);

    private final Vertx vertx = Vertx.vertx();
    private final Context loop = vertx.getOrCreateContext();
    private final LinkedBlockingQueue<Long> over = new LinkedBlockingQueue<>();
    private final Deadline deadline = new Deadline(vertx, () -> over.add(System.nanoTime()));

    @AfterEach
    void closes() {
        vertx.close().await();
    }

    @Test
    void isOverOnceAndNotBeforeItsTime() throws Exception {
        long start = System.nanoTime();
        onLoop(d -> d.set(SOON));
        assertThat(over.poll(10, TimeUnit.SECONDS) - start).isGreaterThanOrEqualTo(SOON.toNanos());
        assertThat(over.poll(200, TimeUnit.MILLISECONDS)).isNull();
    }

    @Test
    void movedDeadlineCountsFromTheLastMove() throws Exception {
        Duration time = Duration.ofSeconds(2); // a busy machine may keep a move from being made for long
        onLoop(d -> d.set(time));
        long moved = 0;
        for (int i = 0; i < 15; i++) {
            Thread.sleep(150);
            moved = System.nanoTime();
            onLoop(d -> d.set(time));
        }
        assertThat(over.poll(10, TimeUnit.SECONDS) - moved).isGreaterThanOrEqualTo(time.toNanos());
    }

    @Test
    void earlierDeadlineDoesNotWaitForTheTimerOfALaterOne() throws Exception {
        onLoop(d -> {
            d.set(LATE);
            d.set(SOON);
        });
        assertThat(over.poll(10, TimeUnit.SECONDS)).isNotNull();
    }

    @Test
    void suspendedDeadlineRunsAgainOnceItIsSet() throws Exception {
        onLoop(d -> {
            d.set(SOON);
            d.suspend();
        });
        assertThat(over.poll(300, TimeUnit.MILLISECONDS)).isNull();
        onLoop(d -> d.set(SOON));
        assertThat(over.poll(10, TimeUnit.SECONDS)).isNotNull();
    }

    @Test
    void closedDeadlineIsNeverOver() throws Exception {
        onLoop(d -> {
            d.set(SOON);
            d.close();
        });
        assertThat(over.poll(300, TimeUnit.MILLISECONDS)).isNull();
    }

    private void onLoop(Consumer<Deadline> action) throws Exception {
        CompletableFuture<Void> done = new CompletableFuture<>();
        loop.runOnContext(ignored -> {
            action.accept(deadline);
            done.complete(null);
        });
        done.get(10, TimeUnit.SECONDS);
    }
}
