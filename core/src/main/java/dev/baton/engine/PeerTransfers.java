package dev.baton.engine;

import dev.baton.metrics.Metrics;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.LongAdder;
import java.util.function.Function;

/// What the loads from each peer came to, whichever connector made them. Peers beyond a bound are counted as one.
/// Thread-safe.
final class PeerTransfers {
    private static final int MAX_PEERS = 256;
    private static final String OTHERS = "others";

    private final Map<String, Counts> peers = new ConcurrentHashMap<>();

    private static final class Counts {
        final LongAdder arrived = new LongAdder();
        final LongAdder failed = new LongAdder();
        final LongAdder bytes = new LongAdder();
        final LongAdder blocks = new LongAdder();
        final LongAdder micros = new LongAdder();
    }

    private Counts of(String peer) {
        Counts known = peers.get(peer);
        return known == null
                ? peers.computeIfAbsent(peers.size() < MAX_PEERS ? peer : OTHERS, _ -> new Counts())
                : known;
    }

    /// Notes a load that ended well.
    ///
    /// @param nanos from the decision to load to its end
    void arrived(String peer, long numBytes, long numBlocks, long nanos) {
        Counts counts = of(peer);
        counts.arrived.increment();
        counts.bytes.add(numBytes);
        counts.blocks.add(numBlocks);
        counts.micros.add(nanos / 1_000);
    }

    /// Notes a load that failed or was cancelled.
    void failed(String peer) {
        of(peer).failed.increment();
    }

    void addTo(Metrics metrics) {
        add(metrics, "transfers", "Loads that ended well", it -> it.arrived);
        add(metrics, "failed_transfers", "Loads that failed or were cancelled", it -> it.failed);
        add(metrics, "received_bytes", "Bytes of blocks received", it -> it.bytes);
        add(metrics, "received_blocks", "Blocks received", it -> it.blocks);
        add(metrics, "transfer_microseconds", "Time of the loads that ended well", it -> it.micros);
    }

    private void add(Metrics metrics, String name, String help, Function<Counts, LongAdder> value) {
        metrics.counter("baton:kv_peer_" + name, help + ", by peer.", "peer", () -> {
            Map<String, Long> rows = new HashMap<>();
            peers.forEach((peer, counts) -> rows.put(peer, value.apply(counts).sum()));
            return rows;
        });
    }
}
