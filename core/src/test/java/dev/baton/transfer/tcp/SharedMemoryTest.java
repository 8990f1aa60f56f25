package dev.baton.transfer.tcp;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.baton.transfer.KvEvent;
import dev.baton.transfer.KvEvent.KvArrived;
import dev.baton.transfer.KvEvent.LeaseReleased;
import dev.baton.transfer.KvRole;
import dev.baton.transfer.RemotePrefill;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// Hand-offs between pools in host memory that the decoder reads from a mapping.
@ExtendWith(KvThreads.class)
@Timeout(60)
class SharedMemoryTest {
    private static final Path MAPS = Path.of("/proc/self/maps");
    private static final int BLOCK_TOKENS = 1024; // 512 KiB a block: two of them to a piece
    private static final int BLOCKS = 7;
    private static final int TOKENS = BLOCKS * BLOCK_TOKENS - 3;
    private static final int[] ALL = IntStream.range(0, BLOCKS).toArray();
    private static final int[] REVERSED =
            IntStream.range(0, BLOCKS).map(i -> BLOCKS - 1 - i).toArray();

    @BeforeAll
    static void needsMemoryFiles() {
        assumeTrue(Files.exists(MAPS), "memory files need Linux");
    }

    private static TestInstance prefiller(Map<String, Object> extra) {
        return TestInstance.sharing(KvRole.KV_PRODUCER, "p", BLOCK_TOKENS, BLOCKS, extra)
                .fill(1);
    }

    private static TestInstance decoder(Map<String, Object> extra) {
        return TestInstance.sharing(KvRole.KV_CONSUMER, "d", BLOCK_TOKENS, BLOCKS, extra)
                .fill(2);
    }

    /// Pools of others that this process has mapped now.
    private static long mapped() {
        try (Stream<String> lines = Files.lines(MAPS)) {
            return lines.filter(line -> line.contains("/memfd:baton-kv") && line.contains(" r--s "))
                    .count();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static void assertLoads(TestInstance prefiller, TestInstance decoder, String id) {
        decoder.load("d-" + id, prefiller.hold(id, ALL, TOKENS), REVERSED, 0);
        assertThat(decoder.nextEvent()).isEqualTo(new KvArrived("d-" + id, TOKENS, BLOCKS * decoder.pool.blockBytes()));
        assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased(id));
        for (int i = 0; i < BLOCKS; i++) {
            assertThat(decoder.pool.block(REVERSED[i]).mismatch(prefiller.pool.block(i)))
                    .isEqualTo(-1);
        }
    }

    @ParameterizedTest
    @CsvSource({"true, true, 1", "false, true, 0", "true, false, 0"})
    void decoderReadsThePrefillersMemoryWhereBothSidesAllowItAndAsksOverTcpElsewhere(
            boolean prefillerShares, boolean decoderShares, long expectedMappings) {
        try (TestInstance prefiller = prefiller(Map.of("kv_shared_memory", prefillerShares));
                TestInstance decoder = decoder(Map.of("kv_shared_memory", decoderShares))) {
            assertLoads(prefiller, decoder, "r1");
            decoder.fill(2);
            assertLoads(prefiller, decoder, "r2");
            assertThat(mapped()).isEqualTo(expectedMappings);
            assertThat(prefiller.connector.stats().bytesSent())
                    .isEqualTo(decoder.connector.stats().bytesTransferred())
                    .isEqualTo(2 * BLOCKS * decoder.pool.blockBytes());
        }
        assertThat(mapped()).as("pools of others left").isZero();
    }

    @Test
    void aPrefillerOfTheSameIdElsewhereIsReadFromItsOwnMemory() {
        try (TestInstance before = prefiller(Map.of());
                TestInstance after = prefiller(Map.of()).fill(3);
                TestInstance decoder = decoder(Map.of())) {
            assertLoads(before, decoder, "r1");
            assertLoads(after, decoder, "r2"); // the connection to the one before is still open
            assertThat(mapped()).isEqualTo(2);
            assertThat(decoder.connector.stats().numChecksumErrors()).isZero();
        }
        assertThat(mapped()).as("pools of others left").isZero();
    }

    @Test
    void poolThatIsNotInAMemoryFileIsReadOverTcp() {
        try (TestInstance prefiller = new TestInstance(KvRole.KV_PRODUCER, "p", 16, 4, TestInstance.PATIENT).fill(1);
                TestInstance decoder = new TestInstance(KvRole.KV_CONSUMER, "d", 16, 4, TestInstance.PATIENT)) {
            decoder.load("d", prefiller.hold("r", new int[] {0, 1}, 32), new int[] {2, 3}, 0);
            assertThat(decoder.nextEvent()).isInstanceOf(KvArrived.class);
            assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("r"));
            assertThat(decoder.block(3)).isEqualTo(prefiller.block(1));
            assertThat(mapped()).isZero();
        }
    }

    /// A prefiller whose frames pass through a proxy; the sums of each piece come to `hook`.
    private static RemotePrefill throughProxy(KvProxy proxy, RemotePrefill params, KvProxy.OnSums hook) {
        proxy.onSums(hook);
        return proxy.through(params);
    }

    private static KvProxy proxy(TestInstance prefiller, RemotePrefill params) throws IOException {
        return new KvProxy(prefiller.pool.blockBytes(), params, (_, _) -> {
            throw new IOException("a block over TCP");
        });
    }

    @Test
    void blocksGivenToOthersWhileTheDecoderCopiesFailTheLoad() throws Exception {
        try (TestInstance prefiller = prefiller(Map.of());
                TestInstance decoder = decoder(Map.of())) {
            RemotePrefill params = prefiller.hold("r", ALL, TOKENS);
            try (KvProxy proxy = proxy(prefiller, params)) {
                RemotePrefill through = throughProxy(proxy, params, _ -> {
                    prefiller.worker().dropLease("r");
                    await().until(() -> prefiller.worker().numLeases() == 0);
                    prefiller.fillWith(0); // another request has the blocks now
                });
                decoder.load("d", through, ALL, 0);
                assertThat(decoder.nextFailure("d")).contains("released");
                assertThat(decoder.connector.stats().numChecksumErrors()).isPositive();
                assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("r"));
            }
        }
    }

    /// It comes by another connection, where a load's own was busy for longer than the load.
    @Test
    void releaseThatComesBeforeTheWordThatTheCopyIsDoneCutsNoConnection() throws Exception {
        try (TestInstance prefiller = prefiller(Map.of());
                TestInstance decoder = decoder(Map.of());
                TestInstance other = decoder(Map.of())) {
            RemotePrefill params = prefiller.hold("r", ALL, TOKENS);
            AtomicInteger frames = new AtomicInteger();
            AtomicInteger others = new AtomicInteger();
            try (KvProxy proxy = proxy(prefiller, params)) {
                RemotePrefill through = throughProxy(proxy, params, _ -> {
                    if (frames.getAndIncrement() == 0) {
                        await().until(() -> {
                            other.load("o" + others.getAndIncrement(), params, ALL, 0);
                            return other.nextEvent() instanceof KvEvent.KvFailed;
                        });
                        assertThat(prefiller.worker().numLeases()).isEqualTo(1);
                    }
                });
                decoder.load("d", through, ALL, 0);
                assertThat(decoder.nextEvent())
                        .isEqualTo(new KvArrived("d", TOKENS, BLOCKS * decoder.pool.blockBytes()));
                assertThat(decoder.pool.segment().mismatch(prefiller.pool.segment()))
                        .isEqualTo(-1);
                assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("r"));
                assertThat(prefiller.connector.stats().bytesSent())
                        .isEqualTo(decoder.connector.stats().bytesTransferred()
                                + other.connector.stats().bytesTransferred());
            }
        }
    }

    @Test
    void byteChangedOnceUnderTheReaderIsHealedByCopyingTheBlockAgain() throws Exception {
        try (TestInstance prefiller = prefiller(Map.of());
                TestInstance decoder = decoder(Map.of())) {
            RemotePrefill params = prefiller.hold("r", ALL, TOKENS);
            AtomicInteger frames = new AtomicInteger();
            try (KvProxy proxy = proxy(prefiller, params)) {
                RemotePrefill through = throughProxy(proxy, params, frame -> {
                    if (frames.getAndIncrement() == 1) {
                        frame[frame.length - 5] ^= 1; // the sum of the last block of the second piece
                    }
                });
                decoder.load("d", through, ALL, 0);
                assertThat(decoder.nextEvent()).isInstanceOf(KvArrived.class);
                assertThat(decoder.pool.segment().mismatch(prefiller.pool.segment()))
                        .isEqualTo(-1);
                assertThat(decoder.connector.stats().numChecksumErrors()).isEqualTo(1);
                assertThat(frames).as("pieces, and the block once more").hasValue(5);
                assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("r"));
            }
        }
    }

    @Test
    void blocksThatChangeUnderEveryReadFailTheLoad() throws Exception {
        try (TestInstance prefiller = prefiller(Map.of());
                TestInstance decoder = decoder(Map.of())) {
            RemotePrefill params = prefiller.hold("r", ALL, TOKENS);
            AtomicInteger times = new AtomicInteger();
            try (KvProxy proxy = proxy(prefiller, params)) {
                RemotePrefill through = throughProxy(proxy, params, _ -> prefiller.fillWith(times.incrementAndGet()));
                decoder.load("d", through, ALL, 0);
                assertThat(decoder.nextFailure("d")).contains("checksum");
                assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("r"));
            }
        }
    }

    @Test
    void cancelledLoadWritesNothingMoreAndReleases() throws Exception {
        try (TestInstance prefiller = prefiller(Map.of());
                TestInstance decoder = decoder(Map.of())) {
            RemotePrefill params = prefiller.hold("r", ALL, TOKENS);
            try (KvProxy proxy = proxy(prefiller, params)) {
                RemotePrefill through = throughProxy(proxy, params, _ -> {
                    decoder.worker().cancelLoad("d");
                    await().until(() -> decoder.worker().numLoads() == 0);
                });
                decoder.load("d", through, ALL, 0);
                assertThat(decoder.nextFailure("d")).isEqualTo("cancelled");
                decoder.fillWith(0x5A); // before the sums reach it that it waited for
                assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("r"));
                assertThat(decoder.holdsOnly(0x5A)).isTrue();
            }
        }
    }

    @Test
    void prefillerKilledUnderTheReaderEndsTheLoadAndItsMemoryIsGivenBack() throws Exception {
        int[] all = IntStream.range(0, PrefillerMain.BLOCKS).toArray();
        try (PrefillerProcess prefiller = new PrefillerProcess(true);
                TestInstance decoder = TestInstance.sharing(
                        KvRole.KV_CONSUMER, "d", PrefillerMain.BLOCK_TOKENS, PrefillerMain.BLOCKS, Map.of());
                TestInstance reference = TestInstance.sharing(
                                KvRole.KV_CONSUMER, "x", PrefillerMain.BLOCK_TOKENS, PrefillerMain.BLOCKS, Map.of())
                        .fill(PrefillerMain.SEED)) {
            try (KvProxy proxy = new KvProxy(decoder.pool.blockBytes(), prefiller.params, (_, _) -> {
                throw new IOException("a block over TCP");
            })) {
                AtomicInteger kills = new AtomicInteger();
                RemotePrefill through = throughProxy(proxy, prefiller.params, _ -> {
                    kills.incrementAndGet(); // first: the other half's connection breaks with the process
                    prefiller.kill();
                });
                decoder.load("d", through, all, 0);
                KvEvent event = decoder.nextEvent();
                assertThat(kills).as("sums that came by").hasPositiveValue();
                // Its memory can be read all the same, as far as its sums have come: all of them, perhaps.
                if (event instanceof KvArrived) {
                    assertThat(decoder.pool.segment().mismatch(reference.pool.segment()))
                            .isEqualTo(-1);
                } else {
                    assertThat(event).isInstanceOf(KvEvent.KvFailed.class);
                }
            }
            await("mappings of a dead process").until(() -> mapped() == 0);
        }
    }

    @Test
    void blocksCrossFromOneProcessToAnother() throws Exception {
        int[] all = IntStream.range(0, PrefillerMain.BLOCKS).toArray();
        try (PrefillerProcess prefiller = new PrefillerProcess(true);
                TestInstance decoder = TestInstance.sharing(
                        KvRole.KV_CONSUMER, "d", PrefillerMain.BLOCK_TOKENS, PrefillerMain.BLOCKS, Map.of());
                TestInstance reference = TestInstance.sharing(
                                KvRole.KV_CONSUMER, "x", PrefillerMain.BLOCK_TOKENS, PrefillerMain.BLOCKS, Map.of())
                        .fill(PrefillerMain.SEED)) {
            decoder.load("d", prefiller.params, all, 0);
            assertThat(decoder.nextEvent()).isInstanceOf(KvArrived.class);
            assertThat(mapped()).isEqualTo(1);
            assertThat(decoder.pool.segment().mismatch(reference.pool.segment()))
                    .isEqualTo(-1);
        }
    }
}
