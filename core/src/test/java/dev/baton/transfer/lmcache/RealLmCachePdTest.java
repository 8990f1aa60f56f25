package dev.baton.transfer.lmcache;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.baton.transfer.ScriptProcess;
import dev.baton.transfer.TransferException;
import dev.baton.transfer.tcp.KvThreads;
import dev.baton.wire.FreePorts;
import dev.baton.wire.ZmtpServer;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;
import java.util.zip.CRC32;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;

/// LMCache's own prefill and decode (`PDBackend`), run by the Python that `LMCACHE_PYTHON` names, as the other
/// side, over a real NIXL library.
@ExtendWith(KvThreads.class)
@Timeout(300)
class RealLmCachePdTest {
    private static final int LAYERS = 2;
    private static final int WIDTH = 16; // two heads of eight
    private static final int CHUNK_TOKENS = 32;
    private static final int CHUNK_BYTES = 2 * LAYERS * CHUNK_TOKENS * WIDTH * Float.BYTES;
    private static final Duration PATIENCE = Duration.ofSeconds(30);

    /// Commands on stdin, one line of answer each: `sum KEY`, `send SEED INIT ALLOC ID LAST KEY...`.
    private static final String SCRIPT = """
            import sys, types, zlib, torch
            from lmcache.utils import CacheEngineKey
            from lmcache.v1.config import LMCacheEngineConfig
            from lmcache.v1.memory_management import MemoryFormat
            from lmcache.v1.metadata import LMCacheMetadata
            from lmcache.v1.storage_backend.pd_backend import PDBackend
            role, init, alloc, proxy = sys.argv[1], *map(int, sys.argv[2:5])
            layers, tokens, width = 2, 32, 16
            backend = PDBackend(
                LMCacheEngineConfig.from_defaults(
                    chunk_size=tokens, enable_pd=True, pd_role=role, pd_buffer_size=1 << 20, pd_buffer_device="cpu",
                    pd_peer_host="127.0.0.1", pd_peer_init_port=[init], pd_peer_alloc_port=[alloc],
                    pd_proxy_host="127.0.0.1", pd_proxy_port=proxy, transfer_channel="nixl", save_unfull_chunk=True),
                LMCacheMetadata("m", 1, 1, 0, 0, torch.float32, (layers, 2, tokens, 2, 8), chunk_size=tokens))
            def say(*words): print("=", *words, flush=True)
            def crc(chunk): return zlib.crc32(chunk.tensor.contiguous().view(torch.uint8).numpy().tobytes())
            say("up")
            for line in sys.stdin:
                words = line.split()
                if words[0] == "sum":
                    key = CacheEngineKey.from_string(words[1])
                    say(crc(backend.get_blocking(key)) if backend.contains(key) else "none")
                elif words[0] == "send":
                    seed, peer_init, peer_alloc, last = int(words[1]), int(words[2]), int(words[3]), int(words[5])
                    keys = [CacheEngineKey.from_string(key) for key in words[6:]]
                    chunks = []
                    for i in range(len(keys)):
                        shape = [2, layers, last if i == len(keys) - 1 else tokens, width]
                        chunk = backend.allocate(torch.Size(shape), torch.float32, MemoryFormat.KV_2LTD)
                        chunk.tensor.copy_(torch.rand(shape, generator=torch.Generator().manual_seed(seed + i)))
                        chunks.append(chunk)
                    sent = backend.batched_submit_put_task(keys, chunks, transfer_spec=types.SimpleNamespace(
                        req_id=words[4], receiver_host="127.0.0.1", receiver_init_port=[peer_init],
                        receiver_alloc_port=[peer_alloc], is_last_prefill=True))
                    sent[0].result(30)
                    say(*map(crc, chunks))
            """;

    private static final class LmCache extends ScriptProcess {
        LmCache(String role, int initPort, int allocPort, int proxyPort) throws IOException {
            super(builder(role, initPort, allocPort, proxyPort));
        }

        private static ProcessBuilder builder(String role, int initPort, int allocPort, int proxyPort) {
            ProcessBuilder builder = new ProcessBuilder(
                    System.getenv("LMCACHE_PYTHON"),
                    "-c",
                    SCRIPT,
                    role,
                    Integer.toString(initPort),
                    Integer.toString(allocPort),
                    Integer.toString(proxyPort));
            builder.environment().put("LMCACHE_TRACK_USAGE", "false");
            builder.environment().put("DO_NOT_TRACK", "1");
            return builder;
        }
    }

    private static void assumeLmCache() {
        Assumptions.assumeTrue(
                System.getenv("LMCACHE_PYTHON") != null, "LMCACHE_PYTHON names no Python that has LMCache and NIXL");
    }

    private static <T> T unlessNixlIsMissing(java.util.function.Supplier<T> start) {
        try {
            return start.get();
        } catch (TransferException e) {
            Assumptions.assumeFalse(
                    e.getMessage().contains("there is no libnixl_capi.so"),
                    "the python3 on the PATH has no nixl package, and NIXL_HOME names none");
            throw e;
        }
    }

    private static ChunkHead head(int tokens) {
        return new ChunkHead(2 * LAYERS * tokens * WIDTH * Float.BYTES, ChunkHead.KV_2LTD, 4, 2, LAYERS, tokens, WIDTH);
    }

    private static String key(int chunk) {
        return "m@1@0@%x@float".formatted(0xabc0 + chunk);
    }

    private static String sum(MemorySegment bytes) {
        CRC32 crc = new CRC32();
        crc.update(bytes.asByteBuffer());
        return Long.toString(crc.getValue());
    }

    @Test
    void chunksThatNobodyWillComeForAreGivenUpAndDamagedOnesAreNotUsed() throws Exception {
        PdOptions receiving =
                new PdOptions(false, 8 * CHUNK_BYTES, "127.0.0.1", 0, 0, Optional.empty(), 0, Optional.empty());
        PdOptions sending = new PdOptions(true, 0, "", 0, 0, Optional.empty(), 0, Optional.empty());
        try (PdReceiver receiver = unlessNixlIsMissing(() -> new PdReceiver(
                        receiving, System.getenv(), head(CHUNK_TOKENS), "float", Duration.ofSeconds(1)));
                PdSender sender = new PdSender(sending, System.getenv(), CHUNK_BYTES, "float", PATIENCE);
                Arena arena = Arena.ofConfined()) {
            PdSender.Spec spec = new PdSender.Spec("r", "127.0.0.1", receiver.initPort(), receiver.allocPort());
            MemorySegment chunk = arena.allocate(CHUNK_BYTES).fill((byte) 5);
            MemorySegment target = arena.allocate(CHUNK_BYTES);
            for (int i = 0; i < 8; i++) {
                sender.send(spec, key(i), head(CHUNK_TOKENS), chunk);
            }
            assertThat(receiver.numFree()).isZero();
            assertThatThrownBy(() -> sender.send(spec, key(8), head(CHUNK_TOKENS), chunk))
                    .isInstanceOf(IOException.class)
                    .hasMessageContaining("no page free");
            sender.send(spec, key(0), head(CHUNK_TOKENS), chunk); // for a second request
            sender.cancel(spec, List.of(key(0), key(1), key(2)));
            assertThat(receiver.numFree()).isEqualTo(2);
            assertThat(receiver.contains(key(0)))
                    .as("the other request still comes for it")
                    .isTrue();
            assertThatThrownBy(() -> receiver.get(key(3), head(CHUNK_TOKENS - 1), target))
                    .isInstanceOf(BadChunkException.class)
                    .hasMessageContaining("shape");
            receiver.damage();
            assertThatThrownBy(() -> receiver.get(key(4), head(CHUNK_TOKENS), target))
                    .isInstanceOf(BadChunkException.class)
                    .hasMessageContaining("checksum");
            assertThat(receiver.numFree()).isEqualTo(4);
        }
    }

    @Test
    void chunksOfAnotherElementTypeOrShapeGetNoPage() throws Exception {
        PdOptions receiving =
                new PdOptions(false, 8 * CHUNK_BYTES, "127.0.0.1", 0, 0, Optional.empty(), 0, Optional.empty());
        PdOptions sending = new PdOptions(true, 0, "", 0, 0, Optional.empty(), 0, Optional.empty());
        try (PdReceiver receiver = unlessNixlIsMissing(
                        () -> new PdReceiver(receiving, System.getenv(), head(CHUNK_TOKENS), "float", PATIENCE));
                PdSender half = new PdSender(sending, System.getenv(), CHUNK_BYTES, "bfloat16", PATIENCE);
                PdSender wide = new PdSender(sending, System.getenv(), 2 * CHUNK_BYTES, "float", PATIENCE);
                Arena arena = Arena.ofConfined()) {
            PdSender.Spec spec = new PdSender.Spec("r", "127.0.0.1", receiver.initPort(), receiver.allocPort());
            MemorySegment chunk = arena.allocate(2 * CHUNK_BYTES);
            assertThatThrownBy(() -> half.send(spec, key(0), head(CHUNK_TOKENS), chunk))
                    .hasMessageContaining("cannot use such chunks");
            assertThatThrownBy(() -> wide.send(spec, key(1), head(CHUNK_TOKENS + 1), chunk))
                    .hasMessageContaining("cannot use such chunks");
            assertThat(receiver.numFree()).isEqualTo(8);
            assertThat(receiver.contains(key(0))).isFalse();
        }
    }

    @Test
    void chunksOfLmCachesSenderArriveHere() throws Exception {
        assumeLmCache();
        LinkedBlockingQueue<String> announced = new LinkedBlockingQueue<>();
        PdOptions options = new PdOptions(false, 1 << 20, "127.0.0.1", 0, 0, Optional.empty(), 0, Optional.empty());
        try (ZmtpServer proxy = TestProxy.start(announced);
                PdReceiver receiver = unlessNixlIsMissing(
                        () -> new PdReceiver(options, System.getenv(), head(CHUNK_TOKENS), "float", PATIENCE));
                LmCache sender = new LmCache("sender", FreePorts.next(), FreePorts.next(), proxy.port());
                Arena arena = Arena.ofConfined()) {
            int free = receiver.numFree();
            MemorySegment target = arena.allocate(CHUNK_BYTES);
            for (int round = 0; round < 3; round++) {
                int first = 10 * round;
                List<String> keys = IntStream.range(first, first + 4)
                        .mapToObj(RealLmCachePdTest::key)
                        .toList();
                String[] sums = sender.ask("send %d %d %d r%d 7 %s"
                                .formatted(
                                        round,
                                        receiver.initPort(),
                                        receiver.allocPort(),
                                        round,
                                        String.join(" ", keys)))
                        .split(" ", -1);
                assertThat(announced.poll(30, TimeUnit.SECONDS)).isEqualTo("r" + round);
                assertThat(receiver.numFree()).isEqualTo(free - 4);
                for (int i = 0; i < 4; i++) {
                    ChunkHead head = head(i == 3 ? 7 : CHUNK_TOKENS);
                    assertThat(receiver.get(keys.get(i), head, target)).isTrue();
                    assertThat(sum(target.asSlice(0, head.lengthBytes()))).isEqualTo(sums[i]);
                    assertThat(receiver.get(keys.get(i), head, target)).isFalse();
                }
                assertThat(receiver.numFree()).isEqualTo(free);
            }
        }
    }

    @Test
    void lmCachesSenderTellsTheProxyAtOnceOfAReceiverThatCannotUseItsChunks() throws Exception {
        assumeLmCache();
        LinkedBlockingQueue<String> announced = new LinkedBlockingQueue<>();
        PdOptions options = new PdOptions(false, 1 << 20, "127.0.0.1", 0, 0, Optional.empty(), 0, Optional.empty());
        try (ZmtpServer proxy = TestProxy.start(announced);
                PdReceiver receiver = unlessNixlIsMissing(
                        () -> new PdReceiver(options, System.getenv(), head(CHUNK_TOKENS), "bfloat16", PATIENCE));
                LmCache sender = new LmCache("sender", FreePorts.next(), FreePorts.next(), proxy.port())) {
            int free = receiver.numFree();
            for (String id : List.of("r0", "r1")) {
                String _ = sender.ask("send 1 %d %d %s 7 %s %s"
                        .formatted(receiver.initPort(), receiver.allocPort(), id, key(0), key(1)));
                assertThat(announced.poll(30, TimeUnit.SECONDS)).isEqualTo(id);
                assertThat(receiver.contains(key(0))).isFalse();
                assertThat(receiver.numFree()).isEqualTo(free);
            }
        }
    }

    @Test
    void chunksOfOurSenderArriveAtLmCachesReceiver() throws Exception {
        assumeLmCache();
        PdOptions options = new PdOptions(true, 0, "", 0, 0, Optional.empty(), 0, Optional.empty());
        int initPort = FreePorts.next();
        int allocPort = FreePorts.next();
        try (PdSender sender = unlessNixlIsMissing(
                        () -> new PdSender(options, System.getenv(), CHUNK_BYTES, "float", PATIENCE));
                LmCache receiver = new LmCache("receiver", initPort, allocPort, FreePorts.next());
                Arena arena = Arena.ofConfined()) {
            MemorySegment chunk = arena.allocate(CHUNK_BYTES);
            Random random = new Random(1);
            PdSender.Spec spec = new PdSender.Spec("r", "127.0.0.1", initPort, allocPort);
            for (int i = 0; i < 6; i++) {
                ChunkHead head = head(i == 5 ? 9 : CHUNK_TOKENS);
                for (long at = 0; at < head.lengthBytes(); at += Float.BYTES) {
                    chunk.set(ValueLayout.JAVA_FLOAT, at, random.nextFloat());
                }
                sender.send(spec, key(i), head, chunk);
                assertThat(receiver.ask("sum " + key(i))).isEqualTo(sum(chunk.asSlice(0, head.lengthBytes())));
            }
            assertThat(receiver.ask("sum " + key(9))).isEqualTo("none");
            sender.send(spec, key(0), head(CHUNK_TOKENS), chunk); // it has that one already
            sender.cancel(spec, List.of(key(0))); // which it is not told, as it would not survive it
            assertThat(receiver.ask("sum " + key(0))).isNotEqualTo("none");
            sender.send(spec, key(7), head(CHUNK_TOKENS), chunk);
            assertThat(receiver.ask("sum " + key(7))).isEqualTo(sum(chunk));
        }
    }
}
