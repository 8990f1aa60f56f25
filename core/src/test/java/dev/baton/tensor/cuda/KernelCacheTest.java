package dev.baton.tensor.cuda;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class KernelCacheTest {
    private static final byte[] CODE = {1, 2, 3, 0, -1};

    @TempDir
    Path folder;

    private static String key(String source, Map<String, String> headers, List<String> options, String compiler) {
        return KernelCache.key(source, headers, options, compiler);
    }

    @Test
    void keyDependsOnEverythingThatTheCodeDependsOn() {
        Map<String, String> headers = Map.of("common.cuh", "h");
        List<String> options = KernelCompiler.options("sm_90a", Map.of("HEAD_DIM", 128, "SPLIT_TOKENS", 512));
        assertThat(options)
                .containsExactly(
                        "--gpu-architecture=sm_90a",
                        "--std=c++17",
                        "-default-device",
                        "-DHEAD_DIM=128",
                        "-DSPLIT_TOKENS=512");
        String key = key("source", headers, options, "13.0");
        assertThat(key("source", headers, options, "13.0")).isEqualTo(key);
        assertThat(Set.of(
                        key,
                        key("other", headers, options, "13.0"),
                        key("source", Map.of("common.cuh", "i"), options, "13.0"),
                        key("source", Map.of("other.cuh", "h"), options, "13.0"),
                        key("source", headers, KernelCompiler.options("sm_80", Map.of("HEAD_DIM", 128)), "13.0"),
                        key("source", headers, options, "13.1"),
                        key("source", headers, List.of(String.join("", options)), "13.0")))
                .hasSize(7);
    }

    @Test
    void codeIsFoundAgain() {
        KernelCache cache = new KernelCache(folder.resolve("not/there/yet"));
        String key = key("a", Map.of(), List.of(), "1");
        assertThat(cache.read(key)).isEmpty();
        cache.write(key, CODE);
        cache.write(key, CODE);
        assertThat(new KernelCache(folder.resolve("not/there/yet")).read(key)).hasValue(CODE);
        assertThat(cache.read(key("b", Map.of(), List.of(), "1"))).isEmpty();
    }

    @Test
    void damagedFileIsAsIfItWereNotThere() throws IOException {
        KernelCache cache = new KernelCache(folder);
        String key = key("a", Map.of(), List.of(), "1");
        cache.write(key, CODE);
        Path file;
        try (Stream<Path> files = Files.list(folder)) {
            file = files.toList().getFirst();
        }
        byte[] whole = Files.readAllBytes(file);
        for (int length : new int[] {0, 1, 31, 32, whole.length - 1}) {
            Files.write(file, java.util.Arrays.copyOf(whole, length));
            assertThat(cache.read(key)).as("cut to " + length).isEmpty();
        }
        byte[] flipped = whole.clone();
        flipped[flipped.length - 1] ^= 1;
        Files.write(file, flipped);
        assertThat(cache.read(key)).isEmpty();
    }

    @Test
    void folderThatCannotBeWrittenToCostsNothingButTheCache() throws IOException {
        KernelCache cache = new KernelCache(Files.createFile(folder.resolve("a-file")));
        String key = key("a", Map.of(), List.of(), "1");
        cache.write(key, CODE);
        assertThat(cache.read(key)).isEmpty();
    }

    @Test
    void everySourceIsInTheJar() {
        for (String file : List.of(
                "common.cuh",
                "attention_decode.cuh",
                "norm.cuh",
                "attention_decode.cu",
                "attention_decode_sm90.cu",
                "embed.cu",
                "norm.cu",
                "peers.cu",
                "rope.cu",
                "silu.cu",
                "sample.cu",
                "fill.cu")) {
            assertThat(KernelCompiler.source(file)).isNotBlank();
        }
    }
}
