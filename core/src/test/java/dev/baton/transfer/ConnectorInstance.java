package dev.baton.transfer;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.tensor.PagedKv;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;

/// A pool, a connector over it and the events that it reported: an instance without an engine.
public abstract class ConnectorInstance implements AutoCloseable {
    public final PagedKv pool;
    public final LinkedBlockingQueue<KvEvent> events = new LinkedBlockingQueue<>();

    protected ConnectorInstance(PagedKv pool) {
        this.pool = pool;
    }

    /// The connector over the pool.
    protected abstract KvConnector connector();

    public KvConnector.SchedulerSide scheduler() {
        return connector().scheduler();
    }

    public KvConnector.WorkerSide worker() {
        return connector().worker();
    }

    /// Fills the pool with noise that differs everywhere.
    protected void fillWithNoise(long seed) {
        Random random = new Random(seed);
        MemorySegment segment = pool.segment();
        for (long offset = 0; offset < segment.byteSize(); offset += Integer.BYTES) {
            segment.set(ValueLayout.JAVA_INT, offset, random.nextInt());
        }
    }

    /// `count` different blocks of a pool of `of`, in random order.
    public static int[] someBlocks(Random random, int of, int count) {
        List<Integer> all = new ArrayList<>(IntStream.range(0, of).boxed().toList());
        Collections.shuffle(all, random);
        return all.subList(0, count).stream().mapToInt(Integer::intValue).toArray();
    }

    public byte[] block(int id) {
        return pool.block(id).toArray(ValueLayout.JAVA_BYTE);
    }

    /// Ends a request that has made no output.
    public KvHold finished(KvRequest request, int[] blockIds, int numComputedTokens, boolean completed) {
        return scheduler()
                .requestFinished(new KvFinished(
                        request, request.tokenIds(), request.numTokens(), blockIds, numComputedTokens, completed));
    }

    public KvEvent nextEvent() {
        return nextEvent(20_000);
    }

    public KvEvent nextEvent(long millis) {
        try {
            KvEvent event = events.poll(millis, TimeUnit.MILLISECONDS);
            assertThat(event).as("event within %d ms", millis).isNotNull();
            return event;
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    public String nextFailure(String requestId) {
        KvEvent event = nextEvent();
        assertThat(event).isInstanceOf(KvEvent.KvFailed.class);
        assertThat(event.requestId()).isEqualTo(requestId);
        return ((KvEvent.KvFailed) event).reason();
    }

    /// Closes without complaint about leases and loads that the test means to leave.
    public void closeAbruptly() {
        connector().close();
        pool.close();
    }

    /// Closes, and checks that nothing was left over.
    @Override
    public void close() {
        int leases = worker().numLeases();
        int loads = worker().numLoads();
        closeAbruptly();
        assertThat(leases).as("leases left").isZero();
        assertThat(loads).as("loads left").isZero();
        assertThat(events).as("events that no test expected").isEmpty();
    }
}
