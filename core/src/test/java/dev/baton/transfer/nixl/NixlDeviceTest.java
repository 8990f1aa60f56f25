package dev.baton.transfer.nixl;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.baton.tensor.DType;
import dev.baton.tensor.PagedKv;
import dev.baton.transfer.KvEvent;
import dev.baton.transfer.KvRole;
import dev.baton.transfer.KvTransferParams;
import dev.baton.transfer.TransferException;
import dev.baton.transfer.tcp.FakeDevice;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.function.Function;
import java.util.stream.IntStream;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/// Hand-offs where pools are on devices, over the real NIXL library, where it is. The devices' memory is this
/// process's, so NIXL is told that it is main memory; all else is as with a GPU.
@Timeout(120)
class NixlDeviceTest {
    private static final int BLOCKS = 64;
    private static final int[] ALL = IntStream.range(0, BLOCKS).toArray();
    private static final int TOKENS = BLOCKS * NixlInstance.BLOCK_TOKENS - 5;
    private static final long SMALL_READS = 5 * blockBytes() / 2;

    @BeforeAll
    static void nixlIsThere() {
        NixlHome _ = NixlInstance.home();
    }

    private static long blockBytes() {
        return NixlInstance.spec(BLOCKS).blockBytes();
    }

    private static FakeDevice device(long seed) {
        FakeDevice device = new FakeDevice(NixlInstance.spec(BLOCKS), "h");
        Random random = new Random(seed);
        for (long i = 0; i < device.memory.byteSize(); i += Long.BYTES) {
            device.memory.set(ValueLayout.JAVA_LONG, i, random.nextLong());
        }
        return device;
    }

    private static NixlInstance on(FakeDevice device, KvRole role, long bytesPerRead, Map<String, Object> extra) {
        Function<PagedKv, LocalPool> locals = pool -> new LocalPool(pool, NixlAgent.DRAM, bytesPerRead);
        return new NixlInstance(role, role.name(), device.pool(), extra, Map.of("tokenizer", "t1"), locals);
    }

    private static KvTransferParams with(KvTransferParams params, String key, Object value) {
        Map<String, Object> fields = new HashMap<>(params.fields());
        fields.put(key, value);
        return new KvTransferParams(fields);
    }

    private static byte[] bytes(MemorySegment segment) {
        return segment.toArray(ValueLayout.JAVA_BYTE);
    }

    @Test
    void blocksGoFromDeviceToDeviceAndEachIsChecked() {
        FakeDevice from = device(1);
        FakeDevice to = device(2);
        int[] here = NixlInstance.someBlocks(new Random(3), BLOCKS, BLOCKS);
        try (NixlInstance prefiller = on(from, KvRole.KV_PRODUCER, SMALL_READS, Map.of());
                NixlInstance decoder = on(to, KvRole.KV_CONSUMER, SMALL_READS, Map.of())) {
            for (int computed : new int[] {0, 3 * NixlInstance.BLOCK_TOKENS}) {
                to.memory.fill((byte) 0);
                String id = "p" + computed;
                decoder.load(id, prefiller.hold(id, ALL, TOKENS), TOKENS, here, computed);
                int first = computed / NixlInstance.BLOCK_TOKENS;
                assertThat(decoder.nextEvent())
                        .isEqualTo(new KvEvent.KvArrived(id, TOKENS - computed, (BLOCKS - first) * blockBytes()));
                assertThat(prefiller.nextEvent()).isEqualTo(new KvEvent.LeaseReleased(id));
                for (int i = first; i < BLOCKS; i++) {
                    assertThat(bytes(to.block(here[i]))).as("block %d", i).isEqualTo(bytes(from.block(i)));
                }
            }
            assertThat(from.currents.get()).isPositive();
            assertThat(to.currents.get()).isPositive();
            assertThat(decoder.connector.stats().numChecksumErrors()).isZero();
        }
        assertThat(from.ways.get()).isZero();
        assertThat(to.ways.get()).isZero();
    }

    @Test
    void neighboursAreReadInOnePiece() {
        FakeDevice from = device(1);
        FakeDevice to = device(2);
        try (NixlInstance prefiller = on(from, KvRole.KV_PRODUCER, Long.MAX_VALUE, Map.of());
                NixlInstance decoder = on(to, KvRole.KV_CONSUMER, Long.MAX_VALUE, Map.of())) {
            int[] theirs = {1, 2, 3, 9, 8};
            int[] ours = {11, 12, 13, 14, 15};
            int tokens = 5 * NixlInstance.BLOCK_TOKENS;
            decoder.load("d", prefiller.hold("p", theirs, tokens), tokens, ours, 0);
            assertThat(decoder.nextEvent()).isEqualTo(new KvEvent.KvArrived("d", tokens, 5 * blockBytes()));
            assertThat(decoder.connector.stats().numDescriptors()).isEqualTo(3);
            for (int i = 0; i < 5; i++) {
                assertThat(bytes(to.block(ours[i]))).isEqualTo(bytes(from.block(theirs[i])));
            }
            assertThat(prefiller.nextEvent()).isEqualTo(new KvEvent.LeaseReleased("p"));
        }
    }

    @Test
    void aWrongBlockIsReadTwiceAndRefused() {
        FakeDevice from = device(1);
        FakeDevice to = device(2);
        try (NixlInstance prefiller = on(from, KvRole.KV_PRODUCER, SMALL_READS, Map.of());
                NixlInstance decoder = on(to, KvRole.KV_CONSUMER, SMALL_READS, Map.of())) {
            KvTransferParams params = prefiller.hold("p", new int[] {0, 1}, 32);
            decoder.load("d", with(params, "baton_block_ids", List.of(0, 6)), 32, new int[] {3, 4}, 0);
            assertThat(decoder.nextFailure("d")).contains("block 1", "wrong checksum, twice");
            assertThat(decoder.connector.stats().numChecksumErrors()).isEqualTo(2);
            assertThat(to.settled)
                    .as("its blocks are given away behind all copies")
                    .hasPositiveValue();
            assertThat(prefiller.nextEvent()).isEqualTo(new KvEvent.LeaseReleased("p"));
        }
    }

    @Test
    void aChecksumIsOfOnePlaceInOneLeaseAndTheSameOnBothSides() {
        FakeDevice device = device(1);
        try (LocalPool onDevice = new LocalPool(device.pool());
                PagedKv kv = new PagedKv(
                        BLOCKS,
                        NixlInstance.LAYERS,
                        NixlInstance.KV_HEADS,
                        NixlInstance.BLOCK_TOKENS,
                        NixlInstance.HEAD_DIM,
                        DType.F32);
                LocalPool onHost = new LocalPool(kv)) {
            kv.segment().copyFrom(device.memory);
            for (BlockSums kind : BlockSums.values()) {
                long[] sums = kind.of(onHost, "a#1", 4, new int[] {7, 8});
                assertThat(kind.decode(kind.encode(sums))).isEqualTo(sums);
                assertThat(kind.of(onHost, "a#1", 5, new int[] {8})).containsExactly(sums[1]);
                assertThat(kind.of(onHost, "a#1", 5, new int[] {7})[0]).isNotEqualTo(sums[0]);
                assertThat(kind.of(onHost, "a#2", 4, new int[] {7})[0]).isNotEqualTo(sums[0]);
            }
            assertThat(BlockSums.DEVICE.of(onDevice, "a#1", 4, ALL))
                    .isEqualTo(BlockSums.DEVICE.of(onHost, "a#1", 4, ALL));
        }
        device.pool().close();
    }

    @Test
    void aPoolInHostMemoryAndOneOnADeviceExchangeBlocksBothWays() {
        int[] here = NixlInstance.someBlocks(new Random(4), BLOCKS, BLOCKS);
        FakeDevice device = device(1);
        try (NixlInstance prefiller = on(device, KvRole.KV_PRODUCER, SMALL_READS, Map.of());
                NixlInstance decoder = NixlInstance.decoder(Map.of())) {
            decoder.load("d", prefiller.hold("p", ALL, TOKENS), TOKENS, here, 0);
            assertThat(decoder.nextEvent()).isEqualTo(new KvEvent.KvArrived("d", TOKENS, BLOCKS * blockBytes()));
            assertThat(prefiller.nextEvent()).isEqualTo(new KvEvent.LeaseReleased("p"));
            for (int i = 0; i < BLOCKS; i++) {
                assertThat(decoder.block(here[i])).isEqualTo(bytes(device.block(i)));
            }
        }
        FakeDevice other = device(2);
        try (NixlInstance prefiller = NixlInstance.prefiller(Map.of()).fill(5);
                NixlInstance decoder = on(other, KvRole.KV_CONSUMER, SMALL_READS, Map.of())) {
            decoder.load("d", prefiller.hold("p", ALL, TOKENS), TOKENS, here, 0);
            assertThat(decoder.nextEvent()).isEqualTo(new KvEvent.KvArrived("d", TOKENS, BLOCKS * blockBytes()));
            assertThat(prefiller.nextEvent()).isEqualTo(new KvEvent.LeaseReleased("p"));
            for (int i = 0; i < BLOCKS; i++) {
                assertThat(bytes(other.block(here[i]))).isEqualTo(prefiller.block(i));
            }
        }
    }

    /// The same tokens of a vLLM engine, into host memory and onto a device; the host's are compared with the
    /// engine's elsewhere.
    @Test
    void aVllmEnginesBlocksAreConvertedOnTheirWayToADevice() {
        Map<String, Object> extra = Map.of("vllm_cpu_isa", "vec", "enforce_handshake_compat", false);
        FakeDevice device = device(1);
        byte[] before = bytes(device.memory);
        int tokens = 3 * FakeVllm.BLOCK_TOKENS + 21;
        int[] here = {9, 3, 4, 22, 23, 1, 2, 40};
        int computed = 2 * NixlInstance.BLOCK_TOKENS;
        PagedKv shape =
                new PagedKv(1, NixlInstance.LAYERS, NixlInstance.KV_HEADS, 16, NixlInstance.HEAD_DIM, DType.F32);
        try (FakeVllm vllm = new FakeVllm("v1", shape, "another");
                NixlInstance onHost = NixlInstance.decoder(extra);
                NixlInstance onDevice = on(device, KvRole.KV_BOTH, SMALL_READS, extra)) {
            Random random = new Random(8);
            for (long at = 0; at < vllm.memory.byteSize(); at += Integer.BYTES) {
                vllm.memory.set(ValueLayout.JAVA_INT, at, random.nextInt());
            }
            onHost.pool.segment().copyFrom(MemorySegment.ofArray(before));
            for (NixlInstance decoder : List.of(onHost, onDevice)) {
                decoder.load("d", vllm.source("v", tokens, 5, 2, 7, 1).toParams(), tokens, here, computed);
                assertThat(decoder.nextEvent()).isInstanceOf(KvEvent.KvArrived.class);
            }
            assertThat(bytes(device.memory)).isNotEqualTo(before).isEqualTo(bytes(onHost.pool.segment()));
            assertThat(device.stagings.get()).isZero();
        }
        shape.close();
    }

    @Test
    void thatVllmEnginesCannotReadADeviceIsSaid() {
        FakeDevice device = device(1);
        assertThatThrownBy(() -> on(device, KvRole.KV_PRODUCER, SMALL_READS, Map.of("vllm_peers", true)))
                .isInstanceOf(TransferException.class)
                .hasMessageContaining("vllm_peers is true")
                .hasMessageContaining("leave it out");
        assertThat(device.ways.get()).isZero();
        device.pool().close();
    }
}
