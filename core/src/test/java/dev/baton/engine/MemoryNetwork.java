package dev.baton.engine;

import dev.baton.tensor.PagedKv;
import dev.baton.transfer.KvConnector;
import dev.baton.transfer.KvConnectorFactory;
import dev.baton.transfer.KvEvent;
import dev.baton.transfer.KvFinished;
import dev.baton.transfer.KvHold;
import dev.baton.transfer.KvLoad;
import dev.baton.transfer.KvRequest;
import dev.baton.transfer.KvTransferParams;
import dev.baton.transfer.RemotePrefill;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;

/// Engines connected by memory: a connector that copies blocks from pool to pool on a thread of its own, late,
/// not at all, or only in part, as a seeded generator says. Keeps the contract of [KvConnector], leases
/// included.
final class MemoryNetwork implements AutoCloseable {
    private final ScheduledExecutorService thread = Executors.newSingleThreadScheduledExecutor();
    private final Map<String, Node> nodes = new HashMap<>(); // guarded by this
    private final Random random;
    private final double failureShare;
    private final int maxDelayMicros;
    private final long leaseMillis;
    /// While true, loads begin but do not end.
    volatile boolean stalled;
    /// While true, loads do not notice that they were cancelled.
    volatile boolean ignoreCancels;

    MemoryNetwork(long seed, double failureShare, int maxDelayMicros, long leaseMillis) {
        this.random = new Random(seed);
        this.failureShare = failureShare;
        this.maxDelayMicros = maxDelayMicros;
        this.leaseMillis = leaseMillis;
    }

    KvConnectorFactory factory() {
        return (config, spec, pool, compatibility, sink) -> {
            Node node = new Node(config.engineId(), pool, sink);
            synchronized (this) {
                nodes.put(config.engineId(), node);
            }
            return node;
        };
    }

    synchronized Node node(String engineId) {
        return nodes.get(engineId);
    }

    private synchronized int delayMicros() {
        return maxDelayMicros == 0 ? 0 : random.nextInt(maxDelayMicros);
    }

    private synchronized boolean fails() {
        return random.nextDouble() < failureShare;
    }

    private synchronized int below(int bound) {
        return random.nextInt(bound);
    }

    @Override
    public void close() {
        thread.shutdownNow();
    }

    private record Lease(int[] blockIds, int numTokens) {}

    private record Copy(
            Node node, String requestId, RemotePrefill source, int firstBlock, int[] localBlockIds, int numTokens)
            implements KvLoad {
        @Override
        public void start() {
            node.startLoad(this);
        }
    }

    /// One engine's connector.
    final class Node implements KvConnector, KvConnector.SchedulerSide, KvConnector.WorkerSide {
        private final String engineId;
        private final PagedKv pool;
        private final Consumer<KvEvent> sink;
        private final List<Copy> decided = new ArrayList<>(); // engine thread
        private final Set<String> told = new HashSet<>(); // engine thread; requests whose prefiller hears of their load
        private final Map<String, Lease> leases = new HashMap<>(); // guarded by this
        private final Map<String, Copy> loads = new HashMap<>(); // guarded by this
        private final List<String> cancelled = new ArrayList<>(); // guarded by this
        volatile int releases;
        volatile int emptyLoads;
        volatile int blocksLoaded;

        Node(String engineId, PagedKv pool, Consumer<KvEvent> sink) {
            this.engineId = engineId;
            this.pool = pool;
            this.sink = sink;
        }

        @Override
        public SchedulerSide scheduler() {
            return this;
        }

        @Override
        public WorkerSide worker() {
            return this;
        }

        @Override
        public String describe() {
            return "MemoryNetwork " + engineId;
        }

        @Override
        public void close() {
            try {
                thread.submit(() -> {
                            synchronized (this) {
                                loads.clear();
                                leases.clear();
                            }
                        })
                        .get();
            } catch (Exception e) {
                throw new IllegalStateException(e);
            }
        }

        @Override
        public int numNewMatchedTokens(KvRequest request, int numComputedTokens) {
            return request.params().doRemotePrefill() ? request.numTokens() - numComputedTokens : 0;
        }

        @Override
        public void updateStateAfterAlloc(
                KvRequest request, int[] blockIds, int numComputedTokens, int numExternalTokens) {
            if (!request.params().doRemotePrefill()) {
                return;
            }
            int first = numComputedTokens / pool.blockTokens();
            int[] targets = numExternalTokens == 0 ? new int[0] : Arrays.copyOfRange(blockIds, first, blockIds.length);
            decided.add(new Copy(
                    this, request.requestId(), RemotePrefill.of(request.params()), first, targets, numExternalTokens));
        }

        @Override
        public List<KvLoad> takeLoads() {
            List<KvLoad> taken = List.copyOf(decided);
            decided.clear();
            taken.forEach(load -> told.add(load.requestId()));
            return taken;
        }

        @Override
        public KvHold requestFinished(KvFinished finished) {
            KvTransferParams params = finished.request().params();
            String requestId = finished.request().requestId();
            int[] blockIds = finished.blockIds();
            int numComputedTokens = finished.numComputedTokens();
            if (params.doRemotePrefill() && !told.remove(requestId)) {
                decided.removeIf(load -> load.requestId().equals(requestId));
                release(params);
            }
            if (!finished.completed() || !params.doRemoteDecode()) {
                return new KvHold.FreeNow();
            }
            synchronized (this) {
                leases.put(requestId, new Lease(blockIds, numComputedTokens));
            }
            thread.schedule(
                    () -> endLease(requestId, new KvEvent.LeaseExpired(requestId)), leaseMillis, TimeUnit.MILLISECONDS);
            return new KvHold.UnderLease(new RemotePrefill(
                            engineId,
                            requestId,
                            Arrays.stream(blockIds).boxed().toList(),
                            "memory",
                            1,
                            1,
                            numComputedTokens)
                    .toParams());
        }

        /// What a connector says of a prompt that is pushed: its first token comes before its blocks.
        void firstToken(String requestId, int token) {
            sink.accept(new KvEvent.KvFirstToken(requestId, token));
        }

        private void startLoad(Copy load) {
            if (load.localBlockIds().length == 0) {
                emptyLoads++;
                release(load.source().toParams());
                return;
            }
            synchronized (this) {
                loads.put(load.requestId(), load);
            }
            thread.schedule(() -> carryOut(load), delayMicros(), TimeUnit.MICROSECONDS);
        }

        private void carryOut(Copy load) {
            boolean wanted;
            synchronized (this) {
                if (!loads.containsKey(load.requestId())) {
                    return;
                }
                wanted = ignoreCancels || !cancelled.contains(load.requestId());
            }
            if (stalled && wanted) {
                thread.schedule(() -> carryOut(load), 1, TimeUnit.MILLISECONDS);
                return;
            }
            Node source = node(load.source().engineId());
            Lease lease = source.lease(load.source().requestId());
            int count = load.localBlockIds().length;
            boolean fails = lease == null || !wanted || fails();
            int copied = fails ? below(count) : count;
            for (int i = 0; i < count; i++) {
                if (i < copied && lease != null) {
                    int from = lease.blockIds()[load.firstBlock() + i];
                    pool.block(load.localBlockIds()[i]).copyFrom(source.pool.block(from));
                    blocksLoaded++;
                } else if (i == copied) {
                    // A torn block: whoever reads it without computing it again gets another token.
                    pool.block(load.localBlockIds()[i]).fill((byte) 0x3f);
                }
            }
            source.endLease(
                    load.source().requestId(),
                    new KvEvent.LeaseReleased(load.source().requestId()));
            synchronized (this) {
                loads.remove(load.requestId());
                cancelled.remove(load.requestId());
            }
            sink.accept(
                    fails
                            ? new KvEvent.KvFailed(load.requestId(), "chance")
                            : new KvEvent.KvArrived(load.requestId(), load.numTokens(), count * pool.blockBytes()));
        }

        private synchronized Lease lease(String requestId) {
            return leases.get(requestId);
        }

        private void endLease(String requestId, KvEvent event) {
            Lease lease;
            synchronized (this) {
                lease = leases.remove(requestId);
            }
            if (lease != null) {
                // Nobody reads any more: what the blocks hold from here on is the engine's business.
                sink.accept(event);
            }
        }

        @Override
        public synchronized void cancelLoad(String requestId) {
            cancelled.add(requestId);
        }

        @Override
        public void release(KvTransferParams params) {
            if (!params.doRemotePrefill()) {
                return;
            }
            releases++;
            RemotePrefill source = RemotePrefill.of(params);
            Node owner = node(source.engineId());
            thread.execute(() -> owner.endLease(source.requestId(), new KvEvent.LeaseReleased(source.requestId())));
        }

        @Override
        public void dropLease(String requestId) {
            thread.execute(() -> endLease(requestId, new KvEvent.LeaseReleased(requestId)));
        }

        @Override
        public synchronized int numLeases() {
            return leases.size();
        }

        @Override
        public synchronized int numLoads() {
            return loads.size();
        }
    }
}
