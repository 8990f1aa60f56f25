package dev.baton.transfer.nixl;

import dev.baton.metrics.KvPostEvent;
import dev.baton.tensor.PagedKv;
import dev.baton.transfer.TransferException;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/// One load under way: which pieces are read next, and what to do with them when they are there.
///
/// From a Baton whole blocks are read to where they belong, and compared with the checksums that the prefiller
/// sends meanwhile; wrong ones are read a second time, once. From a vLLM engine its blocks are read into staging
/// memory, and the tokens that are missing here are converted from there.
///
/// Owned by the worker's thread, but for the fields that are final.
final class Load {
    /// Bytes that one read asks for, so that the thread sees to its other work in between.
    private static final long BYTES_PER_READ = 16 << 20;

    final String requestId;
    final NixlSource source;
    final int numTokens;
    private final int firstBlock;
    private final int[] blockIds; // those that are loaded
    private final int endToken;
    private final PagedKv pool;
    private final boolean checksum;
    private final long startNanos = System.nanoTime();

    private Optional<String> failure = Optional.empty();
    private boolean readFailed; // not only cancelled, or refused by what was read
    private @Nullable RemotePool remote;
    private String agentName = "";
    private NixlAgent.@Nullable Transfer read;
    private @Nullable MemorySegment staging;
    private long readSinceNanos;
    private int next; // block of this pool, or of the peer, that is read next
    private int reading; // blocks that are read now, from next on
    private int @Nullable [] sums;
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
            PagedKv pool,
            boolean checksum) {
        this.requestId = requestId;
        this.source = source;
        this.firstBlock = firstBlock;
        this.blockIds = blockIds;
        this.endToken = endToken;
        this.numTokens = endToken - firstBlock * pool.blockTokens();
        this.pool = pool;
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
        }
    }

    /// Whether checksums are to be asked for.
    boolean wantsSums() {
        return checksum && remote != null && remote.vllm().isEmpty();
    }

    /// What the prefiller says the blocks' checksums are; none if its lease has ended.
    void sums(int[] received) {
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
        } catch (TransferException e) {
            readFailed = true;
            fail("reading from %s failed: %s".formatted(source.peer(), e.getMessage()));
            return ended(stagings);
        }
    }

    private boolean advance(NixlAgent agent, RemotePool from, Stagings stagings, long timeoutNanos) {
        if (failure.isPresent()) {
            return ended(stagings);
        }
        NixlAgent.Transfer current = read;
        if (current == null) {
            if (next >= end(from)) {
                return complete(from) && ended(stagings);
            }
            post(agent, from, stagings);
            current = read;
            if (current == null) {
                return false;
            }
        }
        switch (current.status()) {
            case IN_PROGRESS -> {
                if (System.nanoTime() - readSinceNanos > timeoutNanos) {
                    readFailed = true;
                    fail("%s was silent for %d ms".formatted(source.peer(), timeoutNanos / 1_000_000));
                }
            }
            case FAILED -> {
                readFailed = true;
                fail("reading from %s failed".formatted(source.peer()));
            }
            case DONE -> {
                if (current.end()) {
                    read = null;
                    from.vllm().ifPresent(part -> convert(from.metadata(), part));
                    next += reading;
                    reading = 0;
                }
            }
        }
        return false;
    }

    /// Whether the last read failed, so that the prefiller is to be greeted anew.
    boolean lostPeer() {
        return readFailed;
    }

    /// Whether a read is under way.
    boolean isReading() {
        return read != null;
    }

    private boolean ended(Stagings stagings) {
        NixlAgent.Transfer current = read;
        if (current != null && !current.end()) {
            return false;
        }
        read = null;
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

    private void post(NixlAgent agent, RemotePool from, Stagings stagings) {
        Descriptors pieces = new Descriptors();
        if (from.vllm().isPresent()) {
            VllmBlock part = from.vllm().get();
            long bytes = part.bytes() * pool.layers();
            if (staging == null) {
                staging = stagings.take(agent).orElse(null);
            }
            if (staging == null) {
                return; // until another load is done with its own
            }
            long room = staging.byteSize() / bytes;
            if (room == 0) {
                fail("%s is too small: a block of %s takes %d bytes in each of %d parts"
                        .formatted(NixlOptions.STAGING_BYTES, source.peer(), bytes, Stagings.PIECES));
                return;
            }
            reading = (int) Math.min(room, end(from) - next);
            addParts(from.metadata(), part, staging, pieces);
        } else {
            reading = Math.clamp(BYTES_PER_READ / pool.blockBytes(), 1, end(from) - next);
            AgentMetadata.BatonPool there = from.metadata().baton().orElseThrow();
            for (int i = next; i < next + reading; i++) {
                pieces.add(
                        pool.segment().address() + pool.blockOffsetBytes(blockIds[i - firstBlock]),
                        there.base() + source.poolBlockIds().get(i) * there.blockBytes(),
                        there.blockBytes());
            }
        }
        readSinceNanos = System.nanoTime();
        numBytes += pieces.numBytes();
        numDescriptors += pieces.size();
        KvPostEvent event = new KvPostEvent();
        event.begin();
        long startNanos = System.nanoTime();
        read = agent.read(agentName, from.memory(), from.metadata().deviceId(), pieces);
        postNanos += System.nanoTime() - startNanos;
        event.end();
        if (event.shouldCommit()) {
            event.request = requestId;
            event.descriptors = pieces.size();
            event.bytes = pieces.numBytes();
            event.commit();
        }
    }

    /// Staging holds (block, layer, part).
    private void addParts(AgentMetadata peer, VllmBlock part, MemorySegment to, Descriptors pieces) {
        for (int i = 0; i < reading; i++) {
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

    private void convert(AgentMetadata peer, VllmBlock part) {
        MemorySegment from = staging;
        if (from == null) {
            return;
        }
        int firstToken = firstBlock * pool.blockTokens();
        for (int i = 0; i < reading; i++) {
            int partToken = (next + i) * part.blockTokens();
            int token = Math.max(firstToken, partToken);
            int end = Math.min(endToken, partToken + part.blockTokens());
            while (token < end) {
                int block = token / pool.blockTokens();
                int count = Math.min(end, (block + 1) * pool.blockTokens()) - token;
                for (int layer = 0; layer < peer.bases().length; layer++) {
                    part.read(
                            from,
                            ((long) i * pool.layers() + layer) * part.bytes(),
                            token - partToken,
                            count,
                            pool,
                            blockIds[block - firstBlock],
                            layer,
                            token % pool.blockTokens());
                }
                token += count;
            }
        }
    }

    /// Everything was read: whether it is right, as far as that can be known.
    private boolean complete(RemotePool from) {
        if (!checksum || from.vllm().isPresent()) {
            return true;
        }
        int[] expected = sums;
        if (expected == null) {
            return false; // still to come
        }
        BlockSum sum = new BlockSum(source.requestId());
        for (int i = 0; i < blockIds.length; i++) {
            if (sum.of(firstBlock + i, pool.block(blockIds[i])) != expected[i]) {
                wrongSums++;
                if (repeated) {
                    fail("block %d from %s has a wrong checksum, twice".formatted(firstBlock + i, source.peer()));
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
