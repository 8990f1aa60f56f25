package dev.baton.transfer.nixl;

import dev.baton.metrics.KvPostEvent;
import dev.baton.tensor.PagedKv;
import dev.baton.tensor.TensorException;
import dev.baton.transfer.TransferException;
import java.lang.foreign.MemorySegment;
import java.util.ArrayDeque;
import java.util.Arrays;
import java.util.Deque;
import java.util.Iterator;
import java.util.List;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/// One load under way: which pieces are read next, and what to do with them when they are there.
///
/// From a Baton whole blocks are read to where they belong, and compared with the checksums that the prefiller
/// sends meanwhile; wrong ones are read a second time, once. From a vLLM engine its blocks are read into staging
/// memory of the host, and the tokens that are missing here are converted from there.
///
/// Owned by the worker's thread, but for the fields that are final.
final class Load {
    /// One read under way: blocks of this pool, or of the peer, from `first` on.
    private record Read(NixlAgent.Transfer transfer, int first, int count, long sinceNanos) {}

    final String requestId;
    final NixlSource source;
    final int numTokens;
    private final int firstBlock;
    private final int[] blockIds; // those that are loaded
    private final int endToken;
    private final LocalPool local;
    private final PagedKv pool;
    private final boolean checksum;
    private final long startNanos = System.nanoTime();

    private Optional<String> failure = Optional.empty();
    private boolean readFailed; // not only cancelled, or refused by what was read
    private @Nullable RemotePool remote;
    private String agentName = "";
    private final Deque<Read> reads = new ArrayDeque<>(); // in order
    private @Nullable MemorySegment staging;
    private long failedNanos;
    private @Nullable Long lastReadNanos; // when a read was done
    private int next; // block of this pool, or of the peer, that is read next
    private long @Nullable [] sums;
    private boolean repeated;
    private int wrongSums;
    private long numBytes;
    private long numDescriptors;
    private long postNanos;

    /// @param firstBlock index in the request of the first block to load
    /// @param blockIds where the blocks from that one on go
    /// @param endToken tokens of the request that are there afterwards
    Load(
            String requestId,
            NixlSource source,
            int firstBlock,
            int[] blockIds,
            int endToken,
            LocalPool local,
            boolean checksum) {
        this.requestId = requestId;
        this.source = source;
        this.firstBlock = firstBlock;
        this.blockIds = blockIds;
        this.endToken = endToken;
        this.local = local;
        this.pool = local.kv();
        this.numTokens = endToken - firstBlock * pool.blockTokens();
        this.checksum = checksum;
    }

    /// Index in the request of the first block that is loaded.
    int firstBlock() {
        return firstBlock;
    }

    int numBlocks() {
        return blockIds.length;
    }

    long numBytes() {
        return numBytes;
    }

    long numDescriptors() {
        return numDescriptors;
    }

    /// Time to hand its reads to NIXL.
    long postNanos() {
        return postNanos;
    }

    long elapsedNanos() {
        return System.nanoTime() - startNanos;
    }

    Optional<String> failure() {
        return failure;
    }

    void fail(String reason) {
        if (failure.isEmpty()) {
            failure = Optional.of(reason);
            failedNanos = System.nanoTime();
        }
    }

    /// The checksums that are to be asked for, if so.
    Optional<BlockSums> wantedSums() {
        return checksum ? sumsOf(remote) : Optional.empty();
    }

    private Optional<BlockSums> sumsOf(@Nullable RemotePool from) {
        return Optional.ofNullable(from)
                .flatMap(it -> it.metadata().baton())
                .map(there -> local.isOnDevice() ? local.sums() : there.sums());
    }

    /// What the prefiller says the blocks' checksums are; none if its lease has ended.
    void sums(long[] received) {
        if (received.length == 0) {
            fail("its lease on %s has ended".formatted(source.peer()));
        }
        sums = received;
    }

    /// The prefiller's memory is known: reading may begin.
    void begin(RemotePool from, String agent) {
        remote = from;
        agentName = agent;
        Optional<VllmBlock> vllm = from.vllm();
        if (vllm.isPresent()) {
            beginVllm(from.metadata(), vllm.get());
        } else {
            next = firstBlock;
            int existing = from.metadata().baton().orElseThrow().numBlocks();
            checkIds(source.poolBlockIds(), firstBlock + blockIds.length, existing);
        }
    }

    private void beginVllm(AgentMetadata peer, VllmBlock part) {
        int perLogical = peer.blocksPerLogical();
        next = firstBlock * pool.blockTokens() / part.blockTokens();
        int logical = Math.ceilDiv(Math.ceilDiv(endToken, part.blockTokens()), perLogical);
        checkIds(source.blockIds(), logical, peer.numBlocks() / perLogical);
    }

    private void checkIds(List<Integer> ids, int needed, int existing) {
        if (ids.size() < needed) {
            fail("%s names %d blocks, needed are %d".formatted(source.peer(), ids.size(), needed));
        }
        for (int id : ids) {
            if (id >= existing) {
                fail("%s names block %d, but has only %d".formatted(source.peer(), id, existing));
                return;
            }
        }
    }

    /// Goes on as far as it can without waiting.
    ///
    /// @param stagings staging memory that is free, one piece a load; used for vLLM engines
    /// @param timeoutNanos how long a read may take
    /// @return whether the load has ended, and nothing writes for it any more
    boolean step(NixlAgent agent, Stagings stagings, long timeoutNanos) {
        if (remote == null) {
            return failure.isPresent();
        }
        try {
            return advance(agent, remote, stagings, timeoutNanos);
        } catch (TransferException | TensorException e) {
            readFailed = true;
            fail("reading from %s failed: %s".formatted(source.peer(), e.getMessage()));
            return ended(stagings, timeoutNanos);
        }
    }

    private boolean advance(NixlAgent agent, RemotePool from, Stagings stagings, long timeoutNanos) {
        int readsAtOnce = from.vllm().isPresent() ? 1 : local.readsAtOnce(); // there is one staging
        while (failure.isEmpty() && reads.size() < readsAtOnce && next < end(from)) {
            if (!post(agent, from, stagings)) {
                return false;
            }
        }
        if (failure.isPresent()) {
            return ended(stagings, timeoutNanos);
        }
        Read read = reads.peek();
        if (read == null) {
            return complete(from) && ended(stagings, timeoutNanos);
        }
        switch (read.transfer().status()) {
            case IN_PROGRESS -> {
                if (System.nanoTime() - headSinceNanos(read) > timeoutNanos) {
                    readFailed = true;
                    fail("%s was silent for %d ms".formatted(source.peer(), timeoutNanos / 1_000_000));
                }
            }
            case FAILED -> {
                readFailed = true;
                fail("reading from %s failed".formatted(source.peer()));
            }
            case DONE -> {
                if (read.transfer().end()) {
                    reads.remove();
                    lastReadNanos = System.nanoTime();
                    from.vllm().ifPresent(part -> convert(from.metadata(), part, read));
                    return reads.isEmpty() && next >= end(from) && complete(from) && ended(stagings, timeoutNanos);
                }
            }
        }
        return false;
    }

    /// Since when a read is the one that is waited for: those given to NIXL behind another one wait for that.
    private long headSinceNanos(Read read) {
        Long last = lastReadNanos;
        return last == null || last - read.sinceNanos() < 0 ? read.sinceNanos() : last;
    }

    /// Whether the last read failed, so that the prefiller is to be greeted anew.
    boolean lostPeer() {
        return readFailed;
    }

    /// Whether reads are under way or to be posted, rather than checksums to be waited for.
    boolean hasToRead() {
        RemotePool from = remote;
        return !reads.isEmpty() || (from != null && failure.isEmpty() && next < end(from));
    }

    private boolean ended(Stagings stagings, long timeoutNanos) {
        for (Iterator<Read> it = reads.iterator(); it.hasNext(); ) {
            NixlAgent.Transfer transfer = it.next().transfer();
            // NIXL gives up its request, but a GPU does not stop a copy for that.
            boolean mayWrite = local.isOnDevice()
                    && transfer.status() == NixlAgent.Status.IN_PROGRESS
                    && System.nanoTime() - failedNanos < timeoutNanos;
            if (mayWrite || !transfer.end()) {
                return false;
            }
            it.remove();
        }
        if (failure.isPresent()) {
            local.settle(); // of a read that has failed, parts may still be copied
        }
        MemorySegment used = staging;
        if (used != null) {
            stagings.giveBack(used);
            staging = null;
        }
        return true;
    }

    private int end(RemotePool from) {
        return from.vllm()
                .map(part -> Math.ceilDiv(endToken, part.blockTokens()))
                .orElse(firstBlock + blockIds.length);
    }

    /// @return false if that has to wait, or has failed
    private boolean post(NixlAgent agent, RemotePool from, Stagings stagings) {
        Descriptors pieces = new Descriptors();
        NixlAgent.Place here = new NixlAgent.Place(local.memory(), local.deviceId());
        int count;
        if (from.vllm().isPresent()) {
            VllmBlock part = from.vllm().get();
            long bytes = part.bytes() * pool.layers();
            if (staging == null) {
                staging = stagings.take(agent).orElse(null);
            }
            if (staging == null) {
                return false; // until another load is done with its own
            }
            long room = staging.byteSize() / bytes;
            if (room == 0) {
                fail("%s is too small: a block of %s takes %d bytes in each of %d parts"
                        .formatted(NixlOptions.STAGING_BYTES, source.peer(), bytes, Stagings.PIECES));
                return false;
            }
            count = (int) Math.min(room, end(from) - next);
            here = NixlAgent.Place.HOST;
            addParts(from.metadata(), part, staging, count, pieces);
        } else {
            count = Math.clamp(local.bytesPerRead() / pool.blockBytes(), 1, end(from) - next);
            AgentMetadata.BatonPool there = from.metadata().baton().orElseThrow();
            for (int i = next; i < next + count; i++) {
                pieces.append(
                        local.address() + pool.blockOffsetBytes(blockIds[i - firstBlock]),
                        there.base() + source.poolBlockIds().get(i) * there.blockBytes(),
                        there.blockBytes());
            }
        }
        numBytes += pieces.numBytes();
        numDescriptors += pieces.size();
        KvPostEvent event = new KvPostEvent();
        event.begin();
        long startNanos = System.nanoTime();
        reads.add(new Read(agent.read(agentName, here, from.place(), pieces), next, count, startNanos));
        next += count;
        postNanos += System.nanoTime() - startNanos;
        event.end();
        if (event.shouldCommit()) {
            event.request = requestId;
            event.descriptors = pieces.size();
            event.bytes = pieces.numBytes();
            event.commit();
        }
        return true;
    }

    /// Staging holds (block, layer, part).
    private void addParts(AgentMetadata peer, VllmBlock part, MemorySegment to, int count, Descriptors pieces) {
        for (int i = 0; i < count; i++) {
            long block = physical(peer, next + i);
            for (int layer = 0; layer < pool.layers(); layer++) {
                pieces.add(
                        to.address() + ((long) i * pool.layers() + layer) * part.bytes(),
                        peer.bases()[layer] + block * peer.strides()[layer],
                        part.bytes());
            }
        }
    }

    /// The peer's block of a region that holds block `index` of the request.
    private long physical(AgentMetadata peer, int index) {
        int perLogical = peer.blocksPerLogical();
        return (long) source.blockIds().get(index / perLogical) * perLogical + index % perLogical;
    }

    private void convert(AgentMetadata peer, VllmBlock part, Read read) {
        MemorySegment from = staging;
        if (from == null) {
            return;
        }
        int firstToken = firstBlock * pool.blockTokens();
        for (int i = 0; i < read.count(); i++) {
            int partToken = (read.first() + i) * part.blockTokens();
            long at = (long) i * pool.layers() * part.bytes();
            int token = Math.max(firstToken, partToken);
            int end = Math.min(endToken, partToken + part.blockTokens());
            while (token < end) {
                int block = token / pool.blockTokens();
                int count = Math.min(end, (block + 1) * pool.blockTokens()) - token;
                int begin = token;
                local.edit(blockIds[block - firstBlock], count == pool.blockTokens(), (to, id) -> {
                    for (int layer = 0; layer < peer.bases().length; layer++) {
                        part.read(
                                from,
                                at + layer * part.bytes(),
                                begin - partToken,
                                count,
                                pool,
                                to,
                                id,
                                layer,
                                begin % pool.blockTokens());
                    }
                });
                token += count;
            }
        }
    }

    /// Everything was read: whether it is right, as far as that can be known.
    private boolean complete(RemotePool from) {
        if (!checksum || from.vllm().isPresent()) {
            return true;
        }
        long[] expected = sums;
        if (expected == null) {
            return false; // still to come
        }
        BlockSums kind = sumsOf(from).orElseThrow();
        // On a GPU all at once; on the host one by one, until one is wrong.
        int step = local.isOnDevice() ? blockIds.length : 1;
        for (int at = 0; at < blockIds.length; at += step) {
            int[] some = Arrays.copyOfRange(blockIds, at, at + step);
            int wrong = Arrays.mismatch(
                    kind.of(local, source.requestId(), firstBlock + at, some),
                    Arrays.copyOfRange(expected, at, at + step));
            if (wrong >= 0) {
                wrongSums++;
                if (repeated) {
                    fail("block %d from %s has a wrong checksum, twice"
                            .formatted(firstBlock + at + wrong, source.peer()));
                    return true;
                }
                repeated = true;
                next = firstBlock;
                return false;
            }
        }
        return true;
    }

    /// Blocks that arrived with a wrong checksum.
    int wrongSums() {
        return wrongSums;
    }
}
