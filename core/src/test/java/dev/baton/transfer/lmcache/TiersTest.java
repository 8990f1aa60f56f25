package dev.baton.transfer.lmcache;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.baton.transfer.KvRole;
import dev.baton.transfer.TransferException;
import dev.baton.transfer.mooncakestore.MooncakeCluster;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/// What every tier must do, over real memory, files and servers; then what only some do.
@Timeout(value = 300, unit = TimeUnit.SECONDS)
class TiersTest {
    private static final Duration TIMEOUT = Duration.ofSeconds(10);
    private static final long MAX_BYTES = 4 << 20;
    private static final String KEY = key(0);

    private static String key(int number) {
        return "/models/m@1@0@%x@bfloat16".formatted(0x6cccce88f049006fL + number);
    }

    @TempDir
    Path folder;

    enum Kind {
        CPU,
        DISK,
        FS,
        LM,
        LM_OF_LMCACHE,
        REDIS,
        MOONCAKE
    }

    /// A tier and the server behind it, if it has one.
    private final class Opened implements AutoCloseable {
        final Tier tier;
        final Optional<AutoCloseable> server;

        Opened(Kind kind) throws IOException {
            switch (kind) {
                case CPU -> {
                    server = Optional.empty();
                    tier = new CpuTier(MAX_BYTES);
                }
                case DISK -> {
                    server = Optional.empty();
                    tier = new DiskTier(folder, MAX_BYTES);
                }
                case FS -> {
                    server = Optional.empty();
                    tier = new FsTier("fs://host:0" + folder);
                }
                case LM -> {
                    LmCacheServer lm = LmCacheServer.start("127.0.0.1", 0, MAX_BYTES, 4);
                    server = Optional.of(lm);
                    tier = new LmTier(new ServerAddress("127.0.0.1", lm.port(), Optional.empty(), ""), TIMEOUT);
                }
                case LM_OF_LMCACHE -> {
                    RealLmServer lm = new RealLmServer(folder);
                    server = Optional.of(lm);
                    tier = new LmTier(new ServerAddress("127.0.0.1", lm.port, Optional.empty(), ""), TIMEOUT);
                }
                case REDIS -> {
                    RedisServer redis = new RedisServer(folder, "--requirepass", "pw");
                    server = Optional.of(redis);
                    tier = new RedisTier(ServerAddress.parse("redis://:pw@127.0.0.1:" + redis.port + "/2", 1), TIMEOUT);
                }
                case MOONCAKE -> {
                    MooncakeCluster cluster = new MooncakeCluster(64 << 20);
                    server = Optional.of(cluster);
                    tier = MooncakeTierTest.open(cluster.lmCacheSettings(16, true), KvRole.KV_BOTH, MAX_BYTES);
                }
                default -> throw new IllegalStateException();
            }
        }

        @Override
        public void close() {
            tier.close();
            try {
                if (server.isPresent()) {
                    server.get().close();
                }
            } catch (Exception e) {
                throw new IllegalStateException(e);
            }
        }
    }

    private static ChunkHead head(int tokens) {
        return new ChunkHead(2 * 3 * tokens * 5 * 2, 1, 3, 2, 3, tokens, 5);
    }

    private static MemorySegment noise(int seed, int bytes) {
        byte[] noise = new byte[bytes];
        new Random(seed).nextBytes(noise);
        MemorySegment segment = Arena.ofAuto().allocate(Math.max(1, bytes));
        MemorySegment.copy(noise, 0, segment, ValueLayout.JAVA_BYTE, 0, bytes);
        return segment;
    }

    private static MemorySegment room() {
        return Arena.ofAuto().allocate(MAX_BYTES);
    }

    private static boolean equal(MemorySegment a, MemorySegment b, ChunkHead head) {
        return a.asSlice(0, head.lengthBytes()).mismatch(b.asSlice(0, head.lengthBytes())) == -1;
    }

    @ParameterizedTest
    @EnumSource(Kind.class)
    void whatIsPutIsGotBitForBitUnderItsKeyOnly(Kind kind) throws Exception {
        try (Opened opened = new Opened(kind)) {
            Tier tier = opened.tier;
            for (int tokens : new int[] {1, 2, 1023, 1024, 1025, 2184, 2185, 2186, 20_000}) {
                String key = key(tokens);
                ChunkHead head = head(tokens);
                MemorySegment chunk = noise(tokens, head.lengthBytes());
                MemorySegment target = room();
                assertThat(tier.contains(key)).isFalse();
                assertThat(tier.get(key, head, target)).isFalse();
                tier.put(key, head, chunk);
                assertThat(tier.get(key, head, target)).isTrue();
                assertThat(equal(chunk, target, head)).isTrue();
                assertThat(tier.contains(key)).isTrue();
                assertThat(tier.contains(KEY)).isFalse();
                MemorySegment other = noise(-tokens, head.lengthBytes());
                tier.put(key, head, other);
                tier.touch(List.of(KEY, key));
                assertThat(tier.get(key, head, target)).isTrue();
                // Mooncake keeps the first value of a key, which for a chunk is always the same.
                assertThat(equal(kind == Kind.MOONCAKE ? chunk : other, target, head))
                        .isTrue();
            }
        }
    }

    @ParameterizedTest
    @EnumSource(Kind.class)
    void chunkOfAnotherShapeIsNotUsed(Kind kind) throws Exception {
        try (Opened opened = new Opened(kind)) {
            for (ChunkHead stored : List.of(
                    head(7), // another length
                    new ChunkHead(480, 1, 3, 2, 3, 5, 8), // as long, but other heads
                    new ChunkHead(480, 2, 3, 2, 3, 8, 5), // another format
                    new ChunkHead(480, 1, 2, 2, 3, 8, 5))) { // another element type
                opened.tier.put(KEY, stored, noise(1, stored.lengthBytes()));
                assertThatThrownBy(() -> opened.tier.get(KEY, head(8), room())).isInstanceOf(BadChunkException.class);
                opened.tier.put(key(2), head(8), noise(2, 480)); // the tier goes on
                assertThat(opened.tier.get(key(2), head(8), room())).isTrue();
            }
        }
    }

    @Test
    void damageInMemoryIsFoundAndTheChunkForgotten() throws IOException {
        try (CpuTier tier = new CpuTier(MAX_BYTES)) {
            ChunkHead head = head(3000);
            Random random = new Random(1);
            for (int i = 0; i < 50; i++) {
                tier.put(KEY, head, noise(i, head.lengthBytes()));
                ChunkMemory.Chunk kept = tier.memory().acquire(KEY).orElseThrow();
                List<MemorySegment> pieces = tier.memory().pieces(kept);
                MemorySegment piece = pieces.get(random.nextInt(pieces.size()));
                long at = random.nextLong(piece.byteSize());
                byte flipped = (byte) (piece.get(ValueLayout.JAVA_BYTE, at) ^ 1 << random.nextInt(8));
                piece.set(ValueLayout.JAVA_BYTE, at, flipped);
                tier.memory().release(kept);
                assertThatThrownBy(() -> tier.get(KEY, head, room()))
                        .isInstanceOf(BadChunkException.class)
                        .hasMessageContaining("checksum");
                assertThat(tier.contains(KEY)).isFalse();
                assertThat(tier.memory().usedBytes()).isZero();
            }
        }
    }

    private Path onlyFile() throws IOException {
        try (Stream<Path> files = Files.list(folder)) {
            return files.toList().getFirst();
        }
    }

    @Test
    void damagedFileIsFoundAndDeleted() throws IOException {
        ChunkHead head = head(100);
        Random random = new Random(2);
        for (int i = 0; i < 300; i++) {
            try (DiskTier tier = new DiskTier(folder, MAX_BYTES)) {
                tier.put(KEY, head, noise(i, head.lengthBytes()));
                Path file = onlyFile();
                byte[] bytes = Files.readAllBytes(file);
                if (i % 3 == 0) {
                    Files.write(file, java.util.Arrays.copyOf(bytes, random.nextInt(bytes.length)));
                } else if (i % 3 == 1) {
                    bytes[random.nextInt(bytes.length)] ^= (byte) (1 << random.nextInt(8));
                    Files.write(file, bytes);
                } else {
                    random.nextBytes(bytes);
                    Files.write(file, bytes);
                }
                assertThatThrownBy(() -> tier.get(KEY, head, room())).isInstanceOf(BadChunkException.class);
                assertThat(tier.contains(KEY)).isFalse();
                assertThat(Files.exists(file)).isFalse();
                assertThat(tier.usedBytes()).isZero();
            }
        }
    }

    @Test
    void rightChunkUnderAnotherKeysNameIsFound() throws IOException {
        try (DiskTier tier = new DiskTier(folder, MAX_BYTES)) {
            ChunkHead head = head(10);
            tier.put(KEY, head, noise(1, head.lengthBytes()));
            tier.put(key(1), head, noise(2, head.lengthBytes()));
            Files.copy(
                    folder.resolve(DiskTier.fileName(KEY)),
                    folder.resolve(DiskTier.fileName(key(1))),
                    java.nio.file.StandardCopyOption.REPLACE_EXISTING);
            assertThatThrownBy(() -> tier.get(key(1), head, room())).isInstanceOf(BadChunkException.class);
            assertThat(tier.get(KEY, head, room())).isTrue();
        }
    }

    @Test
    void diskKeepsItsBoundForgetsTheOldestAndFindsTheRestAfterARestart() throws IOException {
        ChunkHead head = head(1000);
        long fileBytes = head.lengthBytes() + 8 + 4 + 28 + 4 + KEY.length();
        Path abandoned = Files.writeString(folder.resolve("x.kv.7-1.tmp"), "begun by a process that is gone");
        Files.setLastModifiedTime(abandoned, FileTime.fromMillis(1_000_000));
        Files.writeString(folder.resolve("notes.txt"), "not a chunk");
        try (DiskTier tier = new DiskTier(folder, 3 * fileBytes)) {
            for (int i = 0; i < 3; i++) {
                tier.put(key(i), head, noise(i, head.lengthBytes()));
                Files.setLastModifiedTime(
                        folder.resolve(DiskTier.fileName(key(i))), FileTime.fromMillis(1_000_000L * (i + 1)));
            }
            tier.touch(List.of(key(0)));
            tier.put(key(3), head, noise(3, head.lengthBytes()));
            Files.setLastModifiedTime(folder.resolve(DiskTier.fileName(key(3))), FileTime.fromMillis(9_000_000));
            assertThat(tier.contains(key(0))).isTrue();
            assertThat(tier.contains(key(1))).isFalse();
            assertThat(tier.usedBytes()).isEqualTo(3 * fileBytes);
            tier.put(key(9), head(100_000), noise(9, head(100_000).lengthBytes())); // longer than the whole
            assertThat(tier.contains(key(9))).isFalse();
        }
        try (DiskTier tier = new DiskTier(folder, 2 * fileBytes)) {
            assertThat(tier.usedBytes()).isEqualTo(2 * fileBytes);
            assertThat(tier.contains(key(0))).isFalse(); // the oldest file
            MemorySegment target = room();
            assertThat(tier.get(key(3), head, target)).isTrue();
            assertThat(equal(noise(3, head.lengthBytes()), target, head)).isTrue();
            Files.delete(folder.resolve(DiskTier.fileName(key(3)))); // another process makes room
            assertThat(tier.get(key(3), head, target)).isFalse();
            assertThat(tier.usedBytes()).isEqualTo(fileBytes);
        }
        try (Stream<Path> files = Files.list(folder)) {
            assertThat(files.map(file -> file.getFileName().toString()))
                    .contains("notes.txt")
                    .noneMatch(name -> name.endsWith(".tmp"));
        }
    }

    @Test
    void fileOfFsIsLmCachesHeadAndBytes() throws IOException {
        try (FsTier tier = new FsTier("fs://" + folder)) {
            ChunkHead head = head(8);
            MemorySegment chunk = noise(1, 480);
            tier.put(KEY, head, chunk);
            Path file = folder.resolve("-SEP-models-SEP-m@1@0@6cccce88f049006f@bfloat16.data");
            byte[] bytes = Files.readAllBytes(file);
            assertThat(bytes).hasSize(28 + 480).startsWith(0xe0, 1, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0);
            Files.write(file, java.util.Arrays.copyOf(bytes, 100));
            assertThatThrownBy(() -> tier.get(KEY, head, room()))
                    .isInstanceOf(BadChunkException.class)
                    .hasMessageContaining("too short");
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"fs://", "fs://host", "fs:///a,/b", "s3://x", "redis://h:1/x"})
    void storeThatIsNotThereIsRefusedInOneSentence(String url) {
        LmCacheOptions options = new LmCacheOptions(
                256,
                0,
                Optional.empty(),
                0,
                Optional.of(url),
                false,
                false,
                0,
                0,
                TIMEOUT,
                new ChunkHasher.Builtin(0),
                "m");
        assertThatThrownBy(() -> Tiers.of(options, 100, new Counters()))
                .isInstanceOf(TransferException.class)
                .hasMessageContaining("remote_url");
    }

    @Test
    void nameThatMakesKeysTooLongForLmIsRefused() {
        LmCacheOptions options = new LmCacheOptions(
                256,
                0,
                Optional.empty(),
                0,
                Optional.of("lm://h:1"),
                false,
                false,
                0,
                0,
                TIMEOUT,
                new ChunkHasher.Builtin(0),
                "m");
        assertThatThrownBy(() -> Tiers.of(options, 151, new Counters()))
                .isInstanceOf(TransferException.class)
                .hasMessageContaining("model_name");
    }

    @Test
    void hitOfALowerTierIsKeptInMemory() throws IOException {
        LmCacheOptions options = new LmCacheOptions(
                256,
                1 << 20,
                Optional.of(folder),
                1 << 20,
                Optional.empty(),
                false,
                false,
                0,
                0,
                TIMEOUT,
                new ChunkHasher.Builtin(0),
                "m");
        ChunkHead head = head(50);
        Counters counters = new Counters();
        try (DiskTier disk = new DiskTier(folder, 1 << 20)) {
            disk.put(KEY, head, noise(1, head.lengthBytes()));
        }
        try (Tiers tiers = Tiers.of(options, 100, counters)) {
            assertThat(tiers.missing(KEY)).hasSize(1);
            assertThat(tiers.get(KEY, head, room())).isTrue();
            assertThat(tiers.missing(KEY)).isEmpty();
            Files.delete(onlyFile());
            MemorySegment target = room();
            assertThat(tiers.get(KEY, head, target)).isTrue();
            assertThat(equal(noise(1, head.lengthBytes()), target, head)).isTrue();
            assertThat(tiers.get(KEY, head(51), target)).isFalse(); // wrong in memory, gone on disk
            assertThat(counters.badChunks.sum()).isEqualTo(1);
        }
    }
}
