package dev.baton.transfer.lmcache;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.tensor.DType;
import dev.baton.transfer.KvRequest;
import dev.baton.transfer.KvTransferParams;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;

/// Hashes and keys against what CPython made of the same tokens (`scripts/fixtures/make_lmcache_hashes.py`).
class ChunkHasherTest {
    static List<String> lines() throws IOException {
        try (InputStream in =
                Objects.requireNonNull(ChunkHasherTest.class.getResourceAsStream("/fixtures/lmcache/hashes.csv"))) {
            return new String(in.readAllBytes(), StandardCharsets.US_ASCII)
                    .lines()
                    .toList();
        }
    }

    private static ChunkHasher hasher(String algorithm, String hashSeed) {
        return algorithm.equals("builtin")
                ? ChunkHasher.Builtin.seeded(Long.parseLong(hashSeed))
                : ChunkHasher.Sha256Cbor.seeded(hashSeed.isEmpty() ? ChunkHasher.NO_SEED : hashSeed);
    }

    private static int[] tokens(int seed, int count) {
        return IntStream.range(0, count)
                .map(i -> (int) (((long) i * i * 31 + i * 7L + seed) % 150_000))
                .toArray();
    }

    @ParameterizedTest
    @MethodSource("lines")
    void chainEqualsPythons(String line) {
        String[] fields = line.split(",", -1);
        ChunkHasher hasher = hasher(fields[0], fields[1]);
        int[] tokens = tokens(Integer.parseInt(fields[2]), Integer.parseInt(fields[3]));
        assertThat(hasher.hex(hasher.root())).isEqualTo(fields[4]);
        ChunkKeys keys = ChunkKeys.of(hasher, 256, "m", DType.F16);
        List<String> expected = Arrays.stream(fields, 5, fields.length)
                .map(hash -> "m@1@0@" + hash + "@half")
                .toList();
        assertThat(keys.keys(tokens, tokens.length)).isEqualTo(expected);
    }

    @Test
    void fixtureHasBothAlgorithmsAndNegativeHashes() throws IOException {
        assertThat(lines()).hasSize(108).anyMatch(line -> line.contains(",-"));
        // As LMCache 0.5.6 wrote them with PYTHONHASHSEED=0.
        assertThat(hasher("sha256_cbor", "0").root()).isEqualTo(5625442194607170974L);
        assertThat(hasher("builtin", "0").root()).isEqualTo(5313149338359954478L);
    }

    @ParameterizedTest
    @CsvSource({
        "0, 0",
        "1, 1",
        "-1, -2",
        "2305843009213693951, 0",
        "2305843009213693950, 2305843009213693950",
        "-2305843009213693952, -2",
        "9223372036854775807, 3",
        "-9223372036854775808, -4"
    })
    void wholeNumbersAreHashedModuloAMersennePrime(long number, long hash) {
        assertThat(PythonHash.ofInt(number)).isEqualTo(hash); // from CPython 3.11
    }

    @Test
    void everyTokenAndItsPlaceCount() {
        for (ChunkHasher hasher : List.of(hasher("builtin", "0"), hasher("sha256_cbor", "0"))) {
            int[] tokens = tokens(3, 512);
            ChunkKeys keys = ChunkKeys.of(hasher, 256, "m", DType.BF16);
            List<String> before = keys.keys(tokens, 512);
            tokens[255] ^= 1;
            List<String> after = keys.keys(tokens, 512);
            assertThat(after.get(0)).isNotEqualTo(before.get(0));
            assertThat(after.get(1)).isNotEqualTo(before.get(1));
            assertThat(keys.keys(tokens, 511).get(0)).isEqualTo(after.get(0));
            assertThat(keys.keys(tokens, 511).get(1)).isNotEqualTo(after.get(1));
        }
    }

    @Test
    void tagsOfARequestStandBehindTheElementType() {
        Map<String, Object> fields = new LinkedHashMap<>();
        fields.put("lmcache.tag.user", "ann");
        fields.put("ret_first_tok", true);
        fields.put("lmcache.tag.n", 7);
        KvRequest request = new KvRequest("r", "r", new int[] {1}, new KvTransferParams(fields));
        ChunkKeys keys = ChunkKeys.of(hasher("builtin", "0"), 256, "/models/m", DType.F32);
        assertThat(keys.withTagsOf(request).key(10)).isEqualTo("/models/m@1@0@a@float@user%ann@n%7");
        assertThat(keys.withTagsOf(new KvRequest("r", "r", new int[] {1}, KvTransferParams.NONE)))
                .isSameAs(keys);
    }
}
