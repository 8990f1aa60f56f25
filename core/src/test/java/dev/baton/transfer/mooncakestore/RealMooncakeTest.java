package dev.baton.transfer.mooncakestore;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.baton.transfer.TransferException;
import dev.baton.transfer.mooncakestore.ObjectStore.Piece;
import dev.baton.transfer.tcp.KvThreads;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.CompletableFuture;
import java.util.stream.Stream;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/// What speaks to a real Mooncake cluster: the Python of `MOONCAKE_PYTHON` in a helper process, the library of
/// `MOONCAKE_HOME`, and plain Java.
@ExtendWith(KvThreads.class)
@Timeout(120)
class RealMooncakeTest {
    private static final int VALUE_BYTES = 1 << 20;
    private static final int VALUES = 8;
    private static final Duration LONG = Duration.ofSeconds(20);

    enum Kind {
        HELPER,
        LIBRARY,
        PLAIN
    }

    @BeforeAll
    static void loadLibrary() {
        MooncakeCluster.loadLibrary();
    }

    private static MooncakeStoreOptions options(MooncakeCluster cluster) {
        return MooncakeStoreOptions.from(cluster.settings(), "m", Map.of());
    }

    private static HelperStore.Opener helper(MooncakeCluster cluster, Duration startTimeout, Duration timeout) {
        return new HelperStore.Opener(
                MooncakeCluster.python(), options(cluster).cluster(), "127.0.0.1", 3, startTimeout, timeout);
    }

    private static ObjectStore open(Kind kind, MooncakeCluster cluster) throws IOException {
        ObjectStore.Opener opener = switch (kind) {
            case HELPER -> helper(cluster, LONG, LONG);
            case PLAIN -> new PlainStore.Opener(options(cluster).access("127.0.0.1"));
            case LIBRARY ->
                new NativeStore.Opener(
                        new NativeStore.Library(MooncakeCluster.sharedObject()),
                        options(cluster).cluster(),
                        "127.0.0.1",
                        LONG,
                        LONG);
        };
        return opener.open(2L * VALUES * VALUE_BYTES);
    }

    private static List<Piece> pieces(long offset, long length) {
        List<Piece> pieces = new ArrayList<>();
        for (int i = 0; i < VALUES; i++) {
            pieces.add(new Piece("model@group:0@" + i, offset + (long) i * VALUE_BYTES, length));
        }
        return pieces;
    }

    private static MemorySegment fill(ObjectStore store) {
        byte[] noise = new byte[VALUES * VALUE_BYTES];
        new Random(1).nextBytes(noise);
        store.memory().copyFrom(MemorySegment.ofArray(noise));
        return MemorySegment.ofArray(noise);
    }

    @ParameterizedTest
    @EnumSource
    void valuesComeBackAndErrorsAreOfSingleKeys(Kind kind) throws IOException {
        try (MooncakeCluster cluster = new MooncakeCluster(64 << 20)) {
            List<String> keys = pieces(0, 1).stream().map(Piece::key).toList();
            MemorySegment noise;
            try (ObjectStore writer = open(kind == Kind.PLAIN ? Kind.HELPER : kind, cluster)) {
                noise = fill(writer);
                assertThat(writer.exist(keys)).containsOnly(0).hasSize(VALUES);
                assertThat(writer.put(pieces(0, VALUE_BYTES))).containsOnly(0);
                assertThat(writer.put(pieces(0, VALUE_BYTES).subList(0, 1))).containsExactly(0);
            }
            try (ObjectStore reader = open(kind, cluster)) {
                assertThat(reader.exist(keys)).containsOnly(1);
                assertThat(reader.exist(List.of("model@none"))).containsExactly(0);
                assertThat(reader.get(pieces(VALUES * (long) VALUE_BYTES, VALUE_BYTES)))
                        .containsOnly(VALUE_BYTES);
                assertThat(reader.memory()
                                .asSlice(noise.byteSize(), noise.byteSize())
                                .mismatch(noise))
                        .isEqualTo(-1);
                List<Piece> mixed = new ArrayList<>(pieces(0, VALUE_BYTES).subList(0, 3));
                mixed.add(new Piece("none", 4L * VALUE_BYTES, 24));
                mixed.add(new Piece(keys.get(4), 5L * VALUE_BYTES, VALUE_BYTES - 1));
                mixed.add(new Piece(keys.get(5), 6L * VALUE_BYTES, VALUE_BYTES + 1));
                assertThat(reader.get(mixed))
                        .containsExactly(
                                VALUE_BYTES,
                                VALUE_BYTES,
                                VALUE_BYTES,
                                StoreErrors.OBJECT_NOT_FOUND,
                                StoreErrors.INVALID_PARAMS,
                                VALUE_BYTES);
            }
        }
    }

    @ParameterizedTest
    @EnumSource(names = "PLAIN", mode = EnumSource.Mode.EXCLUDE)
    void callsOfSeveralThreadsDoNotMix(Kind kind) throws IOException {
        try (MooncakeCluster cluster = new MooncakeCluster(64 << 20);
                ObjectStore store = open(kind, cluster)) {
            MemorySegment noise = fill(store);
            store.put(pieces(0, VALUE_BYTES));
            List<CompletableFuture<Void>> threads = new ArrayList<>();
            for (int t = 0; t < VALUES; t++) {
                int i = t;
                threads.add(CompletableFuture.runAsync(() -> {
                    for (int round = 0; round < 20; round++) {
                        Piece piece =
                                pieces(VALUES * (long) VALUE_BYTES, VALUE_BYTES).get(i);
                        MemorySegment target = store.memory()
                                .asSlice(piece.offset(), VALUE_BYTES)
                                .fill((byte) 0);
                        try {
                            assertThat(store.get(List.of(piece))).containsExactly(VALUE_BYTES);
                        } catch (IOException e) {
                            throw new AssertionError(e);
                        }
                        assertThat(target.mismatch(noise.asSlice((long) i * VALUE_BYTES, VALUE_BYTES)))
                                .isEqualTo(-1);
                    }
                }));
            }
            threads.forEach(CompletableFuture::join);
        }
    }

    private static List<ProcessHandle> helpers() {
        return ProcessHandle.current()
                .children()
                .filter(child -> child.info()
                        .arguments()
                        .map(words -> words.length > 1 && words[1].contains("batch_get_into"))
                        .orElse(false))
                .toList();
    }

    @Test
    void helperThatHangsIsEnded() throws Exception {
        try (MooncakeCluster cluster = new MooncakeCluster(64 << 20);
                ObjectStore store = helper(cluster, LONG, Duration.ofSeconds(1)).open(2L * VALUES * VALUE_BYTES)) {
            fill(store);
            assertThat(store.put(pieces(0, VALUE_BYTES))).containsOnly(0);
            ProcessHandle helper = helpers().getFirst();
            new ProcessBuilder("kill", "-STOP", Long.toString(helper.pid()))
                    .start()
                    .waitFor();
            long start = System.nanoTime();
            assertThatThrownBy(() -> store.get(pieces(0, VALUE_BYTES)))
                    .isInstanceOf(IOException.class)
                    .hasMessageContaining("longer than 1000 ms");
            assertThat(Duration.ofNanos(System.nanoTime() - start)).isLessThan(Duration.ofSeconds(5));
            Awaitility.await().atMost(Duration.ofSeconds(5)).until(() -> !helper.isAlive());
            assertThatThrownBy(() -> store.get(pieces(0, VALUE_BYTES)))
                    .isInstanceOf(IOException.class)
                    .hasMessageContaining("the helper has ended");
        }
    }

    @Test
    void nothingIsLeftOfAHelper() throws IOException {
        try (MooncakeCluster cluster = new MooncakeCluster(64 << 20)) {
            long files = sharedFiles();
            try (ObjectStore store = open(Kind.HELPER, cluster)) {
                assertThat(helpers()).hasSize(1);
                assertThat(store.exist(List.of("a"))).containsExactly(0);
                assertThat(sharedFiles()).as("it has no name any more").isEqualTo(files);
            }
            assertThat(helpers()).isEmpty();
            cluster.killMaster();
            HelperStore.Opener without = helper(cluster, Duration.ofSeconds(1), LONG);
            assertThatThrownBy(() -> without.open(VALUE_BYTES)).isInstanceOf(IOException.class);
            assertThat(helpers()).isEmpty();
            assertThat(sharedFiles()).isEqualTo(files);
        }
    }

    private static long sharedFiles() throws IOException {
        try (Stream<Path> all = Files.list(Path.of("/dev/shm"))) {
            return all.filter(file -> file.getFileName().toString().startsWith(HelperStore.filePrefix()))
                    .count();
        }
    }

    @Test
    void pythonWithoutMooncakeIsNamed() {
        Path python = Path.of("/usr/bin/python3");
        Assumptions.assumeTrue(Files.isExecutable(python), "there is no " + python);
        HelperStore.Opener opener = new HelperStore.Opener(
                python,
                new Cluster("127.0.0.1:1", "P2PHANDSHAKE", "tcp", "", 0, 1 << 20),
                "127.0.0.1",
                1,
                Duration.ofSeconds(20),
                Duration.ofSeconds(5));
        assertThatThrownBy(() -> opener.open(1 << 20))
                .isInstanceOf(TransferException.class)
                .hasMessageContaining("has no mooncake package");
    }
}
