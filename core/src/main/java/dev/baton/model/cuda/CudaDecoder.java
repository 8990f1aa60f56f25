package dev.baton.model.cuda;

import dev.baton.model.ForwardBatch;
import dev.baton.model.ModelConfig;
import dev.baton.model.ModelException;
import dev.baton.model.TokenChoices;
import dev.baton.model.cuda.CudaLayer.Weight;
import dev.baton.model.decoder.DecoderSpec;
import dev.baton.tensor.DType;
import dev.baton.tensor.PagedKv;
import dev.baton.tensor.Quantization;
import dev.baton.tensor.cpu.AttentionShape;
import dev.baton.tensor.cpu.RotaryTable;
import dev.baton.tensor.cuda.CudaBlocks;
import dev.baton.tensor.cuda.CudaOps;
import dev.baton.tensor.cuda.CudaSampler;
import dev.baton.tensor.cuda.RankLinks;
import dev.baton.tensor.cuda.RankSums;
import dev.baton.tensor.cuda.checked.Cuda;
import dev.baton.tensor.cuda.owned.Blas;
import dev.baton.tensor.cuda.owned.Context;
import dev.baton.tensor.cuda.owned.DeviceInfo;
import dev.baton.tensor.cuda.owned.DeviceMemory;
import dev.baton.tensor.cuda.owned.Event;
import dev.baton.tensor.cuda.owned.Graph;
import dev.baton.tensor.cuda.owned.PinnedMemory;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.BooleanSupplier;
import java.util.function.Consumer;
import java.util.function.Function;
import java.util.function.IntConsumer;
import java.util.function.Predicate;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// A decoder-only transformer of any family that a [DecoderSpec] can describe, on one NVIDIA GPU in bf16: a
/// whole one, or the [Shard] of one of several GPUs that compute together. Those have the same residual stream
/// and, at the end of a step, the same logits, all of them.
///
/// A step in which every sequence has one token is one graph, recorded for a number of sequences to which
/// smaller steps are padded; inputs go to the device in one copy in front of it, tokens to the host in one
/// behind it. Steps with prompts are launched kernel by kernel. A step may be launched before the one in front
/// of it has ended: what the host writes and reads there is in two [Side]s. In the last layer only the rows
/// whose logits are wanted go on after their keys and values are written.
///
/// Unlike on the CPU, a row's last bits depend on the number of rows of its step, since the fastest product
/// differs.
///
/// Used from one thread at a time; loading it and using it may be different threads. Owns the device's context,
/// weights and buffers.
public final class CudaDecoder implements CudaModel {
    private static final Logger LOG = LoggerFactory.getLogger(CudaDecoder.class);
    private static final String BUFFERS = "the buffers of a step";
    private static final String PROMPT_LOGITS = "the log-probabilities of a prompt";

    /// Layers whose weights are taken in turn while products are measured: together larger than the device's
    /// cache.
    private static final int MEASURED_LAYERS = 8;

    private static final int MEASURED_LAYERS_OF_CHUNKS = 2;
    private static final int FIRST_PROMPT_TOKENS = 16;
    private static final long MEASURE_SEED = 7;
    private static final int MEASURED_RUNS = 5;
    /// What is as fast alone is slower among the others, which the library's kernels overlap better with.
    private static final float CLEARLY_FASTER = 0.97f;

    private final ModelConfig config; // of the whole model
    private final int intermediate; // this GPU's
    private final int headTokens; // rows of the head that are this GPU's
    private final CudaOptions options;
    private final Context context;
    private final @Nullable RankLinks links; // with the other GPUs, if there are some
    private final @Nullable RankSums sums; // the same
    private final AttentionShape shape;
    private final List<AutoCloseable> owned = new ArrayList<>();
    private final CudaOps ops;
    private final Cuda.MemoryInfo memoryBefore; // anything was loaded
    private final DeviceMemory memory;
    private final Map<String, String> fingerprint;

    private final long embedding; // (vocab, hidden)
    private final CudaLayer[] layers; // (layers)
    private final long finalNorm; // (hidden)
    private final Weight lmHead; // (headTokens, hidden)
    private final long rotary; // f32 (maxModelLen, headDim)
    private final boolean hasBias;
    private final Blas.Form qkvForm;
    private final Blas.Form outForm;
    private final Blas.Form gateUpForm;
    private final Blas.Form downForm;
    private final Blas.Form logitsForm;
    /// Whether each of several GPUs computes all logits by itself, and so must come to the same bits: by the library's
    /// own choice of algorithm, as what is fastest is measured on each of them.
    private final boolean isHeadRepeated;

    private final int maxRows;
    private final List<Side> sides;
    private final long deviceInputs;
    private final long hidden; // (rows, hidden), the residual stream
    private final long normed; // (rows, hidden)
    private final long delta; // (rows, hidden), where there are several GPUs; else 0
    private final long qkv; // (rows, heads + 2 kvHeads, headDim)
    private final long attended; // (rows, max(heads headDim, hidden))
    private final long gateUp; // (rows, 2, intermediate)
    private final long activated; // (rows, intermediate)
    private final long stepLogits; // f32 (maxNumSeqs, vocab)
    private final long stepParts; // f32 (ranks, rows, headTokens) if the head is divided, else 0
    private final int stepLogitsRows;
    private final long tokens; // int (rows)
    private final CudaSampler sampler;
    private final PinnedMemory hostRow; // f32 (vocab)

    private final Map<Integer, NarrowProducts> narrowProducts = new TreeMap<>(); // by rows
    private final Map<Integer, Graph> graphs = new TreeMap<>();
    private @Nullable PagedKv graphsOf;
    private @Nullable DeviceMemory promptLogits;
    private int promptLogitsRows;
    private long promptLogitsAddress;
    private long promptParts; // as stepParts
    private long logits; // those of the last step
    private int numLaunched;
    private int numAwaited;
    private boolean isAlone; // what the other GPUs have is not added up: nothing that comes of it counts
    private final List<Event> layerMarks; // (layers)
    private boolean areLayersMarked; // in the step with prompts that is under way
    private IntConsumer layerWritten = _ -> {};
    private BooleanSupplier isLayerWanted = () -> false;

    /// What belongs to one of two steps that may be under way.
    ///
    /// @param inputs what goes to the device
    /// @param tokens int (rows), what comes from there
    private record Side(PinnedMemory memory, StepInputs inputs, PinnedMemory tokens, Event begun, Event ended) {}

    /// Where the weights come from, once there is a device to bring them to.
    @FunctionalInterface
    interface Source {
        WeightSource open(CudaOps ops, Staging staging);
    }

    /// Loads a model, or this GPU's part of it.
    ///
    /// @param context current on this thread; closed with the model, or if this throws
    /// @param links closed with the model, or if this throws; null for a whole model
    /// @throws ModelException if the GPU's memory is too small
    static CudaDecoder load(
            ModelConfig config,
            DecoderSpec spec,
            CudaOptions options,
            Shard shard,
            Context context,
            @Nullable RankLinks links,
            Source source) {
        List<AutoCloseable> owned = new ArrayList<>(List.of(context));
        if (links != null) {
            owned.add(links);
        }
        try {
            return new CudaDecoder(config, spec, options, shard, context, links, source, owned);
        } catch (RuntimeException | Error e) {
            if (links != null) {
                links.abort(); // the others may wait for this one
            }
            closeAll(owned);
            throw e;
        }
    }

    private CudaDecoder(
            ModelConfig config,
            DecoderSpec spec,
            CudaOptions options,
            Shard shard,
            Context context,
            @Nullable RankLinks links,
            Source source,
            List<AutoCloseable> opened) {
        this.config = config;
        this.options = options;
        this.context = context;
        this.links = links;
        ModelConfig part = shard.of(config);
        Span head = shard.logits(config);
        this.intermediate = part.intermediateSize();
        this.headTokens = head.count();
        this.shape = new AttentionShape(
                part.numHeads(), part.numKvHeads(), config.headDim(), (float) (1.0 / Math.sqrt(config.headDim())));
        this.memoryBefore = context.memory();
        ModelSize.of(config, spec, options).requireRoom(memoryBefore);
        long start = System.nanoTime();
        this.ops = keep(
                opened,
                new CudaOps(
                        context,
                        shape,
                        BatchSizes.decode(options.maxNumSeqs()),
                        options.maxModelLen(),
                        options.environment()));
        this.sums = links == null
                ? null
                : keep(opened, new RankSums(context, links, config.hiddenSize(), options.environment()));
        long compiled = System.nanoTime();
        this.memory = keep(opened, new DeviceMemory(context));
        int hiddenSize = config.hiddenSize();
        this.layers = new CudaLayer[config.numLayers()];
        Staging staging = new Staging(context, ops);
        try (WeightSource weights = source.open(ops, staging)) {
            WeightLoader loader = new WeightLoader(weights, staging, memory);
            this.embedding = loader.table("model.embed_tokens", Span.whole(config.vocabSize()), hiddenSize);
            for (int i = 0; i < layers.length; i++) {
                layers[i] = CudaLayer.load(config, spec, i, shard, loader);
            }
            this.finalNorm = loader.vector("model.norm", hiddenSize);
            this.lmHead = new Weight(
                    config.tieWordEmbeddings()
                            ? embedding + (long) head.first() * hiddenSize * Short.BYTES
                            : loader.table("lm_head", head, hiddenSize),
                    0);
            this.rotary = rotaryTable(staging);
            this.fingerprint = spec.fingerprint(config, DType.BF16, loader.digest(), Quantization.NONE);
        }
        long loaded = System.nanoTime();
        this.hasBias = spec.queryKeyValueBias() || spec.attentionOutBias() || spec.mlpBias();
        boolean isWhole = links == null;
        this.qkvForm = new Blas.Form(hiddenSize, shape.rowSize(), false, spec.queryKeyValueBias(), false);
        this.outForm = new Blas.Form(shape.outSize(), hiddenSize, false, spec.attentionOutBias(), isWhole);
        this.gateUpForm = new Blas.Form(hiddenSize, 2 * intermediate, false, spec.mlpBias(), false);
        this.downForm = new Blas.Form(intermediate, hiddenSize, false, spec.mlpBias(), isWhole);
        this.logitsForm = new Blas.Form(hiddenSize, headTokens, true, false, false);
        this.isHeadRepeated = links != null && head.isWhole();

        this.maxRows = BatchSizes.rows(Math.max(options.maxNumBatchedTokens(), options.maxNumSeqs()));
        int sequences = BatchSizes.decode(options.maxNumSeqs());
        long inputBytes = new StepLayout(maxRows, sequences, maxRows, options.maxBlocks()).bytes();
        this.sides = List.of(side(opened, inputBytes), side(opened, inputBytes));
        this.layerMarks = IntStream.range(0, config.numLayers())
                .mapToObj(_ -> keep(opened, new Event(context)))
                .toList();
        this.deviceInputs = memory.allocate(inputBytes, BUFFERS);
        this.hidden = buffer(hiddenSize);
        this.normed = buffer(hiddenSize);
        this.delta = links == null ? 0 : buffer(hiddenSize);
        this.qkv = buffer(shape.rowSize());
        this.attended = buffer(Math.max(shape.outSize(), hiddenSize));
        this.gateUp = buffer(2 * intermediate);
        this.activated = buffer(intermediate);
        this.stepLogitsRows = BatchSizes.rows(options.maxNumSeqs());
        this.stepLogits = memory.allocate((long) stepLogitsRows * rowBytes(), BUFFERS);
        this.stepParts = head.isWhole() ? 0 : memory.allocate((long) stepLogitsRows * rowBytes(), BUFFERS);
        this.logits = stepLogits;
        this.tokens = memory.allocate((long) maxRows * Integer.BYTES, BUFFERS);
        this.sampler = keep(
                opened,
                new CudaSampler(
                        context,
                        ops,
                        options.maxNumSeqs(),
                        TokenChoices.MAX_BIASES,
                        options.maxModelLen(),
                        config.vocabSize()));
        this.hostRow = keep(opened, new PinnedMemory(context, rowBytes()));
        ops.restoreProducts();
        measureProducts();
        ops.keepProducts();
        ops.stream().synchronize();
        this.owned.addAll(opened);
        long measured = System.nanoTime();
        LOG.info(
                "Kernels ready in {} ms, weights in {} ms, products measured in {} ms",
                millis(compiled - start),
                millis(loaded - compiled),
                millis(measured - loaded));
    }

    private Side side(List<AutoCloseable> opened, long inputBytes) {
        PinnedMemory memory = keep(opened, new PinnedMemory(context, inputBytes));
        memory.segment().fill((byte) 0);
        return new Side(
                memory,
                new StepInputs(memory.segment(), maxRows, options.blockTokens()),
                keep(opened, new PinnedMemory(context, (long) maxRows * Integer.BYTES)),
                keep(opened, new Event(context)),
                keep(opened, new Event(context)));
    }

    private static <T extends AutoCloseable> T keep(List<AutoCloseable> opened, T resource) {
        opened.add(resource);
        return resource;
    }

    private static long millis(long nanos) {
        return Duration.ofNanos(nanos).toMillis();
    }

    private long buffer(int columns) {
        return memory.allocate((long) maxRows * columns * Short.BYTES, BUFFERS);
    }

    private long rowBytes() {
        return (long) config.vocabSize() * Float.BYTES;
    }

    private long rotaryTable(Staging staging) {
        RotaryTable table = new RotaryTable(
                config.ropeScaling().inverseFrequencies(config.ropeTheta(), config.headDim()),
                config.ropeScaling().attentionFactor());
        int columns = config.headDim();
        float[] row = new float[columns];
        long bytes = (long) options.maxModelLen() * columns * Float.BYTES;
        long address = memory.allocate(bytes, "the table of rotary embeddings");
        staging.copy(address, bytes, (buffer, offset) -> {
            long first = offset / Float.BYTES;
            for (long i = 0; i < buffer.byteSize() / Float.BYTES; i++) {
                int column = (int) ((first + i) % columns);
                if (column == 0 || i == 0) {
                    table.copyRow((int) ((first + i) / columns), row);
                }
                buffer.setAtIndex(ValueLayout.JAVA_FLOAT, i, row[column]);
            }
        });
        return address;
    }

    /// Finds the fastest product for each size, on numbers like those that will come.
    private void measureProducts() {
        ops.fillDummy(hidden, (long) maxRows * config.hiddenSize(), MEASURE_SEED, 1);
        ops.fillDummy(normed, (long) maxRows * config.hiddenSize(), MEASURE_SEED, 1);
        ops.fillDummy(attended, (long) maxRows * shape.outSize(), MEASURE_SEED, 1);
        ops.fillDummy(activated, (long) maxRows * intermediate, MEASURE_SEED, 1);
        for (int rows : BatchSizes.allDecode(options.maxNumSeqs())) {
            measureLayerProducts(rows, MEASURED_LAYERS);
            if (!isHeadRepeated) {
                ops.blas().measure(ops.stream(), logitsForm, rows, List.of(lmHead.matrix()), 0, normed, stepLogits);
            }
        }
        for (int rows : BatchSizes.allDecode(Math.min(options.maxNumSeqs(), CudaOps.NARROW_ROWS))) {
            if (!hasBias) {
                narrowProducts.put(rows, measureNarrow(rows));
            }
        }
        for (int rows : BatchSizes.measuredChunks(maxRows)) {
            measureLayerProducts(rows, MEASURED_LAYERS_OF_CHUNKS);
        }
    }

    /// Compares each product and what stands around it with the kernels for few rows.
    private NarrowProducts measureNarrow(int rows) {
        Residual settled = new Residual(hidden, rows);
        Residual summed = new Residual(hidden, rows);
        Predicate<Consumer<Boolean>> isFaster =
                work -> millis(() -> work.accept(true)) < CLEARLY_FASTER * millis(() -> work.accept(false));
        NarrowProducts faster = new NarrowProducts(
                isFaster.test(narrow -> eachMeasured(layer -> queriesKeysValues(layer, settled, narrow))),
                isFaster.test(narrow -> eachMeasured(layer -> {
                    addOwn(outForm, layer.attentionOut(), attended, summed, narrow);
                    summed.normalise(layer.mlpNorm());
                })),
                isFaster.test(narrow -> eachMeasured(layer -> activate(layer, settled, narrow))),
                isFaster.test(narrow -> eachMeasured(layer -> {
                    addOwn(downForm, layer.down(), activated, summed, narrow);
                    summed.normalise(layer.inputNorm());
                })),
                !isHeadRepeated && isFaster.test(narrow -> ownLogits(settled, stepLogits, narrow)));
        LOG.info("Steps of {}: faster than cuBLAS are {}", rows, faster);
        return faster;
    }

    private void eachMeasured(Consumer<CudaLayer> work) {
        for (int i = 0; i < Math.min(MEASURED_LAYERS, layers.length); i++) {
            work.accept(layers[i]);
        }
    }

    /// The shortest time that work on the device takes.
    private float millis(Runnable work) {
        float fastest = Float.POSITIVE_INFINITY;
        try (Graph graph = ops.stream().capture(work);
                Event start = new Event(context);
                Event end = new Event(context)) {
            for (int round = 0; round < MEASURED_RUNS; round++) {
                start.record(ops.stream());
                graph.launch(ops.stream());
                end.record(ops.stream());
                end.synchronize();
                fastest = Math.min(fastest, end.millisSince(start));
            }
        }
        return fastest;
    }

    private void measureLayerProducts(int rows, int numLayers) {
        measure(qkvForm, rows, numLayers, CudaLayer::qkv, normed, qkv);
        long sum = links == null ? hidden : delta;
        measure(outForm, rows, numLayers, CudaLayer::attentionOut, attended, sum);
        measure(gateUpForm, rows, numLayers, CudaLayer::gateUp, normed, gateUp);
        measure(downForm, rows, numLayers, CudaLayer::down, activated, sum);
    }

    private void measure(
            Blas.Form form, int rows, int numLayers, Function<CudaLayer, Weight> weight, long input, long result) {
        List<Long> matrices = new ArrayList<>();
        for (int i = 0; i < Math.min(numLayers, layers.length); i++) {
            matrices.add(weight.apply(layers[i]).matrix());
        }
        long bias = weight.apply(layers[0]).bias();
        ops.blas().measure(ops.stream(), form, rows, matrices, bias, input, result);
    }

    @Override
    public ModelConfig config() {
        return config;
    }

    @Override
    public Map<String, String> fingerprint() {
        return fingerprint;
    }

    @Override
    public String backend() {
        DeviceInfo device = context.info();
        return "cuda, " + device.name() + " (" + device.architecture() + ", CUDA " + device.driverVersion()
                + "), bfloat16";
    }

    @Override
    public int kvBlocks(double utilization, long blockBytes) {
        context.makeCurrent();
        return ModelSize.kvBlocks(
                memoryBefore, context.memory(), context.allocatedBytes(), utilization, blockBytes, options.maxBlocks());
    }

    @Override
    public PagedKv allocateKv(int numBlocks, int blockTokens, DType dtype) {
        if (dtype != DType.BF16 || blockTokens != options.blockTokens()) {
            throw new ModelException("this model was loaded for a KV cache of " + DType.BF16.torchName()
                    + " in blocks of " + options.blockTokens() + " tokens, not of " + dtype.torchName()
                    + " in blocks of " + blockTokens);
        }
        context.makeCurrent();
        DeviceMemory pool = new DeviceMemory(context);
        return PagedKv.onDevice(
                numBlocks,
                config.numLayers(),
                shape.kvHeads(),
                blockTokens,
                config.headDim(),
                dtype,
                bytes -> pool.allocate(bytes, "the KV cache (--gpu-memory-utilization)"),
                () -> release(pool),
                kv -> CudaBlocks.open(context, kv, options.environment()));
    }

    private void release(DeviceMemory pool) {
        context.makeCurrent();
        dropGraphs();
        pool.close();
    }

    @Override
    public void prepare(PagedKv kv) {
        long start = System.nanoTime();
        recordGraphs(kv);
        LOG.info("{} graphs recorded in {} ms", graphs.size(), millis(System.nanoTime() - start));
        WarmUp.run(this, options, kv);
    }

    @Override
    public void recordGraphs(PagedKv kv) {
        dropGraphs();
        runByHand(kv);
        record(kv);
    }

    /// Steps without the other GPUs, so that no kernel's first launch is one behind which another rank waits:
    /// where ranks share a GPU, the driver could wait for that one.
    void runAlone(PagedKv kv) {
        if (sums != null) {
            context.makeCurrent();
            sums.launchEmpty(ops);
            isAlone = true;
            int prompt = Math.min(FIRST_PROMPT_TOKENS, Math.min(options.maxModelLen(), options.maxNumBatchedTokens()));
            WarmUp.step(this, options, new ForwardBatch(prompt, 1), new int[prompt], prompt, kv);
            WarmUp.step(this, options, new ForwardBatch(1, 1), new int[1], 1, kv);
            isAlone = false;
        }
    }

    /// A step without a graph, as a kernel's first launch may load it, which a recording cannot.
    void runByHand(PagedKv kv) {
        WarmUp.step(this, options, new ForwardBatch(1, 1), new int[1], 1, kv);
        meetOthers();
    }

    /// Records the decode steps.
    void record(PagedKv kv) {
        context.makeCurrent();
        logits = stepLogits;
        for (int size : BatchSizes.allDecode(options.maxNumSeqs())) {
            Graph graph = ops.stream().capture(() -> step(decodeStep(size), kv));
            graphs.put(size, graph);
            graph.upload(ops.stream());
        }
        graphsOf = kv;
    }

    /// Connects to the other GPUs for each size of a decode step, as what serves one need not serve another, and
    /// as it cannot be recorded.
    private void meetOthers() {
        if (sums != null) {
            logits = stepLogits;
            for (int size : BatchSizes.allDecode(options.maxNumSeqs())) {
                if (!sums.isFused(size, config.hiddenSize())) {
                    sums.allReduce(ops, delta, (long) size * config.hiddenSize());
                }
                gatherLogits(sums, size);
            }
            ops.stream().synchronize();
        }
    }

    void dropGraphs() {
        context.makeCurrent();
        graphs.values().forEach(Graph::close);
        graphs.clear();
        graphsOf = null;
    }

    /// What a step consists of.
    ///
    /// @param singles sequences with one row, which come first
    /// @param prompts the others
    /// @param lastRowsOnly whether each sequence has several rows, and wants the logits of its last one alone
    /// @param narrow what the kernels for few rows do
    private record Step(
            StepLayout layout, int singles, CudaOps.Prompts prompts, boolean lastRowsOnly, NarrowProducts narrow) {}

    private static boolean wantsLastRowsOnly(ForwardBatch batch) {
        boolean isSo = batch.numLogits() == batch.numSequences();
        for (int s = 0; isSo && s < batch.numSequences(); s++) {
            int last = batch.queryStart(s + 1) - 1;
            isSo = batch.logitsRow(s) == last && last > batch.queryStart(s);
        }
        return isSo;
    }

    /// Whether the queries of the wanted rows fit into a buffer that is free in the last layer.
    private boolean fitsBesideRows(StepLayout layout) {
        return (long) layout.wanted() * shape.rowSize() <= 2L * layout.rows() * intermediate;
    }

    private Step decodeStep(int size) {
        return new Step(
                new StepLayout(size, size, size, options.maxBlocks()),
                size,
                CudaOps.Prompts.NONE,
                false,
                narrowProducts.getOrDefault(size, NarrowProducts.NONE));
    }

    @Override
    public void onLayerWritten(IntConsumer listener, BooleanSupplier isWanted) {
        layerWritten = listener;
        isLayerWanted = isWanted;
    }

    @Override
    public void launch(ForwardBatch batch, PagedKv kv, TokenChoices choices) {
        context.makeCurrent();
        checkTokens(batch);
        Side side = sides.get(numLaunched++ & 1);
        side.begun.record(ops.stream());
        if (batch.numTokens() > 0) {
            launch(side, batch, kv);
        }
        if (batch.numLogits() > 0) {
            choose(choices);
            ops.stream().copyToHost(side.tokens.segment(), tokens, (long) batch.numLogits() * Integer.BYTES);
        }
        side.ended.record(ops.stream());
    }

    private void launch(Side side, ForwardBatch batch, PagedKv kv) {
        boolean isDecode = batch.numTokens() == batch.numSequences() && batch.numLogits() == batch.numSequences();
        int size = BatchSizes.decode(batch.numSequences());
        Graph graph = isDecode && kv == graphsOf ? graphs.get(size) : null;
        if (graph != null) {
            write(side, batch, decodeStep(size).layout);
            logits = stepLogits;
            graph.launch(ops.stream());
        } else {
            StepLayout layout =
                    new StepLayout(batch.numTokens(), batch.numSequences(), batch.numLogits(), options.maxBlocks());
            write(side, batch, layout);
            logits = logitsOf(batch.numLogits());
            areLayersMarked = isLayerWanted.getAsBoolean();
            step(
                    new Step(
                            layout,
                            side.inputs.singles(),
                            side.inputs.prompts(layout),
                            wantsLastRowsOnly(batch),
                            NarrowProducts.NONE),
                    kv);
        }
    }

    private void write(Side side, ForwardBatch batch, StepLayout layout) {
        side.inputs.write(batch, layout);
        ops.stream().copyToDevice(deviceInputs, side.memory.segment(), layout.bytes());
    }

    /// Chooses the tokens that are not simply the likeliest.
    private void choose(TokenChoices choices) {
        if (choices.size() == 0) {
            return;
        }
        sampler.begin();
        for (int i = 0; i < choices.size(); i++) {
            TokenChoices.Draw draw = choices.draw(i);
            sampler.add(choices.row(i), draw.temperature(), draw.topK(), draw.topP(), draw.minP(), choices.uniform(i));
            if (choices.isMasked(i)) {
                sampler.mask(choices.mask(i));
            }
            sampler.bias(choices.biasedTokens(i), choices.biases(i));
            if (choices.isPenalised(i)) {
                TokenChoices.Penalties penalties = choices.penalties(i);
                sampler.penalise(
                        penalties.repetition(),
                        penalties.frequency(),
                        penalties.presence(),
                        choices.sequence(i),
                        choices.tokens(i),
                        choices.numTokens(i),
                        choices.promptTokens(i));
            }
        }
        sampler.launch(logits, tokens);
    }

    @Override
    public void await() {
        if (areLayersMarked) { // a step with prompts, which is alone under way
            areLayersMarked = false;
            for (int i = 0; i < layers.length; i++) {
                layerMarks.get(i).synchronize();
                layerWritten.accept(i);
            }
        }
        sides.get(numAwaited++ & 1).ended.synchronize();
        if (links != null) {
            links.check();
        }
    }

    /// Layers that somebody wants to know of are waited for one by one, in [#await].
    @Override
    public boolean isAwaitDue() {
        return areLayersMarked || sides.get(numAwaited & 1).ended.isReached();
    }

    private Side awaited() {
        return sides.get((numAwaited + 1) & 1);
    }

    @Override
    public float deviceMillis() {
        Side side = awaited();
        return side.ended.millisSince(side.begun);
    }

    /// @throws ModelException if a token of a step is none of the model's
    void checkTokens(ForwardBatch batch) {
        for (int row = 0; row < batch.numTokens(); row++) {
            int token = batch.tokenId(row);
            boolean isNext = token < 0 && ~token < stepLogitsRows;
            if (!isNext && (token < 0 || token >= config.vocabSize())) {
                throw new ModelException("token " + token + " is not in the vocabulary of " + config.vocabSize());
            }
        }
    }

    /// Whether there is memory for so many rows of logits.
    boolean hasRoomFor(int rows) {
        return BatchSizes.rows(rows) <= Math.max(stepLogitsRows, promptLogitsRows);
    }

    /// Takes memory for so many rows of logits, if there is not enough.
    void makeRoomFor(int rows) {
        context.makeCurrent();
        logitsOf(rows);
    }

    /// Memory for so many rows of logits: that of decode steps, unless a prompt's log-probabilities need more.
    private long logitsOf(int rows) {
        int needed = BatchSizes.rows(rows);
        if (needed <= stepLogitsRows) {
            return stepLogits;
        }
        if (needed > promptLogitsRows) {
            if (promptLogits != null) {
                promptLogits.close();
            }
            promptLogitsRows = 0;
            promptLogits = new DeviceMemory(context);
            promptLogitsAddress = promptLogits.allocate(needed * rowBytes(), PROMPT_LOGITS);
            promptParts = stepParts == 0 ? 0 : promptLogits.allocate(needed * rowBytes(), PROMPT_LOGITS);
            promptLogitsRows = needed;
        }
        return promptLogitsAddress;
    }

    /// Gives a whole step to the stream, whose inputs are on the device: layers, logits, likeliest tokens.
    private void step(Step step, PagedKv kv) {
        StepLayout layout = step.layout;
        int hiddenSize = config.hiddenSize();
        ops.gather(
                deviceInputs + layout.tokens(),
                tokens,
                embedding,
                hidden,
                layout.rows(),
                hiddenSize,
                config.vocabSize());
        Residual residual = new Residual(hidden, layout.rows());
        for (int i = 0; i < layers.length; i++) {
            CudaLayer layer = layers[i];
            boolean isLast = i == layers.length - 1;
            queriesKeysValues(layer, residual, step.narrow.qkv());
            rotateAndStore(layer, i, layout, kv);
            if (areLayersMarked) {
                layerMarks.get(i).record(ops.stream());
            }
            if (isLast && layout.wanted() == 0) {
                return;
            }
            long attention = attended;
            boolean areAllWantedInOrder = layout.wanted() == layout.rows() && step.singles == layout.sequences();
            if (isLast && !areAllWantedInOrder) {
                long wanted = deviceInputs + layout.wantedRows();
                attention = qkv;
                if (step.lastRowsOnly && fitsBesideRows(layout)) {
                    // Their attention is that of decoding: one query a sequence, over all of its context.
                    ops.gather(wanted, 0, qkv, gateUp, layout.wanted(), shape.rowSize(), layout.rows());
                    decodeAttention(layer, i, layout, gateUp, qkv, layout.wanted(), kv);
                } else {
                    attention(layer, i, step, kv);
                    ops.gather(wanted, 0, attended, qkv, layout.wanted(), shape.outSize(), layout.rows());
                }
                ops.gather(wanted, 0, hidden, attended, layout.wanted(), hiddenSize, layout.rows());
                residual = new Residual(attended, layout.wanted());
            } else {
                attention(layer, i, step, kv);
            }
            add(outForm, layer.attentionOut(), attention, residual, step.narrow.attentionOut());
            activate(layer, residual, step.narrow.gateUp());
            add(downForm, layer.down(), activated, residual, step.narrow.down());
        }
        logits(residual, step.narrow.logits());
        ops.argmax(logits, tokens, residual.rows, config.vocabSize());
    }

    private void logits(Residual residual, boolean isNarrow) {
        if (links == null || sums == null || parts() == 0) {
            ownLogits(residual, logits, isNarrow);
        } else {
            ownLogits(residual, ownPart(links, residual.rows), isNarrow);
            gatherLogits(sums, residual.rows);
        }
    }

    /// The memory of all GPUs' parts of [#logits], as [#stepParts].
    private long parts() {
        return logits == stepLogits ? stepParts : promptParts;
    }

    private long ownPart(RankLinks all, int rows) {
        return parts() + (long) all.rank() * rows * headTokens * Float.BYTES;
    }

    /// Makes whole rows of what each GPU has of them.
    private void gatherLogits(RankSums all, int rows) {
        if (parts() != 0 && !isAlone) {
            all.allGather(ops, parts(), logits, rows, headTokens);
        }
    }

    /// The logits of the tokens that are this GPU's.
    private void ownLogits(Residual residual, long to, boolean isNarrow) {
        if (isNarrow) {
            Input input = residual.input(finalNorm);
            ops.narrowLogits(
                    input.address, input.norm, lmHead.matrix(), to, residual.rows, headTokens, config.hiddenSize());
        } else {
            residual.normalise(finalNorm);
            multiply(logitsForm, residual.rows, lmHead, normed, to);
        }
    }

    /// What a product of few rows reads, and the norm that is still to be applied to it.
    private record Input(long address, CudaOps.Norm norm) {}

    /// The residual stream of a step: rows, and perhaps a term in [#delta] that is still to be added to them, and
    /// perhaps to be added up with the other GPUs' before.
    private final class Residual {
        private final long address;
        private final int rows;
        private boolean isDeltaDue;
        private boolean isSumDue;

        Residual(long address, int rows) {
            this.address = address;
            this.rows = rows;
        }

        /// Writes the norm of the sum into [#normed].
        void normalise(long norm) {
            int columns = config.hiddenSize();
            if (isSumDue && sums != null) {
                sums.allReduceAddRmsNorm(ops, delta, address, norm, normed, rows, columns, config.rmsNormEps());
            } else if (isDeltaDue) {
                ops.addRmsNorm(delta, address, norm, normed, rows, columns, config.rmsNormEps());
            } else {
                ops.rmsNorm(address, norm, normed, rows, columns, config.rmsNormEps());
            }
            isDeltaDue = false;
            isSumDue = false;
        }

        /// What a product reads that can normalise by itself: the rows, or, if a term was due, what came of
        /// adding and normalising at once.
        Input input(long norm) {
            if (isDeltaDue) {
                normalise(norm);
                return new Input(normed, CudaOps.Norm.NONE);
            }
            return new Input(address, new CudaOps.Norm(norm, config.rmsNormEps()));
        }
    }

    private void queriesKeysValues(CudaLayer layer, Residual residual, boolean isNarrow) {
        if (isNarrow) {
            Input input = residual.input(layer.inputNorm());
            ops.narrowProduct(
                    input.address,
                    input.norm,
                    layer.qkv().matrix(),
                    qkv,
                    residual.rows,
                    shape.rowSize(),
                    config.hiddenSize());
        } else {
            residual.normalise(layer.inputNorm());
            multiply(qkvForm, residual.rows, layer.qkv(), normed, qkv);
        }
    }

    private void activate(CudaLayer layer, Residual residual, boolean isNarrow) {
        if (isNarrow) {
            Input input = residual.input(layer.mlpNorm());
            ops.narrowSiluProduct(
                    input.address,
                    input.norm,
                    layer.gateUp().matrix(),
                    activated,
                    residual.rows,
                    intermediate,
                    config.hiddenSize());
        } else {
            residual.normalise(layer.mlpNorm());
            multiply(gateUpForm, residual.rows, layer.gateUp(), normed, gateUp);
            ops.siluMultiply(gateUp, activated, residual.rows, intermediate);
        }
    }

    /// Adds a product to the residual stream, or leaves it as the term that is due. If there are several GPUs, the
    /// sum of theirs is due: added up already, or still to be.
    private void add(Blas.Form form, Weight weight, long input, Residual residual, boolean isNarrow) {
        addOwn(form, weight, input, residual, isNarrow);
        if (sums != null && !isAlone) {
            residual.isSumDue = sums.isFused(residual.rows, form.outputs());
            if (!residual.isSumDue) {
                sums.allReduce(ops, delta, (long) residual.rows * form.outputs());
            }
        }
    }

    private void addOwn(Blas.Form form, Weight weight, long input, Residual residual, boolean isNarrow) {
        boolean isSum = sums == null;
        long to = isSum ? residual.address : delta;
        if (isNarrow) {
            ops.narrowProduct(input, weight.matrix(), isSum ? to : 0, to, residual.rows, form.outputs(), form.inputs());
        } else {
            multiply(form, residual.rows, weight, input, to);
        }
        residual.isDeltaDue = !isSum;
    }

    private void rotateAndStore(CudaLayer layer, int index, StepLayout layout, PagedKv kv) {
        CudaOps.Rows rows = new CudaOps.Rows(
                deviceInputs + layout.positions(),
                deviceInputs + layout.rowSequence(),
                deviceInputs + layout.blockTables(),
                layout.maxBlocks());
        ops.rotateAndStore(
                qkv, layer.queryNorm(), layer.keyNorm(), config.rmsNormEps(), rotary, rows, kv, index, layout.rows());
    }

    private void attention(CudaLayer layer, int index, Step step, PagedKv kv) {
        StepLayout layout = step.layout;
        long tables = deviceInputs + layout.blockTables();
        long contexts = deviceInputs + layout.contextTokens();
        int singles = step.singles;
        if (singles > 0) {
            decodeAttention(layer, index, layout, qkv, attended, singles, kv);
        }
        if (step.prompts.sequences() > 0) {
            ops.prefillAttention(
                    qkv,
                    kv,
                    index,
                    tables + (long) singles * layout.maxBlocks() * Integer.BYTES,
                    layout.maxBlocks(),
                    deviceInputs + layout.queryStart() + (long) singles * Integer.BYTES,
                    contexts + (long) singles * Integer.BYTES,
                    attended,
                    step.prompts,
                    layer.windowTokens());
        }
    }

    /// Of one query a sequence, for the first sequences.
    private void decodeAttention(
            CudaLayer layer, int index, StepLayout layout, long queries, long result, int sequences, PagedKv kv) {
        ops.decodeAttention(
                queries,
                kv,
                index,
                deviceInputs + layout.blockTables(),
                layout.maxBlocks(),
                deviceInputs + layout.contextTokens(),
                result,
                sequences,
                layer.windowTokens());
    }

    private void multiply(Blas.Form form, int rows, Weight weight, long input, long result) {
        ops.blas().multiply(ops.stream(), form, BatchSizes.rows(rows), weight.matrix(), weight.bias(), input, result);
    }

    @Override
    public int token(int row) {
        return awaited().tokens.segment().getAtIndex(ValueLayout.JAVA_INT, row);
    }

    @Override
    public void copyRow(int row, float[] to, int offset) {
        ops.stream().copyToHost(hostRow.segment(), logits + row * rowBytes(), rowBytes());
        ops.stream().synchronize();
        MemorySegment.copy(hostRow.segment(), ValueLayout.JAVA_FLOAT, 0, to, offset, config.vocabSize());
    }

    /// Waits for all that was launched.
    void synchronize() {
        context.makeCurrent();
        context.synchronize();
    }

    @Override
    public void close() {
        List<AutoCloseable> all = new ArrayList<>(owned);
        all.add(() -> {
            if (promptLogits != null) {
                promptLogits.close();
            }
        });
        all.add(this::dropGraphs);
        all.add(this::synchronize);
        closeAll(all);
    }

    /// Closes what was opened, the last first.
    private static void closeAll(List<AutoCloseable> opened) {
        for (AutoCloseable resource : opened.reversed()) {
            try {
                resource.close();
            } catch (Exception e) {
                LOG.warn("a resource of the GPU could not be closed", e);
            }
        }
    }
}
