package dev.baton.transfer.lmcache;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.baton.transfer.KvLoadFailurePolicy;
import dev.baton.transfer.KvRole;
import dev.baton.transfer.KvTransferConfig;
import dev.baton.transfer.TransferException;
import dev.baton.transfer.mooncakestore.MemoryObjects;
import dev.baton.transfer.tcp.KvThreads;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.Map;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// Values and errors of the tier in a Mooncake cluster; the cluster is one in this process, whose results are those
/// of Mooncake's client.
@ExtendWith(KvThreads.class)
class MooncakeTierTest {
    private static final String KEY = "/models/m@1@0@6cccce88f049006f@bfloat16";
    /// What LMCache 0.5.6 put under that key: two layers, two tokens, two numbers each, from 0 to 15.
    private static final byte[] RECORDED_HEAD =
            HexFormat.of().parseHex("20000000010000000300000002000000020000000200000002000000");

    private static final byte[] RECORDED_BYTES =
            HexFormat.of().parseHex("0000803f004040408040a040c040e04000411041204130414041504160417041");
    private static final ChunkHead HEAD = new ChunkHead(32, ChunkHead.KV_2LTD, 3, 2, 2, 2, 2);

    private final MemoryObjects objects = new MemoryObjects();

    /// A tier as a connector opens it.
    static MooncakeTier open(Map<String, Object> extra, KvRole role, long chunkBytes) {
        KvTransferConfig config =
                new KvTransferConfig(LmCacheConnector.NAME, role, "e", "127.0.0.1", 0, KvLoadFailurePolicy.FAIL, extra);
        LmCacheSettings settings = LmCacheSettings.read(extra, Map.of());
        return MooncakeTierOptions.of(settings, config, Duration.ofSeconds(60), Map.of())
                .orElseThrow()
                .open(role, chunkBytes);
    }

    private MooncakeTier tier(boolean hasHeads) {
        return new MooncakeTier(objects.values(HEAD.lengthBytes() + ChunkHead.BYTES), "h:1", hasHeads);
    }

    private static byte[] recorded(boolean hasHead) {
        ByteBuffer value = ByteBuffer.allocate((hasHead ? RECORDED_HEAD.length : 0) + RECORDED_BYTES.length);
        if (hasHead) {
            value.put(RECORDED_HEAD);
        }
        return value.put(RECORDED_BYTES).array();
    }

    private static MemorySegment memory(byte[] bytes) {
        return Arena.ofAuto().allocate(Math.max(64, bytes.length)).copyFrom(MemorySegment.ofArray(bytes));
    }

    @ParameterizedTest
    @ValueSource(booleans = {true, false})
    void valueIsTheOneThatLmCacheItselfHasPut(boolean hasHeads) throws IOException {
        try (MooncakeTier tier = tier(hasHeads)) {
            assertThat(tier.contains(KEY)).isFalse();
            assertThat(tier.get(KEY, HEAD, memory(new byte[32]))).isFalse();
            tier.put(KEY, HEAD, memory(RECORDED_BYTES));
            assertThat(objects.values).containsOnlyKeys(KEY).containsEntry(KEY, recorded(hasHeads));
            MemorySegment target = memory(new byte[32]);
            assertThat(tier.contains(KEY)).isTrue();
            assertThat(tier.get(KEY, HEAD, target)).isTrue();
            assertThat(target.asSlice(0, 32).toArray(ValueLayout.JAVA_BYTE)).isEqualTo(RECORDED_BYTES);
        }
    }

    @ParameterizedTest
    @ValueSource(booleans = {true, false})
    void valueOfAnotherLengthIsNotUsed(boolean hasHeads) throws IOException {
        try (MooncakeTier tier = tier(hasHeads)) {
            int right = recorded(hasHeads).length;
            for (int length = 0; length <= 3 * right; length++) {
                objects.values.put(KEY, Arrays.copyOf(recorded(hasHeads), length));
                if (length == right) {
                    assertThat(tier.get(KEY, HEAD, memory(new byte[32]))).isTrue();
                } else {
                    assertThatThrownBy(() -> tier.get(KEY, HEAD, memory(new byte[32])))
                            .isInstanceOf(BadChunkException.class)
                            .hasMessageContaining("save_chunk_meta");
                }
            }
            assertThat(objects.opened).hasValue(1);
        }
    }

    /// Each bit of the head counts, but half has two numbers.
    @Test
    void valueWithAnotherHeadIsNotUsed() throws IOException {
        try (MooncakeTier tier = tier(true)) {
            for (int bit = 0; bit < 8 * ChunkHead.BYTES; bit++) {
                byte[] value = recorded(true);
                value[bit / 8] ^= (byte) (1 << bit % 8);
                objects.values.put(KEY, value);
                assertThatThrownBy(() -> tier.get(KEY, HEAD, memory(new byte[32])))
                        .as("bit %d", bit)
                        .isInstanceOf(BadChunkException.class)
                        .hasMessageContaining("needed: 32 bytes");
            }
        }
    }

    @Test
    void errorsOfOneValueAreNotErrorsOfTheCluster() throws IOException {
        try (MooncakeTier tier = tier(true)) {
            objects.values.put(KEY, recorded(true));
            objects.result = -800;
            assertThatThrownBy(() -> tier.get(KEY, HEAD, memory(new byte[32])))
                    .isInstanceOf(BadChunkException.class)
                    .hasMessageContaining("Mooncake answers -800");
            objects.result = -200;
            assertThatThrownBy(() -> tier.put(KEY + 1, HEAD, memory(RECORDED_BYTES)))
                    .isInstanceOf(IOException.class)
                    .hasMessageContaining("no room");
            objects.result = 0;
            assertThat(tier.get(KEY, HEAD, memory(new byte[32]))).isTrue();
            assertThat(objects.opened).hasValue(1);
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"m@1@0@1@half@tag%a\tput", "m\n1\tput\tk", "m\u0000", ""})
    void keyThatWouldBeSeveralWordsForAHelperIsNotTaken(String key) throws IOException {
        try (MooncakeTier tier = tier(true)) {
            MemorySegment chunk = memory(RECORDED_BYTES);
            assertThatThrownBy(() -> tier.contains(key)).isInstanceOf(IllegalArgumentException.class);
            assertThatThrownBy(() -> tier.get(key, HEAD, chunk)).isInstanceOf(IllegalArgumentException.class);
            assertThatThrownBy(() -> tier.put(key, HEAD, chunk)).isInstanceOf(IllegalArgumentException.class);
            assertThat(objects.values).isEmpty();
        }
    }

    @Test
    void pythonWithoutMooncakeIsNamed(@TempDir Path home) throws IOException {
        Path python = Path.of("/usr/bin/python3");
        Assumptions.assumeTrue(Files.isExecutable(python), "there is no " + python);
        Files.createSymbolicLink(Files.createDirectory(home.resolve("bin")).resolve("python3"), python);
        Map<String, Object> extra =
                Map.of("lmcache.remote_url", "mooncakestore://127.0.0.1:1", "mooncake_home", home.toString());
        assertThatThrownBy(() -> open(extra, KvRole.KV_BOTH, 1024))
                .isInstanceOf(TransferException.class)
                .hasMessageContaining("has no mooncake package");
    }

    @Test
    void clusterThatIsGoneCostsNoWaitAndIsFoundAgain() throws IOException {
        objects.values.put(KEY, recorded(true));
        try (MooncakeTier tier = tier(true)) {
            assertThat(tier.contains(KEY)).isTrue();
            objects.result = -900;
            assertThatThrownBy(() -> tier.contains(KEY))
                    .isInstanceOf(IOException.class)
                    .hasMessageContaining("cannot be reached");
            assertThatThrownBy(() -> tier.get(KEY, HEAD, memory(new byte[32])))
                    .isInstanceOf(IOException.class)
                    .hasMessageMatching("it is left alone for 1 s.*|a new client is being opened");
            objects.result = 0;
            Awaitility.await().atMost(Duration.ofSeconds(30)).until(() -> {
                try {
                    return tier.get(KEY, HEAD, memory(new byte[32]));
                } catch (IOException e) {
                    assertThat(e).hasMessageMatching("it is left alone.*|a new client is being opened");
                    return false;
                }
            });
            assertThat(objects.opened).hasValue(2);
            assertThat(objects.closed).hasValue(1);
        }
        assertThat(objects.closed).hasValue(2);
    }
}
