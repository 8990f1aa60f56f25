package dev.baton.tensor.cuda;

import static dev.baton.tensor.cuda.owned.Kernel.Parameter.FLOAT;
import static dev.baton.tensor.cuda.owned.Kernel.Parameter.INT;
import static dev.baton.tensor.cuda.owned.Kernel.Parameter.LONG;
import static dev.baton.tensor.cuda.owned.Kernel.Parameter.TENSOR_MAP;

import dev.baton.tensor.PagedKv;
import dev.baton.tensor.TensorException;
import dev.baton.tensor.cpu.AttentionShape;
import dev.baton.tensor.cuda.checked.Nvrtc;
import dev.baton.tensor.cuda.owned.Blas;
import dev.baton.tensor.cuda.owned.Context;
import dev.baton.tensor.cuda.owned.DeviceInfo;
import dev.baton.tensor.cuda.owned.DeviceMemory;
import dev.baton.tensor.cuda.owned.Kernel;
import dev.baton.tensor.cuda.owned.Kernel.Parameter;
import dev.baton.tensor.cuda.owned.KernelModule;
import dev.baton.tensor.cuda.owned.KvMaps;
import dev.baton.tensor.cuda.owned.Stream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// The operations of a transformer step on one GPU. Activations and weights are bf16, row-major without gaps;
/// sums run in f32. Arguments are addresses of device memory; a call gives work to the one stream and returns.
///
/// A row of [#argmax] and norms depends on itself alone. A product's row also depends on how many rows there
/// are, as the library's algorithm follows from that, and attention's last bits on how many sequences there
/// are, or on how many thread blocks share a context.
///
/// Allocates nothing on the heap once a product of the same size was made. Used from one thread at a time. Owns
/// the kernels, the stream, and scratch memory; not the context.
public final class CudaOps implements AutoCloseable {
    /// Tokens of context that a thread block of decode attention takes at a time; more where contexts are long.
    private static final int SPLIT_TOKENS = 512;

    /// The kernel's own bound: a lane of a warp looks up the block of one tile.
    private static final int MAX_SPLIT_TOKENS = 2048;

    /// What scratch memory of decode attention is kept below.
    private static final long MAX_PARTIAL_BYTES = 512L << 20;

    private static final int MAX_HEAD_DIM = 256;
    private static final int HEAD_DIM_STEP = 16;
    private static final int MAX_GROUP = 16;

    private static final int EMBED_THREADS = 128;
    private static final int ROW_THREADS = 256;
    private static final int SILU_COLUMNS = 2048;
    private static final int ARGMAX_THREADS = 1024;
    private static final int ROPE_VECTOR = 8;
    private static final int FLOAT_VECTOR = 4;

    /// From so many rows on, a row is one thread block's.
    private static final int MANY_ROWS = 512;
    /// From so many sequences on decode attention on Hopper takes twice the tokens at a time: there is work for
    /// all multiprocessors anyway, and fewer results to put together (`docs/gpu-log.md`).
    private static final int MANY_SEQUENCES = 32;

    private static final int DECODE_COUNTERS = 2;
    private static final int MERGE_THREADS = 128;
    private static final int MAX_SLOTS = 65_535;
    private static final int WARP = 32;

    /// Boxes of the tensor maps that prefill attention on Hopper reads pages by: its PANEL and KEYS.
    private static final int MAPPED_ELEMENTS = 64;

    private static final int MAPPED_TOKENS = 128;

    /// A shorter part of a prompt's context is not worth a thread block of its own.
    private static final int LEAST_SHARED_TOKENS = 512;

    private static final int MAX_SPLITS = 8;

    /// Most rows of [#narrowProduct] and its like.
    public static final int NARROW_ROWS = 8;

    private static final int NARROW_THREADS = 256;
    private static final int NARROW_OUTPUTS = 16;
    private static final int NARROW_GATES = 8;
    /// Elements behind each row in shared memory, against bank conflicts.
    private static final int SHARED_PADDING = 8;

    private static final int FILL_BLOCKS = 2048;

    private static final int SAMPLED_CHUNK = 4096;
    private static final int SAMPLING_CHUNK_THREADS = 256;
    private static final int SAMPLING_ROW_THREADS = 1024;
    private static final int COUNTING_BLOCKS = 64;

    private static final List<String> FILES =
            List.of("embed.cu", "norm.cu", "rope.cu", "silu.cu", "sample.cu", "sampling.cu", "fill.cu", "matvec.cu");

    private final Context context;
    private final KernelCache cache;
    private final String productsKey;
    private String keptProducts = ""; // as they are in the cache
    private final AttentionShape shape;
    private final int splitTokens;
    private final Stream stream;
    private final Blas blas;
    private final DeviceMemory memory;
    private final long partial; // f32 (slots, heads, headDim)
    private final long partialMeta; // f32 (slots, heads, 2)
    private final long counters; // int (2 + sequences kvHeads), zero between launches
    private final Map<String, KernelModule> modules;
    private final Map<String, KernelModule> wideModules;
    private final Kernel embed;
    private final Kernel joinRanks;
    private final Kernel rmsNorm;
    private final Kernel addRmsNorm;
    private final Kernel rotateAndStore;
    private final Kernel siluMultiply;
    private final Kernel argmax;
    private final Kernel sampleAdjust;
    private final Kernel sampleWeigh;
    private final Kernel sampleDraw;
    private final Kernel countTokens;
    private final Kernel fillDummy;
    private final Kernel matvec;
    private final Kernel matvecNorm;
    private final Kernel matvecNormSilu;
    private final Kernel matvecNormLogits;
    private final Decode decode;
    private final DecodeKernels decodeFew;
    private final DecodeKernels decodeMany;
    private final long slots; // heads' results that the scratch memory of attention has room for
    private final Prefill prefill;
    private final Kernel pagedPrefill;
    private final @Nullable Kernel mergePrefill;
    private @Nullable KvMaps kvMaps; // of the pool that prompts last wrote to

    /// Compiles the kernels for a device and a model's heads.
    ///
    /// @param context open, and current on this thread
    /// @param shape heads of every layer; its window does not matter
    /// @param maxSequences most sequences of a decode step
    /// @param maxTokens longest context
    /// @param environment where libraries and the user's cache are looked up
    /// @throws TensorException if a library is missing, or the kernels cannot do these heads
    public CudaOps(
            Context context, AttentionShape shape, int maxSequences, int maxTokens, Map<String, String> environment) {
        this.context = context;
        this.shape = shape;
        check(shape);
        this.splitTokens = splitTokens(shape, maxSequences, maxTokens);
        this.cache = KernelCache.ofUser(environment);
        KernelCompiler compiler = new KernelCompiler(context, new Nvrtc(environment), cache);
        List<String> files = new ArrayList<>(FILES);
        files.add(Prefill.of(context.info(), shape.headDim()).file);
        this.decode = Decode.of(context.info(), shape);
        files.add(decode.file);
        this.modules = compiler.load(files, macros(splitTokens));
        this.wideModules = decode.mergesApart && 2 * splitTokens <= MAX_SPLIT_TOKENS
                ? compiler.load(List.of(decode.file), macros(2 * splitTokens))
                : Map.of();
        this.stream = new Stream(context);
        this.blas = new Blas(context, environment);
        DeviceInfo device = context.info();
        this.productsKey = KernelCache.key(
                "algorithms of products",
                Map.of(),
                List.of(device.name(), device.architecture(), device.driverVersion()),
                blas.version());
        this.memory = new DeviceMemory(context);
        this.slots = slots(maxSequences, maxTokens, splitTokens);
        this.partial = memory.allocate(slots * shape.outSize() * Float.BYTES, "scratch memory of attention");
        this.partialMeta = memory.allocate(slots * shape.heads() * 2L * Float.BYTES, "scratch memory of attention");
        long counterBytes = (DECODE_COUNTERS + (long) maxSequences * shape.kvHeads()) * Integer.BYTES;
        this.counters = memory.allocate(counterBytes, "scratch memory of attention");
        stream.fill(counters, (byte) 0, counterBytes);
        this.embed = kernel("embed.cu", "embed", EMBED_THREADS, 0, LONG, LONG, LONG, LONG, INT, INT);
        this.joinRanks = kernel("embed.cu", "join_ranks", ROW_THREADS, 0, LONG, LONG, INT);
        this.rmsNorm = kernel("norm.cu", "rms_norm", ROW_THREADS, 0, LONG, LONG, LONG, INT, FLOAT);
        this.addRmsNorm = kernel("norm.cu", "add_rms_norm", ROW_THREADS, 0, LONG, LONG, LONG, LONG, INT, FLOAT);
        this.rotateAndStore = kernel(
                "rope.cu",
                "rotate_and_store",
                ROW_THREADS,
                0,
                LONG,
                LONG,
                LONG,
                FLOAT,
                LONG,
                LONG,
                LONG,
                LONG,
                INT,
                LONG,
                LONG,
                INT,
                INT,
                INT);
        this.siluMultiply = kernel("silu.cu", "silu_multiply", ROW_THREADS, 0, LONG, LONG, INT);
        this.argmax = kernel("sample.cu", "argmax", ARGMAX_THREADS, 0, LONG, LONG, INT);
        this.sampleAdjust = kernel(
                "sampling.cu",
                "sample_adjust",
                SAMPLING_CHUNK_THREADS,
                0,
                LONG,
                LONG,
                LONG,
                LONG,
                LONG,
                LONG,
                LONG,
                LONG,
                INT);
        this.sampleWeigh = kernel("sampling.cu", "sample_weigh", SAMPLING_CHUNK_THREADS, 0, LONG, LONG, LONG, INT);
        this.sampleDraw =
                kernel("sampling.cu", "sample_draw", SAMPLING_ROW_THREADS, 0, LONG, LONG, LONG, LONG, LONG, INT);
        this.countTokens = kernel("sampling.cu", "count_tokens", ROW_THREADS, 0, LONG, INT, INT, LONG, INT);
        this.fillDummy = kernel("fill.cu", "fill_dummy", ROW_THREADS, 0, LONG, LONG, LONG, FLOAT);
        this.matvec = kernel("matvec.cu", "matvec", NARROW_THREADS, 0, LONG, LONG, LONG, LONG, INT, INT, INT);
        this.matvecNorm = narrowWithNorm("matvec_norm");
        this.matvecNormSilu = narrowWithNorm("matvec_norm_silu");
        this.matvecNormLogits = narrowWithNorm("matvec_norm_logits");
        this.decodeFew = decodeKernels(modules);
        this.decodeMany = wideModules.isEmpty() ? decodeFew : decodeKernels(wideModules);
        this.prefill = Prefill.of(context.info(), shape.headDim());
        List<Parameter> prefillParameters = new ArrayList<>(List.of(LONG, LONG, LONG, LONG));
        if (prefill.isHopper) {
            prefillParameters.add(TENSOR_MAP);
        }
        prefillParameters.addAll(List.of(LONG, INT, LONG, LONG, LONG, LONG));
        if (prefill.isHopper) {
            prefillParameters.addAll(List.of(LONG, LONG, INT, INT, INT));
        }
        prefillParameters.addAll(List.of(INT, INT, INT, FLOAT, INT));
        this.pagedPrefill = kernel(
                prefill.file,
                prefill.kernel,
                prefill.threads,
                prefill.sharedBytes,
                prefillParameters.toArray(Parameter[]::new));
        this.mergePrefill = prefill.isHopper
                ? kernel(prefill.file, "merge_prefill", ROW_THREADS, 0, LONG, LONG, LONG, LONG, LONG, INT, INT)
                : null;
    }

    private Map<String, Integer> macros(int splitTokens) {
        return Map.of("HEAD_DIM", shape.headDim(), "SPLIT_TOKENS", splitTokens, "DECODE_STAGES", decode.stages);
    }

    /// Decode attention for one size of its items.
    ///
    /// @param merge what puts parts of a sequence together, if that is a kernel of its own
    private record DecodeKernels(Kernel attend, @Nullable Kernel merge) {}

    private DecodeKernels decodeKernels(Map<String, KernelModule> from) {
        Kernel attend = kernel(
                from,
                decode.file,
                decode.kernel,
                decode.threads,
                decode.sharedBytes,
                LONG,
                LONG,
                LONG,
                LONG,
                LONG,
                INT,
                LONG,
                LONG,
                LONG,
                LONG,
                LONG,
                LONG,
                INT,
                INT,
                INT,
                INT,
                FLOAT,
                INT);
        Kernel merge = decode.mergesApart
                ? kernel(
                        from,
                        decode.file,
                        "merge_decode",
                        MERGE_THREADS,
                        0,
                        LONG,
                        LONG,
                        LONG,
                        LONG,
                        LONG,
                        INT,
                        INT,
                        INT,
                        INT)
                : null;
        return new DecodeKernels(attend, merge);
    }

    /// The kernel for decoding that suits a device and heads.
    ///
    /// @param stages tiles that a thread block has under way (`docs/gpu-log.md`)
    /// @param mergesApart whether the parts of a sequence are put together by a kernel of their own
    private record Decode(String file, String kernel, int threads, int stages, int sharedBytes, boolean mergesApart) {
        private static final int HOPPER = 9;
        /// What a thread block can have where a multiprocessor holds two, less what is not dynamic.
        private static final int HALF_SHARED_BYTES = 110 << 10;

        static Decode of(DeviceInfo device, AttentionShape shape) {
            int headDim = shape.headDim();
            int group = shape.heads() / shape.kvHeads();
            if (device.major() == HOPPER && (headDim == 64 || headDim == 128)) {
                int stages = bulkSharedBytes(3, headDim, group) <= HALF_SHARED_BYTES ? 3 : 2;
                return new Decode(
                        "attention_decode_sm90.cu",
                        "paged_decode_sm90",
                        192,
                        stages,
                        bulkSharedBytes(stages, headDim, group),
                        true);
            }
            int stages = 2;
            int rows = stages * 128 * (headDim + SHARED_PADDING) * Short.BYTES;
            return new Decode(
                    "attention_decode.cu", "paged_decode", 160, stages, rows + group * (18 * headDim + 16), false);
        }

        private static int bulkSharedBytes(int stages, int headDim, int group) {
            return stages * (256 * headDim + 128) + group * 24 * headDim;
        }
    }

    /// The kernel for prompts that suits a device and a head size.
    ///
    /// @param rows query rows that a thread block does at a time
    /// @param isHopper whether thread blocks do one item after the other, several can share a context, and pages
    ///     are read by tensor maps
    private record Prefill(String file, String kernel, int threads, int rows, int sharedBytes, boolean isHopper) {
        private static final int HOPPER = 9;

        static Prefill of(DeviceInfo device, int headDim) {
            return device.major() == HOPPER && (headDim == 64 || headDim == 128)
                    ? new Prefill(
                            "attention_prefill_sm90.cu",
                            "paged_prefill_sm90",
                            384,
                            128,
                            1024 + (128 + 4 * 128) * headDim * Short.BYTES,
                            true)
                    : new Prefill(
                            "attention_prefill.cu",
                            "paged_prefill",
                            128,
                            64,
                            4 * 64 * (headDim + SHARED_PADDING) * Short.BYTES,
                            false);
        }
    }

    /// Whether the kernels can do these heads.
    public static boolean supports(AttentionShape shape) {
        return shape.headDim() % HEAD_DIM_STEP == 0
                && shape.headDim() <= MAX_HEAD_DIM
                && shape.heads() <= MAX_GROUP * shape.kvHeads();
    }

    private static void check(AttentionShape shape) {
        if (shape.headDim() % HEAD_DIM_STEP != 0 || shape.headDim() > MAX_HEAD_DIM) {
            throw new TensorException("the GPU's kernels need heads of a multiple of " + HEAD_DIM_STEP
                    + " dimensions up to " + MAX_HEAD_DIM + "; the model's have " + shape.headDim());
        }
        if (shape.heads() > MAX_GROUP * shape.kvHeads()) {
            throw new TensorException("the GPU's kernels need at most " + MAX_GROUP
                    + " query heads a key head; the model has " + shape.heads() + " and " + shape.kvHeads());
        }
    }

    private static long slots(int maxSequences, int maxTokens, int splitTokens) {
        return (long) maxSequences * Math.ceilDiv(maxTokens, splitTokens);
    }

    /// The smallest split, in powers of two, whose scratch memory stays within bounds.
    ///
    /// @throws TensorException if none does that the kernel takes
    static int splitTokens(AttentionShape shape, int maxSequences, int maxTokens) {
        int split = SPLIT_TOKENS;
        while (split < maxTokens
                && (slots(maxSequences, maxTokens, split) > MAX_SLOTS
                        || slots(maxSequences, maxTokens, split) * shape.outSize() * Float.BYTES > MAX_PARTIAL_BYTES)) {
            split *= 2;
        }
        if (split > MAX_SPLIT_TOKENS) {
            throw new TensorException("decode attention of " + maxSequences + " sequences of up to " + maxTokens
                    + " tokens wants more scratch memory than " + (MAX_PARTIAL_BYTES >> 20)
                    + " MiB: lower --max-num-seqs or --max-model-len");
        }
        return split;
    }

    private Kernel kernel(String file, String name, int threads, int sharedBytes, Parameter... parameters) {
        return kernel(modules, file, name, threads, sharedBytes, parameters);
    }

    private static Kernel kernel(
            Map<String, KernelModule> from,
            String file,
            String name,
            int threads,
            int sharedBytes,
            Parameter... parameters) {
        KernelModule module = from.get(file);
        if (module == null) {
            throw new TensorException("no module " + file);
        }
        return module.kernel(name, new Kernel.Shape(threads, sharedBytes, true), List.of(parameters));
    }

    private Kernel narrowWithNorm(String name) {
        return kernel("matvec.cu", name, NARROW_THREADS, 0, LONG, LONG, FLOAT, LONG, LONG, INT, INT, INT);
    }

    /// What all work is given to.
    public Stream stream() {
        return stream;
    }

    /// The matrix products.
    public Blas blas() {
        return blas;
    }

    /// Takes the algorithms of products that an earlier start of a process with this device and library
    /// measured.
    public void restoreProducts() {
        keptProducts = cache.read(productsKey)
                .map(kept -> new String(kept, StandardCharsets.UTF_8))
                .orElse("");
        blas.restore(keptProducts);
    }

    /// Keeps the algorithms of products for later starts, with the restored ones of other models.
    public void keepProducts() {
        String choices = blas.choices();
        if (!choices.equals(keptProducts)) {
            cache.write(productsKey, choices.getBytes(StandardCharsets.UTF_8));
        }
    }

    /// Rows of a table: `out[i] = table[ids[i]]`. Ids that are not in the table give zeros.
    ///
    /// @param ids int `(rows)`; below 0 for what is at the complement in `chosen`
    /// @param chosen int, or 0 for none
    /// @param table `(tableRows, columns)`
    public void gather(long ids, long chosen, long table, long out, int rows, int columns, int tableRows) {
        embed.begin()
                .add(ids)
                .add(chosen)
                .add(table)
                .add(out)
                .add(columns)
                .add(tableRows)
                .launch(stream, rows, 1, 1);
    }

    /// What several GPUs have of each row, side by side: `out[row][rank] = parts[rank][row]`.
    ///
    /// @param parts f32 `(ranks, rows, columns)`, columns a multiple of 4
    /// @param out f32 `(rows, ranks, columns)`
    public void joinRanks(long parts, long out, int ranks, int rows, int columns) {
        int vectors = columns / FLOAT_VECTOR;
        joinRanks
                .begin()
                .add(parts)
                .add(out)
                .add(vectors)
                .launch(stream, Math.ceilDiv(vectors, ROW_THREADS), rows, ranks);
    }

    /// Root mean square normalisation of each row.
    public void rmsNorm(long in, long weight, long out, int rows, int columns, float epsilon) {
        rmsNorm.begin().add(in).add(weight).add(out).add(columns).add(epsilon).launch(stream, rows, 1, 1);
    }

    /// `residual += delta`, rounded, then the normalisation of that into `out`.
    public void addRmsNorm(long delta, long residual, long weight, long out, int rows, int columns, float epsilon) {
        addRmsNorm
                .begin()
                .add(delta)
                .add(residual)
                .add(weight)
                .add(out)
                .add(columns)
                .add(epsilon)
                .launch(stream, rows, 1, 1);
    }

    /// Where the rows of a step belong.
    ///
    /// @param positions int `(rows)`; below 0 is a row of padding, for which nothing is kept
    /// @param rowSequence int `(rows)`, the row's line of `blockTables`; 0 if row and line are the same
    /// @param blockTables int `(sequences, maxBlocks)`
    public record Rows(long positions, long rowSequence, long blockTables, int maxBlocks) {}

    /// Normalises the heads of queries and keys if there are weights for that, rotates them, and writes keys
    /// and values into the cache.
    ///
    /// @param qkv `(rows, heads + 2 kvHeads, headDim)`, changed in place
    /// @param queryNorm `(headDim)`, or 0 for none
    /// @param keyNorm `(headDim)`, or 0 for none
    /// @param rotary f32 `(positions, headDim)`: the cosines of half the dimensions, then their sines
    public void rotateAndStore(
            long qkv,
            long queryNorm,
            long keyNorm,
            float epsilon,
            long rotary,
            Rows rows,
            PagedKv kv,
            int layer,
            int numRows) {
        int lanes = Integer.highestOneBit(2 * (shape.headDim() / ROPE_VECTOR) - 1);
        int headsPerBlock = ROW_THREADS / lanes;
        rotateAndStore
                .begin()
                .add(qkv)
                .add(queryNorm)
                .add(keyNorm)
                .add(epsilon)
                .add(rotary)
                .add(rows.positions)
                .add(rows.rowSequence)
                .add(rows.blockTables)
                .add(rows.maxBlocks)
                .add(layerAddress(kv, layer))
                .add(blockElements(kv))
                .add(shape.heads())
                .add(shape.kvHeads())
                .add(kv.blockTokens())
                .launch(
                        stream,
                        numRows,
                        numRows >= MANY_ROWS ? 1 : Math.ceilDiv(shape.heads() + 2 * shape.kvHeads(), headsPerBlock),
                        1);
    }

    private static long layerAddress(PagedKv kv, int layer) {
        return kv.deviceAddress() + kv.keyOffsetBytes(0, layer, 0);
    }

    private static long blockElements(PagedKv kv) {
        return kv.blockBytes() / kv.dtype().bytes();
    }

    /// Attention of one query row a sequence over its cached keys and values.
    ///
    /// @param queries rows of [#rotateAndStore]'s result
    /// @param blockTables int `(sequences, maxBlocks)`
    /// @param contextTokens int `(sequences)`; 0 gives a row of zeros
    /// @param out `(sequences, heads, headDim)`
    /// @param windowTokens positions that a query sees; [AttentionShape#UNBOUNDED] for all
    public void decodeAttention(
            long queries,
            PagedKv kv,
            int layer,
            long blockTables,
            int maxBlocks,
            long contextTokens,
            long out,
            int sequences,
            int windowTokens) {
        DecodeKernels kernels = sequences >= MANY_SEQUENCES ? decodeMany : decodeFew;
        kernels.attend
                .begin()
                .add(queries)
                .add((long) shape.rowSize())
                .add(layerAddress(kv, layer))
                .add(blockElements(kv))
                .add(blockTables)
                .add(maxBlocks)
                .add(contextTokens)
                .add(out)
                .add((long) shape.outSize())
                .add(partial)
                .add(partialMeta)
                .add(counters)
                .add(sequences)
                .add(shape.heads())
                .add(shape.kvHeads())
                .add(kv.blockTokens())
                .add(shape.scale())
                .add(window(windowTokens))
                .launch(stream, 2 * context.info().multiprocessors(), 1, 1);
        if (kernels.merge != null) {
            kernels.merge
                    .begin()
                    .add(contextTokens)
                    .add(out)
                    .add((long) shape.outSize())
                    .add(partial)
                    .add(partialMeta)
                    .add(sequences)
                    .add(shape.heads())
                    .add(shape.kvHeads())
                    .add(window(windowTokens))
                    .launch(stream, shape.kvHeads(), sequences, 1);
        }
    }

    /// Sequences of several rows each, side by side.
    ///
    /// @param firstRow of the first sequence
    /// @param rows of all sequences
    /// @param maxRows most rows of one sequence
    /// @param maxContext most tokens of a sequence's context
    public record Prompts(int sequences, int firstRow, int rows, int maxRows, int maxContext) {
        /// No sequences.
        public static final Prompts NONE = new Prompts(0, 0, 0, 0, 0);
    }

    /// Causal attention of several query rows a sequence, the last of a sequence's context, over cached keys
    /// and values.
    ///
    /// @param queries row 0 of [#rotateAndStore]'s result
    /// @param queryStart int `(sequences + 1)`, the row at which each sequence begins
    /// @param out row 0 of the results
    public void prefillAttention(
            long queries,
            PagedKv kv,
            int layer,
            long blockTables,
            int maxBlocks,
            long queryStart,
            long contextTokens,
            long out,
            Prompts prompts,
            int windowTokens) {
        int tiles = Math.ceilDiv(prompts.maxRows, prefill.rows);
        int splits = splits(prompts, tiles, windowTokens);
        pagedPrefill
                .begin()
                .add(queries)
                .add((long) shape.rowSize())
                .add(layerAddress(kv, layer))
                .add(blockElements(kv));
        if (prefill.isHopper) {
            pagedPrefill.add(mapsOf(kv).map(layer));
        }
        pagedPrefill
                .add(blockTables)
                .add(maxBlocks)
                .add(queryStart)
                .add(contextTokens)
                .add(out)
                .add((long) shape.outSize());
        if (prefill.isHopper) {
            pagedPrefill.add(partial).add(partialMeta).add(splits).add(tiles).add(prompts.sequences);
        }
        pagedPrefill
                .add(shape.heads())
                .add(shape.kvHeads())
                .add(kv.blockTokens())
                .add(shape.scale())
                .add(window(windowTokens));
        if (prefill.isHopper) {
            int items = shape.heads() * tiles * splits * prompts.sequences;
            pagedPrefill.launch(stream, Math.min(items, context.info().multiprocessors()), 1, 1);
        } else {
            pagedPrefill.launch(stream, shape.heads(), tiles, prompts.sequences);
        }
        if (mergePrefill != null && splits > 1) {
            mergePrefill
                    .begin()
                    .add(partial)
                    .add(partialMeta)
                    .add(out)
                    .add((long) shape.outSize())
                    .add(queryStart)
                    .add(splits)
                    .add(shape.heads())
                    .launch(stream, prompts.rows, Math.ceilDiv(shape.heads(), ROW_THREADS / WARP), 1);
        }
    }

    private KvMaps mapsOf(PagedKv kv) {
        KvMaps maps = kvMaps;
        if (maps == null || !maps.areOf(kv)) {
            if (maps != null) {
                maps.close();
            }
            kvMaps = null;
            maps = new KvMaps(context, kv, MAPPED_ELEMENTS, MAPPED_TOKENS);
            kvMaps = maps;
        }
        return maps;
    }

    /// How many thread blocks share the context of a tile of rows: as many as the device has room for at once.
    /// A second round of them costs what they gain (`docs/gpu-log.md`).
    private int splits(Prompts prompts, int tiles, int windowTokens) {
        if (mergePrefill == null) {
            return 1;
        }
        int seen = windowTokens == AttentionShape.UNBOUNDED
                ? prompts.maxContext
                : Math.min(prompts.maxContext, windowTokens + prefill.rows);
        int room = context.info().multiprocessors() / (shape.heads() * tiles * prompts.sequences);
        long slotsEach = slots / (prompts.firstRow + prompts.rows);
        return Math.clamp(Math.min(room, Math.min(slotsEach, seen / LEAST_SHARED_TOKENS)), 1, MAX_SPLITS);
    }

    private static int window(int windowTokens) {
        return windowTokens == AttentionShape.UNBOUNDED ? 0 : windowTokens;
    }

    /// `silu(gate) * up` of rows `(gate, up)`.
    public void siluMultiply(long gateUp, long out, int rows, int intermediate) {
        siluMultiply
                .begin()
                .add(gateUp)
                .add(out)
                .add(intermediate)
                .launch(stream, Math.ceilDiv(intermediate, SILU_COLUMNS), rows, 1);
    }

    /// `out = residual + in weights^T` for at most [#NARROW_ROWS] rows.
    ///
    /// @param weights `(outputs, inputs)`
    /// @param residual `(rows, outputs)`, may be `out`; 0 for none
    public void narrowProduct(long in, long weights, long residual, long out, int rows, int outputs, int inputs) {
        matvec.begin()
                .add(in)
                .add(weights)
                .add(residual)
                .add(out)
                .add(rows)
                .add(outputs)
                .add(inputs)
                .launch(stream, Math.ceilDiv(outputs, NARROW_OUTPUTS), 1, 1);
    }

    /// The root mean square normalisation in front of a product of few rows.
    ///
    /// @param weight address of `(inputs)`; 0 for none
    public record Norm(long weight, float epsilon) {
        /// What is normalised already.
        public static final Norm NONE = new Norm(0, 0);
    }

    /// `out = norm(in) weights^T` for at most [#NARROW_ROWS] rows.
    public void narrowProduct(long in, Norm norm, long weights, long out, int rows, int outputs, int inputs) {
        narrow(matvecNorm, NARROW_OUTPUTS, in, norm, weights, out, rows, outputs, inputs);
    }

    /// `out = silu(gate) * up` of `(gate, up) = norm(in) weights^T` for at most [#NARROW_ROWS] rows.
    ///
    /// @param weights `(2 outputs, inputs)`, those of the gates first
    public void narrowSiluProduct(long in, Norm norm, long weights, long out, int rows, int outputs, int inputs) {
        narrow(matvecNormSilu, NARROW_GATES, in, norm, weights, out, rows, outputs, inputs);
    }

    /// `out = norm(in) weights^T` in f32 for at most [#NARROW_ROWS] rows.
    public void narrowLogits(long in, Norm norm, long weights, long out, int rows, int outputs, int inputs) {
        narrow(matvecNormLogits, NARROW_OUTPUTS, in, norm, weights, out, rows, outputs, inputs);
    }

    private void narrow(
            Kernel kernel,
            int outputsPerBlock,
            long in,
            Norm norm,
            long weights,
            long out,
            int rows,
            int outputs,
            int inputs) {
        kernel.begin()
                .add(in)
                .add(norm.weight)
                .add(norm.epsilon)
                .add(weights)
                .add(out)
                .add(rows)
                .add(outputs)
                .add(inputs)
                .launch(stream, Math.ceilDiv(outputs, outputsPerBlock), 1, 1);
    }

    /// The likeliest token of each row, the lowest of several; -1 for a row with NaN or infinities.
    ///
    /// @param logits f32 `(rows, vocab)`
    /// @param tokens int `(rows)`
    public void argmax(long logits, long tokens, int rows, int vocab) {
        argmax.begin().add(logits).add(tokens).add(vocab).launch(stream, rows, 1, 1);
    }

    /// Where what [#sample] works on lies on the device.
    ///
    /// @param choices `(choices)`, as [CudaSampler] writes them
    /// @param masks int `(lines, 2 ceil(vocab / 64))`
    /// @param biasedTokens int
    /// @param biases f32
    /// @param counts int `(lines, vocab)`
    /// @param adjusted f32 `(choices, vocab)`, overwritten
    /// @param states zero before and after
    record Sampling(
            long choices, long masks, long biasedTokens, long biases, long counts, long adjusted, long states) {}

    /// Chooses tokens of some rows of logits.
    ///
    /// @param logits f32 `(rows, vocab)`
    /// @param tokens int `(rows)`; only those of the chosen rows are written
    void sample(Sampling at, int choices, long logits, long tokens, int vocab) {
        int chunks = Math.ceilDiv(vocab, SAMPLED_CHUNK);
        sampleAdjust
                .begin()
                .add(at.choices)
                .add(logits)
                .add(at.adjusted)
                .add(at.states)
                .add(at.masks)
                .add(at.biasedTokens)
                .add(at.biases)
                .add(at.counts)
                .add(vocab)
                .launch(stream, chunks, choices, 1);
        sampleWeigh
                .begin()
                .add(at.choices)
                .add(at.adjusted)
                .add(at.states)
                .add(vocab)
                .launch(stream, chunks, choices, 1);
        sampleDraw
                .begin()
                .add(at.choices)
                .add(at.adjusted)
                .add(at.states)
                .add(at.counts)
                .add(tokens)
                .add(vocab)
                .launch(stream, choices, 1, 1);
    }

    /// Counts a sequence's tokens in a line that is zero before.
    ///
    /// @param tokens int `(numTokens)`, the prompt's first
    /// @param counts int `(vocab)`
    void countTokens(long tokens, int numTokens, int promptTokens, long counts, int vocab) {
        countTokens
                .begin()
                .add(tokens)
                .add(numTokens)
                .add(promptTokens)
                .add(counts)
                .add(vocab)
                .launch(stream, Math.clamp(Math.ceilDiv(numTokens, ROW_THREADS), 1, COUNTING_BLOCKS), 1, 1);
    }

    /// Fills with bf16 numbers between `-scale` and `scale` that depend on seed and index alone.
    public void fillDummy(long out, long count, long seed, float scale) {
        fillDummy.begin().add(out).add(count).add(seed).add(scale).launch(stream, FILL_BLOCKS, 1, 1);
    }

    @Override
    public void close() {
        if (kvMaps != null) {
            kvMaps.close();
        }
        blas.close();
        memory.close();
        modules.values().forEach(KernelModule::close);
        wideModules.values().forEach(KernelModule::close);
        stream.close();
    }
}
