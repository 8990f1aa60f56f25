package dev.baton.transfer.lmcache;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.baton.transfer.KvRole;
import dev.baton.transfer.ScriptProcess;
import dev.baton.transfer.mooncakestore.MooncakeCluster;
import dev.baton.transfer.tcp.KvThreads;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.Random;
import java.util.stream.Stream;
import java.util.zip.CRC32;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// LMCache's own connector to a Mooncake store, run by the Python that `LMCACHE_PYTHON` names, as the other user of
/// a real Mooncake cluster.
@ExtendWith(KvThreads.class)
@Timeout(300)
class RealLmCacheMooncakeTest {
    private static final int CHUNK_TOKENS = 32;
    private static final String KEY = "/models/m@1@0@%x@float";

    /// Commands on stdin, one line of answer each: `put KEY SEED TOKENS`, `get KEY`, `has KEY`.
    private static final String SCRIPT = """
            import asyncio, sys, threading, zlib, torch
            from lmcache.utils import CacheEngineKey
            from lmcache.v1.config import LMCacheEngineConfig
            from lmcache.v1.memory_management import MemoryFormat
            from lmcache.v1.metadata import LMCacheMetadata
            from lmcache.v1.storage_backend.connector import CreateConnector
            from lmcache.v1.storage_backend.local_cpu_backend import LocalCPUBackend
            master, heads = sys.argv[1], sys.argv[2] == "true"
            layers, tokens, width = 2, 32, 16
            config = LMCacheEngineConfig.from_defaults(
                chunk_size=tokens, local_cpu=True, max_local_cpu_size=0.05, remote_serde="naive",
                remote_url="mooncakestore://" + master + "/",
                extra_config={"local_hostname": "127.0.0.1", "metadata_server": "P2PHANDSHAKE",
                              "mooncake_master_server_addr": master, "master_server_address": master,
                              "global_segment_size": 0, "local_buffer_size": 16 << 20, "transfer_timeout": 30,
                              "save_chunk_meta": heads})
            metadata = LMCacheMetadata("m", 1, 1, 0, 0, torch.float32, (layers, 2, tokens, 2, 8), chunk_size=tokens)
            local = LocalCPUBackend(config, metadata)
            loop = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, daemon=True).start()
            remote = CreateConnector(config.remote_url, loop, local, config, metadata)
            def wait(work): return asyncio.run_coroutine_threadsafe(work, loop).result(30)
            def say(*words): print("=", *words, flush=True)
            def crc(chunk): return zlib.crc32(bytes(chunk.byte_array))
            say("up")
            for line in sys.stdin:
                command, name, *words = line.split()
                key = CacheEngineKey.from_string(name)
                if command == "put":
                    shape = [2, layers, int(words[1]), width]
                    chunk = local.allocate(torch.Size(shape), torch.float32, MemoryFormat.KV_2LTD)
                    chunk.tensor.copy_(torch.rand(shape, generator=torch.Generator().manual_seed(int(words[0]))))
                    wait(remote.batched_put([key], [chunk]))
                    say(crc(chunk))
                elif command == "get":
                    chunk = wait(remote.batched_get([key]))[0]
                    say("none" if chunk is None else f"{crc(chunk)} {list(chunk.get_shape())}")
                elif command == "has":
                    say(int(wait(remote.exists(key))))
            """;

    private static final class LmCache extends ScriptProcess {
        LmCache(String master, boolean hasHeads) throws IOException {
            super(builder(master, hasHeads));
        }

        private static ProcessBuilder builder(String master, boolean hasHeads) throws IOException {
            ProcessBuilder builder = new ProcessBuilder(
                    System.getenv("LMCACHE_PYTHON"), "-c", SCRIPT, master, Boolean.toString(hasHeads));
            builder.environment().put("PYTHONPATH", mooncakePackages());
            builder.environment().put("LMCACHE_TRACK_USAGE", "false");
            builder.environment().put("DO_NOT_TRACK", "1");
            return builder;
        }

        /// Mooncake may be in an environment of its own.
        private static String mooncakePackages() throws IOException {
            Path home = MooncakeCluster.python().getParent().getParent();
            try (Stream<Path> versions = Files.list(home.resolve("lib"))) {
                return versions.map(version -> version.resolve("site-packages"))
                        .filter(Files::isDirectory)
                        .map(Path::toString)
                        .findFirst()
                        .orElseThrow();
            }
        }
    }

    private static ChunkHead head(int tokens) {
        return new ChunkHead(2 * 2 * tokens * 16 * Float.BYTES, ChunkHead.KV_2LTD, 4, 2, 2, tokens, 16);
    }

    private static String crc(MemorySegment chunk, ChunkHead head) {
        CRC32 crc = new CRC32();
        crc.update(chunk.asSlice(0, head.lengthBytes()).asByteBuffer());
        return Long.toString(crc.getValue());
    }

    private static MemorySegment noise(int seed, int bytes) {
        byte[] noise = new byte[bytes];
        new Random(seed).nextBytes(noise);
        return MemorySegment.ofArray(noise);
    }

    @ParameterizedTest
    @ValueSource(booleans = {true, false})
    void chunksOfEitherAreFoundByTheOtherBitForBit(boolean hasHeads) throws IOException {
        Assumptions.assumeTrue(
                System.getenv("LMCACHE_PYTHON") != null, "LMCACHE_PYTHON names no Python that has LMCache");
        int most = head(CHUNK_TOKENS).lengthBytes();
        try (MooncakeCluster cluster = new MooncakeCluster(64 << 20);
                LmCache other = new LmCache(cluster.master(), hasHeads)) {
            Map<String, Object> settings = cluster.lmCacheSettings(CHUNK_TOKENS, hasHeads);
            Map<String, Object> plain = cluster.lmCacheSettings(CHUNK_TOKENS, hasHeads);
            plain.put("mooncake_home", "/nonexistent");
            try (MooncakeTier tier = MooncakeTierTest.open(settings, KvRole.KV_BOTH, most);
                    MooncakeTier reader = MooncakeTierTest.open(plain, KvRole.KV_CONSUMER, most)) {
                MemorySegment target = Arena.ofAuto().allocate(most);
                for (int tokens : new int[] {CHUNK_TOKENS, 1, 5}) {
                    String key = KEY.formatted(0x6cccce88f049006fL + tokens);
                    assertThat(other.ask("has " + key)).isEqualTo("0");
                    assertThat(tier.contains(key)).isFalse();
                    String sent = other.ask("put %s 7 %d".formatted(key, tokens));
                    for (MooncakeTier each : new MooncakeTier[] {tier, reader}) {
                        assertThat(each.contains(key)).isTrue();
                        target.fill((byte) 0);
                        assertThat(each.get(key, head(tokens), target)).isTrue();
                        assertThat(crc(target, head(tokens))).isEqualTo(sent);
                        assertThatThrownBy(() -> each.get(key, head(tokens == 5 ? 4 : 5), target))
                                .isInstanceOf(BadChunkException.class);
                    }

                    String own = KEY.formatted(-0x1cccce88f049006fL - tokens);
                    assertThat(other.ask("get " + own)).isEqualTo("none");
                    MemorySegment chunk = noise(tokens, head(tokens).lengthBytes());
                    tier.put(own, head(tokens), chunk);
                    assertThat(other.ask("has " + own)).isEqualTo("1");
                    assertThat(other.ask("get " + own))
                            .isEqualTo("%s [2, 2, %d, 16]".formatted(crc(chunk, head(tokens)), tokens));
                }
            }
        }
    }
}
