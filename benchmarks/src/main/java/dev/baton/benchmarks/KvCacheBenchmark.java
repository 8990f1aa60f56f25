package dev.baton.benchmarks;

import dev.baton.kvcache.BlockTable;
import dev.baton.kvcache.KvCacheManager;
import dev.baton.kvcache.KvCacheSpec;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.Warmup;

/// What the engine's thread does for a request's KV blocks, in a pool of 65,536 blocks of 16 tokens that is full of
/// cached ones, as it is after a while.
///
/// `java -jar benchmarks/target/benchmarks.jar KvCacheBenchmark -p tokens=2048`
@State(Scope.Thread)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Warmup(iterations = 3, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(
        value = 1,
        jvmArgsAppend = {"--add-modules=jdk.incubator.vector", "--enable-native-access=ALL-UNNAMED"})
public class KvCacheBenchmark {
    private static final int BLOCKS = 65_536;
    private static final int BLOCK_TOKENS = 16;

    /// Length of a prompt.
    @Param({"512", "8192"})
    public int tokens = 512;

    private final KvCacheManager cache = new KvCacheManager(
            new KvCacheSpec("bench", "float32", Float.BYTES, 1, 1, 1, BLOCK_TOKENS, BLOCKS), true, 1);
    private int[] known = {};
    private int[] fresh = {};
    private int serial;

    @Setup(Level.Trial)
    public void setUp() {
        for (int i = 0; i < BLOCKS * BLOCK_TOKENS / tokens; i++) {
            compute(prompt(-1 - i));
        }
        known = prompt(0);
        compute(known);
        fresh = prompt(1);
        BlockTable table = cache.newTable();
        int found = cache.computedBlocks(table, known, tokens);
        cache.free(table);
        if (found != tokens - BLOCK_TOKENS || cache.numCached() < BLOCKS - 2 * tokens / BLOCK_TOKENS) {
            throw new IllegalStateException("found %d tokens of %d, %d blocks are cached: not timing it"
                    .formatted(found, tokens, cache.numCached()));
        }
    }

    private int[] prompt(int first) {
        int[] prompt = new int[tokens];
        for (int i = 0; i < tokens; i++) {
            prompt[i] = i;
        }
        prompt[0] = first;
        return prompt;
    }

    private void compute(int[] prompt) {
        BlockTable table = cache.newTable();
        cache.computedBlocks(table, prompt, tokens);
        cache.allocateSlots(table, tokens);
        cache.cacheFullBlocks(table, prompt, tokens);
        cache.free(table);
    }

    /// Names the blocks of a prompt.
    @Benchmark
    public int hash() {
        BlockTable table = cache.newTable();
        table.hashes().extend(known, tokens);
        return table.hashes().size();
    }

    /// Names them, finds all but the last and gives them back.
    @Benchmark
    public int find() {
        BlockTable table = cache.newTable();
        int found = cache.computedBlocks(table, known, tokens);
        cache.free(table);
        return found;
    }

    /// Names the blocks of a prompt that is new, finds none, takes them from those longest unused, publishes
    /// them and gives them back.
    @Benchmark
    public int allocate() {
        fresh[0] = ++serial;
        compute(fresh);
        return serial;
    }
}
