package dev.baton.model.cuda;

import dev.baton.model.ForwardBatch;
import dev.baton.model.ModelConfig;
import dev.baton.model.ModelException;
import dev.baton.model.TokenChoices;
import dev.baton.model.decoder.DecoderSpec;
import dev.baton.tensor.DType;
import dev.baton.tensor.PagedKv;
import dev.baton.tensor.TensorException;
import dev.baton.tensor.cuda.RankLinks;
import dev.baton.tensor.cuda.RankThreads;
import dev.baton.tensor.cuda.owned.Context;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/// A [CudaDecoder] a GPU for several GPUs of one host, each with its [Shard] of the model and of every KV
/// block, and a thread a GPU that lets all of them do the same step at the same time. They meet in sums, which are
/// part of the graphs ([RankLinks]). All have the same logits in the end; the first one's are used.
///
/// If one fails, all are ended, and the model is of no more use.
///
/// Used from one thread at a time.
public final class ParallelDecoder implements CudaModel {
    private final ModelConfig config;
    private final CudaOptions options;
    private final List<RankLinks> links; // by rank
    private final RankThreads threads;
    private final List<CudaDecoder> ranks;
    private final String backend;
    private List<PagedKv> pools = List.of(); // by rank; the first one is what the engine knows
    private @Nullable PagedKv[] own = {}; // by rank, the same; null once closed

    private ParallelDecoder(
            ModelConfig config,
            CudaOptions options,
            List<RankLinks> links,
            RankThreads threads,
            List<CudaDecoder> ranks) {
        this.config = config;
        this.options = options;
        this.links = links;
        this.threads = threads;
        this.ranks = ranks;
        long gpus = options.devices().stream().distinct().count();
        this.backend = ranks.getFirst().backend() + ", "
                + (gpus == ranks.size() ? "" : ranks.size() + " ranks on ") + gpus + (gpus == 1 ? " GPU" : " GPUs")
                + " over " + links.getFirst().description();
    }

    /// Opens the GPUs, connects them, and loads each one's part, all at the same time.
    static ParallelDecoder load(ModelConfig config, DecoderSpec spec, CudaOptions options, CudaDecoder.Source source) {
        int size = options.tensorParallelSize();
        new Shard(0, size).check(config);
        int visible = Context.count(options.environment());
        checkVisible(options.devices(), visible);
        List<Context> contexts = new ArrayList<>();
        List<RankLinks> links = new ArrayList<>();
        RankThreads threads = new RankThreads(size, () -> links.forEach(RankLinks::abort));
        @Nullable CudaDecoder[] loaded = new CudaDecoder[size];
        try {
            for (int rank = 0; rank < size; rank++) {
                contexts.add(Context.open(options.devices().get(rank), options.environment()));
            }
            links.addAll(RankLinks.connect(
                    contexts, config.hiddenSize(), !options.customAllReduce(), options.environment()));
            threads.run(rank -> {
                Context context = contexts.get(rank);
                context.makeCurrent();
                loaded[rank] = CudaDecoder.load(
                        config, spec, options, new Shard(rank, size), context, links.get(rank), source);
            });
            List<CudaDecoder> ranks = new ArrayList<>();
            for (CudaDecoder each : loaded) {
                if (each != null) {
                    ranks.add(each);
                }
            }
            return new ParallelDecoder(config, options, List.copyOf(links), threads, List.copyOf(ranks));
        } catch (RuntimeException | Error e) {
            links.forEach(RankLinks::abort);
            if (links.isEmpty()) {
                contexts.forEach(Context::close);
            } else {
                closeLoaded(threads, loaded);
            }
            threads.close();
            throw e;
        }
    }

    /// @throws ModelException if a rank's GPU is not there
    static void checkVisible(List<Integer> devices, int visible) {
        if (Collections.max(devices) >= visible || Collections.min(devices) < 0) {
            throw new ModelException("--tensor-parallel-size is " + devices.size() + ": GPUs " + devices
                    + " are needed, and " + visible + " can be seen (CUDA_VISIBLE_DEVICES)");
        }
    }

    /// Closes what was loaded; a rank that failed has closed its own things.
    private static void closeLoaded(RankThreads threads, @Nullable CudaDecoder[] loaded) {
        threads.run(rank -> {
            CudaDecoder each = loaded[rank];
            if (each != null) {
                each.close();
            }
        });
    }

    @Override
    public ModelConfig config() {
        return config;
    }

    @Override
    public Map<String, String> fingerprint() {
        return ranks.getFirst().fingerprint();
    }

    @Override
    public String backend() {
        return backend;
    }

    @Override
    public int kvBlocks(double utilization, long blockBytes) {
        int[] blocks = new int[ranks.size()];
        threads.run(rank -> blocks[rank] = ranks.get(rank).kvBlocks(utilization, blockBytes));
        int fewest = blocks[0];
        for (int each : blocks) {
            fewest = Math.min(fewest, each);
        }
        return fewest;
    }

    @Override
    public PagedKv allocateKv(int numBlocks, int blockTokens, DType dtype) {
        @Nullable PagedKv[] made = new PagedKv[ranks.size()];
        try {
            threads.run(rank -> made[rank] = ranks.get(rank).allocateKv(numBlocks, blockTokens, dtype));
        } catch (RuntimeException | Error e) {
            close(made);
            throw e;
        }
        List<PagedKv> all = new ArrayList<>();
        for (PagedKv pool : made) {
            if (pool != null) {
                all.add(pool);
            }
        }
        PagedKv first = all.getFirst();
        all.set(
                0,
                PagedKv.onDevice(
                        numBlocks,
                        first.layers(),
                        first.kvHeads(),
                        blockTokens,
                        first.headDim(),
                        dtype,
                        _ -> first.deviceAddress(),
                        () -> close(made),
                        _ -> {
                            throw new TensorException("the blocks of a KV cache that is divided among " + ranks.size()
                                    + " GPUs (--tensor-parallel-size) stay there");
                        }));
        pools = List.copyOf(all);
        own = made;
        return pools.getFirst();
    }

    /// Closes what is not closed yet: the engine closes its pool after the model, whose threads have ended then.
    private void close(@Nullable PagedKv[] made) {
        if (Arrays.stream(made).anyMatch(Objects::nonNull)) {
            threads.run(rank -> {
                PagedKv pool = made[rank];
                made[rank] = null;
                if (pool != null) {
                    pool.close();
                }
            });
        }
    }

    private void checkUsable() {
        if (links.stream().anyMatch(RankLinks::hasEnded)) {
            throw new ModelException("one of the " + ranks.size() + " GPUs has failed before");
        }
    }

    private PagedKv pool(int rank, PagedKv kv) {
        if (pools.isEmpty() || pools.getFirst() != kv) {
            throw new ModelException("a step over a KV cache that this model did not make, or not as its last one");
        }
        return pools.get(rank);
    }

    @Override
    public void recordGraphs(PagedKv kv) {
        checkUsable();
        // One behind the other for all: no rank ends or makes a graph while another waits in a sum. Where they
        // share a GPU, the driver could wait for that one.
        threads.run(rank -> ranks.get(rank).dropGraphs());
        threads.run(rank -> ranks.get(rank).runAlone(pool(rank, kv)));
        threads.run(rank -> ranks.get(rank).runByHand(pool(rank, kv)));
        threads.run(rank -> ranks.get(rank).record(pool(rank, kv)));
    }

    @Override
    public void prepare(PagedKv kv) {
        recordGraphs(kv);
        WarmUp.run(this, options, kv);
    }

    @Override
    public void launch(ForwardBatch batch, PagedKv kv, TokenChoices choices) {
        checkUsable();
        ranks.getFirst().checkTokens(batch);
        if (!ranks.getFirst().hasRoomFor(batch.numLogits())) {
            // Not while another rank waits in a sum: the driver could wait for that one.
            threads.run(rank -> ranks.get(rank).makeRoomFor(batch.numLogits()));
        }
        threads.run(rank -> ranks.get(rank).launch(batch, pool(rank, kv), choices));
    }

    @Override
    public void await() {
        threads.run(rank -> ranks.get(rank).await());
    }

    @Override
    public int token(int row) {
        return ranks.getFirst().token(row);
    }

    @Override
    public float deviceMillis() {
        return ranks.getFirst().deviceMillis();
    }

    @Override
    public void copyRow(int row, float[] to, int offset) {
        ranks.getFirst().copyRow(row, to, offset);
    }

    @Override
    public void close() {
        try {
            threads.run(rank -> ranks.get(rank).synchronize()); // a rank's memory is written to by the others' kernels
        } finally {
            try {
                close(own);
            } finally {
                try {
                    threads.run(rank -> ranks.get(rank).close());
                } finally {
                    threads.close();
                }
            }
        }
    }
}
