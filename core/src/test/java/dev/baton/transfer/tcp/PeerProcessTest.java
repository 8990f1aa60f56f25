package dev.baton.transfer.tcp;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.baton.transfer.KvEvent.KvArrived;
import dev.baton.transfer.KvEvent.KvFailed;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;

/// A prefiller that dies or stops, in a process of its own.
@ExtendWith(KvThreads.class)
@Timeout(60)
class PeerProcessTest {
    private static final int[] ALL = IntStream.range(0, PrefillerMain.BLOCKS).toArray();
    private static final Duration QUICKLY = Duration.ofSeconds(8);

    private static TestInstance decoder(Map<String, Object> extra) {
        return TestInstance.decoder(PrefillerMain.BLOCK_TOKENS, PrefillerMain.BLOCKS, extra);
    }

    @Test
    void blocksCrossFromOneProcessToAnother() throws Exception {
        try (PrefillerProcess prefiller = new PrefillerProcess();
                TestInstance decoder = decoder(Map.of());
                TestInstance reference = decoder(Map.of()).fill(PrefillerMain.SEED)) {
            decoder.load("d", prefiller.params, ALL, 0);
            assertThat(decoder.nextEvent()).isInstanceOf(KvArrived.class);
            assertThat(decoder.pool.segment().mismatch(reference.pool.segment()))
                    .isEqualTo(-1);
        }
    }

    @Test
    void killedInTheMiddleOfATransferFailsTheLoadQuickly() throws Exception {
        try (PrefillerProcess prefiller = new PrefillerProcess();
                TestInstance decoder = decoder(Map.of())) {
            CountDownLatch begun = new CountDownLatch(3);
            try (KvProxy slow = new KvProxy(decoder.pool.blockBytes(), prefiller.params, (ordinal, block) -> {
                begun.countDown();
                Thread.sleep(100);
                return List.of(block);
            })) {
                decoder.load("d", slow.through(prefiller.params), ALL, 0);
                begun.await();
                prefiller.kill();
                long killed = System.nanoTime();
                assertThat(decoder.nextEvent()).isInstanceOf(KvFailed.class);
                assertThat(Duration.ofNanos(System.nanoTime() - killed)).isLessThan(QUICKLY);
                assertThat(slow.blocksPassed()).isLessThan(PrefillerMain.BLOCKS);
            }
        }
    }

    @Test
    void killedBeforeThePullFailsTheLoadQuickly() throws Exception {
        try (PrefillerProcess prefiller = new PrefillerProcess();
                TestInstance decoder = decoder(Map.of())) {
            prefiller.kill();
            long start = System.nanoTime();
            decoder.load("d", prefiller.params, ALL, 0);
            assertThat(decoder.nextFailure("d")).contains("refused");
            assertThat(Duration.ofNanos(System.nanoTime() - start)).isLessThan(QUICKLY);
        }
    }

    @Test
    void stoppedPrefillerIsNoticedAndItsLateBytesGoNowhere() throws Exception {
        assumeTrue(System.getProperty("os.name").equals("Linux"), "SIGSTOP needs Linux");
        try (PrefillerProcess prefiller = new PrefillerProcess();
                TestInstance decoder = decoder(Map.of("kv_peer_timeout", 0.5))) {
            prefiller.signal("STOP");
            long start = System.nanoTime();
            decoder.load("d", prefiller.params, ALL, 0);
            assertThat(decoder.nextFailure("d")).contains("no progress");
            assertThat(Duration.ofNanos(System.nanoTime() - start)).isLessThan(QUICKLY);
            decoder.fillWith(0x5A);
            prefiller.signal("CONT");
            Thread.sleep(500);
            assertThat(decoder.holdsOnly(0x5A)).isTrue();
        }
    }
}
