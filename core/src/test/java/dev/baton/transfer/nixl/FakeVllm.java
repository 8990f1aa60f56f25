package dev.baton.transfer.nixl;

import dev.baton.tensor.PagedKv;
import dev.baton.transfer.KvLeases;
import dev.baton.wire.MsgPack;
import dev.baton.wire.Threads;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;

/// Memory, metadata and notifications as a vLLM prefiller with CPU attention has them, over the real NIXL library:
/// regions of `(blocks, kvHeads, blockTokens, 2 * headDim)` a layer.
final class FakeVllm implements AutoCloseable {
    static final int BLOCK_TOKENS = 32;
    static final int BLOCKS = 16;

    final Arena arena = Arena.ofShared();
    final MemorySegment memory; // (layers, blocks, part)
    final VllmBlock part;
    final List<String> notifications = new CopyOnWriteArrayList<>();
    final String engineId;
    final PagedKv shape;
    private final SideChannel channel;
    private final Thread thread;
    private volatile boolean closed;

    FakeVllm(String engineId, PagedKv shape, String hash) {
        this.engineId = engineId;
        this.shape = shape;
        part = VllmBlock.of(VllmBlock.Order.CPU_VECTOR, BLOCK_TOKENS, shape);
        memory = arena.allocate(shape.layers() * BLOCKS * part.bytes(), 64);
        CompletableFuture<byte[]> agent = new CompletableFuture<>();
        thread = Thread.ofPlatform().start(() -> run(agent));
        byte[] nixl = agent.join();
        long[] bases = new long[shape.layers()];
        long[] lengths = new long[shape.layers()];
        Arrays.setAll(bases, i -> memory.address() + i * BLOCKS * part.bytes());
        Arrays.fill(lengths, part.bytes());
        AgentMetadata metadata = new AgentMetadata(
                engineId,
                nixl,
                bases,
                0,
                BLOCKS,
                lengths,
                lengths,
                "LBHNC",
                BLOCK_TOKENS,
                "CPU_ATTN",
                1,
                Collections.nCopies(shape.layers(), "DRAM"),
                1,
                Optional.empty());
        Map<String, Object> payload = new LinkedHashMap<>();
        payload.put("compatibility_hash", hash);
        payload.put("agent_metadata_bytes", metadata.encode());
        KvLeases none = new KvLeases(Duration.ofSeconds(1), Duration.ofSeconds(1), System::nanoTime, _ -> {});
        channel = new SideChannel("127.0.0.1", 0, MsgPack.write(payload), new LocalPool(shape), none);
    }

    private void run(CompletableFuture<byte[]> metadata) {
        try (NixlAgent agent = new NixlAgent(NixlLibrary.load(NixlInstance.home()), engineId)) {
            agent.register(memory);
            metadata.complete(agent.metadata());
            while (!closed) {
                agent.notifications().forEach(it -> notifications.add(new String(it.message())));
                Thread.sleep(1);
            }
        } catch (InterruptedException | RuntimeException e) {
            metadata.completeExceptionally(e);
        }
    }

    /// What its answer would say.
    NixlSource source(String requestId, int numTokens, int... blocks) {
        List<Integer> ids = new ArrayList<>();
        Arrays.stream(blocks).forEach(ids::add);
        PeerAddress address = new PeerAddress(engineId, "127.0.0.1", channel.port());
        return new NixlSource(address, requestId, ids, List.of(), 1, OptionalInt.of(numTokens));
    }

    @Override
    public void close() {
        closed = true;
        channel.close();
        Threads.awaitEnd(thread);
        arena.close();
    }
}
