package dev.baton.kvcache;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class BlockHasherTest {
    private static final KvCacheSpec SPEC = spec("tiny", "float32", 16);

    static KvCacheSpec spec(String modelId, String dtype, int blockTokens) {
        return new KvCacheSpec(modelId, dtype, 4, 2, 1, 8, blockTokens, 64);
    }

    /// From `vectors.h` of the authors' reference implementation: key 00 01 .. 0f, message 00 01 02 ...
    @ParameterizedTest
    @CsvSource({
        "16, 6ee2a4ca67b054bbfd3315bf85230577",
        "20, 9e25fc833f2290733e9344a5e83839eb",
        "24, 2db479ae78bd50d8882a8a178a6132ad",
        "28, 0664da1668574b88b935f3027358aef4"
    })
    void sipHashGivesTheReferenceVectors(int length, String expected) {
        ByteBuffer message = ByteBuffer.allocate(length).order(ByteOrder.LITTLE_ENDIAN);
        for (int i = 0; i < length; i++) {
            message.put(i, (byte) i);
        }
        int[] words = new int[(length - 16) / 4];
        for (int i = 0; i < words.length; i++) {
            words[i] = message.getInt(16 + 4 * i);
        }
        long[] out = new long[2];
        BlockHasher.sipHash(
                0x0706050403020100L,
                0x0f0e0d0c0b0a0908L,
                message.getLong(0),
                message.getLong(8),
                words,
                0,
                words.length,
                out,
                0);
        ByteBuffer digest = ByteBuffer.allocate(16).order(ByteOrder.LITTLE_ENDIAN);
        digest.putLong(out[0]).putLong(out[1]);
        assertThat(HexFormat.of().formatHex(digest.array())).isEqualTo(expected);
    }

    @Test
    void digestIsOfTheTokensAndTheirNumberAlone() {
        int[] tokens = new Random(2).ints(130, 0, 1 << 17).toArray();
        assertThat(BlockHasher.digest(new int[0], 0)).matches("[0-9a-f]{32}");
        for (int length = 1; length <= tokens.length; length++) {
            String digest = BlockHasher.digest(tokens, length);
            assertThat(BlockHasher.digest(Arrays.copyOf(tokens, length), length))
                    .isEqualTo(digest);
            assertThat(BlockHasher.digest(tokens, length - 1)).isNotEqualTo(digest);
            int[] padded = Arrays.copyOf(tokens, length + 1);
            padded[length] = 0;
            assertThat(BlockHasher.digest(padded, length + 1)).isNotEqualTo(digest);
            int[] changed = tokens.clone();
            changed[length - 1]++;
            assertThat(BlockHasher.digest(changed, length)).isNotEqualTo(digest);
        }
    }

    @Test
    void everyTokenOfEveryBlockBeforeChangesTheHash() {
        Random random = new Random(1);
        int[] tokens = random.ints(64, 0, 1 << 17).toArray();
        BlockHash hash = last(SPEC, tokens);
        for (int i = 0; i < tokens.length; i++) {
            tokens[i] ^= 1;
            assertThat(last(SPEC, tokens)).isNotEqualTo(hash);
            tokens[i] ^= 1;
        }
        assertThat(last(SPEC, tokens)).isEqualTo(hash);
    }

    @Test
    void modelTypeBlockSizeAndSeedAreInTheRoot() {
        BlockHash root = new BlockHasher(SPEC, 1).root();
        assertThat(new BlockHasher(spec("tiny2", "float32", 16), 1).root()).isNotEqualTo(root);
        assertThat(new BlockHasher(spec("tiny", "bfloat16", 16), 1).root()).isNotEqualTo(root);
        assertThat(new BlockHasher(spec("tiny", "float32", 32), 1).root()).isNotEqualTo(root);
        assertThat(new BlockHasher(SPEC, 2).root()).isNotEqualTo(root);
        // The boundary between the two names counts.
        assertThat(new BlockHasher(spec("tinyf", "loat32", 16), 1).root()).isNotEqualTo(root);
        assertThat(new BlockHasher(spec("tiny", "float32", 16), 1).root()).isEqualTo(root);
    }

    @Test
    void chainExtendedInPiecesEqualsChainExtendedAtOnce() {
        int[] tokens = new Random(2).ints(1_000, 0, 1 << 17).toArray();
        HashChain atOnce = new HashChain(new BlockHasher(SPEC, 1), 16);
        atOnce.extend(tokens, 1_000);
        HashChain inPieces = new HashChain(new BlockHasher(SPEC, 1), 16);
        for (int n = 0; n <= 1_000; n += 7) {
            inPieces.extend(tokens, n);
            assertThat(inPieces.size()).isEqualTo(n / 16);
        }
        for (int i = 0; i < inPieces.size(); i++) {
            assertThat(inPieces.get(i)).isEqualTo(atOnce.get(i));
        }
    }

    @Test
    void anotherProcessComputesTheSameHash() throws IOException, InterruptedException {
        Process process = new ProcessBuilder(
                        Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                        "-cp",
                        System.getProperty("java.class.path"),
                        "-Xint",
                        Elsewhere.class.getName())
                .redirectError(ProcessBuilder.Redirect.INHERIT)
                .start();
        String printed = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertThat(process.waitFor(30, TimeUnit.SECONDS)).isTrue();
        assertThat(printed.strip()).isEqualTo(Elsewhere.hash());
    }

    /// The other process.
    static final class Elsewhere {
        static String hash() {
            return last(SPEC, new Random(3).ints(320, 0, 1 << 17).toArray()).toString();
        }

        public static void main(String[] args) {
            System.out.println(hash());
        }
    }

    private static BlockHash last(KvCacheSpec spec, int[] tokens) {
        BlockHasher hasher = new BlockHasher(spec, BlockHasher.DEFAULT_SEED);
        BlockHash hash = hasher.root();
        for (int i = 0; i < tokens.length; i += spec.blockTokens()) {
            hash = hasher.hash(hash, tokens, i, spec.blockTokens());
        }
        return hash;
    }
}
