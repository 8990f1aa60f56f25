package dev.baton.tensor.cuda.check;

import dev.baton.tensor.DType;
import dev.baton.tensor.PagedKv;
import dev.baton.tensor.cpu.AttentionShape;
import dev.baton.tensor.cpu.CpuOps;
import dev.baton.tensor.cpu.Matrix;
import dev.baton.tensor.cpu.OpsChoice;
import dev.baton.tensor.cpu.RotaryTable;
import dev.baton.tensor.cpu.SequenceRows;
import dev.baton.tensor.cuda.CudaOps;
import dev.baton.tensor.cuda.CudaSampler;
import dev.baton.tensor.cuda.owned.Blas;
import dev.baton.tensor.cuda.owned.Context;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import java.util.stream.IntStream;

/// Every operation of [CudaOps] against the same of [CpuOps], which computes in f32 from the same bf16 numbers.
///
/// Used from one thread.
public final class KernelChecks {
    /// Of one rounding to bf16, and sums of another order.
    private static final double TOLERANCE = 8e-3;

    /// Of two roundings: what follows heads that were normalised.
    private static final double NORMED_TOLERANCE = 16e-3;

    private static final int MAX_SEQUENCES = 16;
    private static final int MANY_SEQUENCES = 40;

    /// So that there is scratch memory for contexts that are shared.
    private static final int SCRATCH_SEQUENCES = 160;
    private static final int MAX_TOKENS = 4096;
    private static final int LAYERS = 2;
    private static final int LAYER = 1;
    private static final int[] COLUMNS = {8, 64, 72, 1016, 1024, 4096, 4104};
    private static final int[] ROWS = {1, 2, 7, 8, 64, 65};
    private static final int[] CONTEXTS = {1, 2, 15, 16, 17, 31, 33, 63, 64, 65, 127, 129, 255, 256, 257, 513};

    /// Heads of the models that are served most, and of small ones.
    private static final List<AttentionShape> SHAPES = List.of(
            heads(32, 8, 128),
            heads(28, 4, 128),
            heads(16, 16, 128),
            heads(6, 2, 64),
            heads(4, 2, 16),
            heads(4, 2, 32));

    /// Long enough for several splits of decode attention.
    private static final int LONG_CONTEXT = 1023;

    /// Few rows behind long contexts, which several thread blocks share then.
    private static final Lengths FEW_ROWS =
            new Lengths(new int[] {LONG_CONTEXT, 3001, 60}, new int[] {0, 1, 201, 241}, 1);

    /// Tokens of a window that several thread blocks share.
    private static final int SHARED_WINDOW = 1500;

    private static final int[] WINDOWS = {AttentionShape.UNBOUNDED, 20, 300};

    private final Context context;
    private final CudaOps gpu;
    private final CpuOps cpu;
    private final AttentionShape shape;
    private final Random random;
    private final List<CheckResult> results = new ArrayList<>();

    private KernelChecks(Context context, CudaOps gpu, CpuOps cpu, AttentionShape shape, Random random) {
        this.context = context;
        this.gpu = gpu;
        this.cpu = cpu;
        this.shape = shape;
        this.random = random;
    }

    private static AttentionShape heads(int heads, int kvHeads, int headDim) {
        return new AttentionShape(heads, kvHeads, headDim, (float) (1 / Math.sqrt(headDim)));
    }

    /// Compares everything.
    ///
    /// @param context open, and current on this thread
    /// @param seed of the random numbers
    public static List<CheckResult> run(Context context, Map<String, String> environment, long seed) {
        List<CheckResult> results = new ArrayList<>();
        Random random = new Random(seed);
        for (AttentionShape shape : SHAPES) {
            try (CudaOps gpu = new CudaOps(context, shape, SCRATCH_SEQUENCES, MAX_TOKENS, environment);
                    CpuOps cpu =
                            CpuOps.create(OpsChoice.AUTO, Runtime.getRuntime().availableProcessors())) {
                KernelChecks checks = new KernelChecks(context, gpu, cpu, shape, random);
                if (results.isEmpty()) {
                    checks.rowsOfEverySize();
                    checks.products();
                    checks.restoredProduct(environment);
                    checks.narrowProducts();
                    checks.likeliest();
                    checks.chosenTokens();
                    checks.distribution();
                }
                checks.attention(16);
                checks.attention(128);
                results.addAll(checks.results);
            }
        }
        return results;
    }

    private void add(String name, double error) {
        add(name, error, TOLERANCE);
    }

    private void add(String name, double error, double tolerance) {
        results.add(new CheckResult(name, error, tolerance));
    }

    /// Numbers that bf16 has.
    private float[] numbers(int count) {
        return RandomNumbers.of(random, count);
    }

    private void rowsOfEverySize() {
        for (int columns : COLUMNS) {
            double norm = 0;
            double added = 0;
            double silu = 0;
            double gathered = 0;
            for (int rows : ROWS) {
                try (DeviceArrays arrays = new DeviceArrays(context, gpu.stream())) {
                    norm = Math.max(norm, norm(arrays, rows, columns));
                    added = Math.max(added, addAndNorm(arrays, rows, columns));
                    silu = Math.max(silu, silu(arrays, rows, columns));
                    gathered = Math.max(gathered, gather(arrays, rows, columns));
                }
            }
            add("rms_norm, " + columns + " columns", norm);
            add("add_rms_norm, " + columns + " columns", added);
            add("silu_multiply, " + columns + " columns", silu);
            add("embed, " + columns + " columns", gathered);
        }
    }

    private double norm(DeviceArrays arrays, int rows, int columns) {
        float[] x = numbers(rows * columns);
        float[] weight = numbers(columns);
        float[] expected = new float[x.length];
        cpu.rmsNorm(x, rows, columns, weight, 1e-5f, expected);
        long out = arrays.poisoned(x.length * 2L);
        gpu.rmsNorm(arrays.bf16(x), arrays.bf16(weight), out, rows, columns, 1e-5f);
        return CheckResult.relativeError(arrays.readBf16(out, x.length), expected);
    }

    private double addAndNorm(DeviceArrays arrays, int rows, int columns) {
        float[] residual = numbers(rows * columns);
        float[] delta = numbers(rows * columns);
        float[] weight = numbers(columns);
        float[] expected = new float[residual.length];
        long sum = arrays.bf16(residual);
        long out = arrays.poisoned(residual.length * 2L);
        gpu.addRmsNorm(arrays.bf16(delta), sum, arrays.bf16(weight), out, rows, columns, 1e-5f);
        cpu.add(residual, delta, rows, columns);
        cpu.rmsNorm(residual, rows, columns, weight, 1e-5f, expected);
        return Math.max(
                CheckResult.relativeError(arrays.readBf16(sum, residual.length), residual),
                CheckResult.relativeError(arrays.readBf16(out, residual.length), expected));
    }

    private double silu(DeviceArrays arrays, int rows, int columns) {
        float[] gateUp = numbers(rows * 2 * columns);
        float[] expected = new float[rows * columns];
        cpu.siluMultiply(gateUp, rows, columns, expected);
        long out = arrays.poisoned(expected.length * 2L);
        gpu.siluMultiply(arrays.bf16(gateUp), out, rows, columns);
        return CheckResult.relativeError(arrays.readBf16(out, expected.length), expected);
    }

    private double gather(DeviceArrays arrays, int rows, int columns) {
        int tableRows = 33;
        float[] table = numbers(tableRows * columns);
        int[] ids = random.ints(rows, 0, tableRows).toArray();
        float[] expected = new float[rows * columns];
        for (int row = 0; row < rows; row++) {
            System.arraycopy(table, ids[row] * columns, expected, row * columns, columns);
        }
        long out = arrays.poisoned(expected.length * 2L);
        gpu.gather(arrays.ints(ids), 0, arrays.bf16(table), out, rows, columns, tableRows);
        return CheckResult.relativeError(arrays.readBf16(out, expected.length), expected);
    }

    private void products() {
        for (int rows : ROWS) {
            add("product, " + rows + " rows", product(rows, false, false, false));
            add("product in f32, " + rows + " rows", product(rows, true, false, false));
            add("product with bias, " + rows + " rows", product(rows, false, true, false));
            add("product added, " + rows + " rows", product(rows, false, false, true));
            add("product with bias added, " + rows + " rows", product(rows, false, true, true));
        }
    }

    /// An algorithm that one library's handle measured, used by another one.
    private void restoredProduct(Map<String, String> environment) {
        int rows = 8;
        Blas.Form form = new Blas.Form(1024, 512, false, false, false);
        float[] x = numbers(rows * form.inputs());
        float[] weights = numbers(form.outputs() * form.inputs());
        try (DeviceArrays arrays = new DeviceArrays(context, gpu.stream());
                Blas other = new Blas(context, environment)) {
            long input = arrays.bf16(x);
            List<Long> matrix = List.of(arrays.bf16(weights));
            int size = rows * form.outputs();
            long measured = arrays.poisoned(size * 2L);
            long restored = arrays.poisoned(size * 2L);
            gpu.blas().measure(gpu.stream(), form, rows, matrix, 0, input, measured);
            other.restore(gpu.blas().choices());
            boolean isRestored = !other.measure(gpu.stream(), form, rows, matrix, 0, input, restored);
            gpu.blas().multiply(gpu.stream(), form, rows, matrix.getFirst(), 0, input, measured);
            other.multiply(gpu.stream(), form, rows, matrix.getFirst(), 0, input, restored);
            boolean isSame = Arrays.equals(arrays.readBf16(measured, size), arrays.readBf16(restored, size));
            add("product, algorithm restored", isRestored && isSame ? 0 : 1, 0);
        }
    }

    private double product(int rows, boolean inFloats, boolean hasBias, boolean adds) {
        return Math.max(
                product(rows, new Blas.Form(64, 72, inFloats, hasBias, adds)),
                product(rows, new Blas.Form(1024, 4096, inFloats, hasBias, adds)));
    }

    private double product(int rows, Blas.Form form) {
        int inputs = form.inputs();
        int outputs = form.outputs();
        float[] x = numbers(rows * inputs);
        float[] weights = numbers(outputs * inputs);
        float[] bias = numbers(outputs);
        float[] expected = new float[rows * outputs];
        try (Arena arena = Arena.ofShared(); // the CPU computes on several threads
                DeviceArrays arrays = new DeviceArrays(context, gpu.stream())) {
            MemorySegment data = arena.allocateFrom(ValueLayout.JAVA_FLOAT, weights);
            cpu.matmul(x, rows, cpu.pack(arena, new Matrix(data, DType.F32, outputs, inputs)), expected);
            if (form.bias()) {
                cpu.addBias(expected, rows, outputs, bias);
            }
            float[] before = numbers(expected.length);
            long held = arrays.bf16(before);
            if (form.adds()) {
                cpu.add(expected, before, rows, outputs);
            }
            long out = arrays.poisoned(expected.length * 4L);
            long matrix = arrays.bf16(weights);
            long biasAddress = arrays.bf16(bias);
            long input = arrays.bf16(x);
            gpu.blas().measure(gpu.stream(), form, rows, List.of(matrix), biasAddress, input, out);
            gpu.stream().fill(out, (byte) 0xff, expected.length * 4L);
            long result = form.adds() ? held : out;
            gpu.blas().multiply(gpu.stream(), form, rows, matrix, biasAddress, input, result);
            return CheckResult.relativeError(
                    form.floats()
                            ? arrays.readFloats(result, expected.length)
                            : arrays.readBf16(result, expected.length),
                    expected);
        }
    }

    private void narrowProducts() {
        for (int rows = 1; rows <= CudaOps.NARROW_ROWS; rows++) {
            double[] errors = new double[4];
            for (int[] sizes : new int[][] {{64, 72}, {4096, 1032}, {1096, 4096}, {8, 8}}) {
                double[] found = narrowProduct(rows, sizes[0], sizes[1]);
                for (int i = 0; i < errors.length; i++) {
                    errors[i] = Math.max(errors[i], found[i]);
                }
            }
            add("matvec with residual, " + rows + " rows", errors[0]);
            add("matvec_norm, " + rows + " rows", errors[1]);
            add("matvec_norm_silu, " + rows + " rows", errors[2], NORMED_TOLERANCE);
            add("matvec_norm_logits, " + rows + " rows", errors[3]);
        }
    }

    private double[] narrowProduct(int rows, int inputs, int outputs) {
        float[] x = numbers(rows * inputs);
        float[] norm = numbers(inputs);
        float[] weights = numbers(2 * outputs * inputs);
        float[] residual = numbers(rows * outputs);
        float[] normed = new float[x.length];
        cpu.rmsNorm(x, rows, inputs, norm, 1e-5f, normed);
        float[] both = new float[rows * 2 * outputs];
        float[] first = new float[rows * outputs];
        float[] gated = new float[rows * outputs];
        try (Arena arena = Arena.ofShared(); // the CPU computes on several threads
                DeviceArrays arrays = new DeviceArrays(context, gpu.stream())) {
            MemorySegment data = arena.allocateFrom(ValueLayout.JAVA_FLOAT, weights);
            cpu.matmul(normed, rows, cpu.pack(arena, new Matrix(data, DType.F32, 2 * outputs, inputs)), both);
            for (int row = 0; row < rows; row++) {
                System.arraycopy(both, row * 2 * outputs, first, row * outputs, outputs);
            }
            cpu.siluMultiply(both, rows, outputs, gated);
            long in = arrays.bf16(x);
            CudaOps.Norm before = new CudaOps.Norm(arrays.bf16(norm), 1e-5f);
            long matrix = arrays.bf16(weights);
            long sum = arrays.bf16(residual);
            gpu.narrowProduct(arrays.bf16(normed), matrix, sum, sum, rows, outputs, inputs);
            long plain = arrays.poisoned(first.length * 2L);
            gpu.narrowProduct(in, before, matrix, plain, rows, outputs, inputs);
            long silu = arrays.poisoned(first.length * 2L);
            gpu.narrowSiluProduct(in, before, matrix, silu, rows, outputs, inputs);
            long floats = arrays.poisoned(first.length * 4L);
            gpu.narrowLogits(in, before, matrix, floats, rows, outputs, inputs);
            float[] summed = residual.clone();
            cpu.add(summed, first, rows, outputs);
            return new double[] {
                CheckResult.relativeError(arrays.readBf16(sum, first.length), summed),
                CheckResult.relativeError(arrays.readBf16(plain, first.length), first),
                CheckResult.relativeError(arrays.readBf16(silu, first.length), gated),
                CheckResult.relativeError(arrays.readFloats(floats, first.length), first)
            };
        }
    }

    private void likeliest() {
        for (int vocab : new int[] {1, 2, 31, 255, 256, 257, 1023, 1025, 32_000, 128_256}) {
            int rows = 5;
            float[] logits = numbers(rows * vocab);
            int[] expected = new int[rows];
            for (int row = 0; row < rows; row++) {
                for (int i = 1; i < vocab; i++) {
                    expected[row] = logits[row * vocab + i] > logits[row * vocab + expected[row]] ? i : expected[row];
                }
            }
            logits[3 * vocab + random.nextInt(vocab)] = Float.NaN;
            logits[4 * vocab + random.nextInt(vocab)] = Float.NEGATIVE_INFINITY;
            expected[3] = -1;
            expected[4] = -1;
            try (DeviceArrays arrays = new DeviceArrays(context, gpu.stream())) {
                long out = arrays.poisoned(rows * 4L);
                gpu.argmax(arrays.floats(logits), out, rows, vocab);
                int[] actual = arrays.readInts(out, rows);
                long wrong = IntStream.range(0, rows)
                        .filter(row -> actual[row] != expected[row])
                        .count();
                add("argmax, " + vocab + " tokens", (double) wrong);
            }
        }
    }

    /// Tokens chosen with all kinds of wishes, in batches: each must be the reference's, but where the draw
    /// falls on the edge between two tokens, which no draw of these does.
    private void chosenTokens() {
        for (int vocab : new int[] {1, 2, 31, 257, 4096, 4097, 32_000, 151_643}) {
            for (float spread : new float[] {0.01f, 2, 20}) {
                add("sample, " + vocab + " tokens, logits of spread " + spread, wrongTokens(vocab, spread), 0);
            }
        }
        add("sample, all logits equal", wrongTokens(20_000, 0), 0);
    }

    private double wrongTokens(int vocab, float spread) {
        int rows = MAX_SEQUENCES;
        int maxTokens = 300;
        float[] logits = new float[rows * vocab];
        for (int i = 0; i < logits.length; i++) {
            logits[i] = spread * (float) random.nextGaussian();
        }
        logits[(rows - 1) * vocab + random.nextInt(vocab)] = random.nextBoolean() ? Float.NaN : Float.POSITIVE_INFINITY;
        SamplingCase[] cases = new SamplingCase[rows];
        int wrong = 0;
        try (DeviceArrays arrays = new DeviceArrays(context, gpu.stream());
                CudaSampler sampler = new CudaSampler(context, gpu, rows, vocab, maxTokens, vocab)) {
            long device = arrays.floats(logits);
            long tokens = arrays.poisoned(rows * 4L);
            for (int row = 0; row < rows; row++) {
                cases[row] = samplingCase(vocab, maxTokens, row);
            }
            for (int round = 0; round < 3; round++) { // what the first left must not show in the others
                sampler.begin();
                for (int row = 0; row < rows; row++) {
                    addCase(sampler, row, cases[row]);
                }
                sampler.launch(device, tokens);
                int[] actual = arrays.readInts(tokens, rows);
                for (int row = 0; row < rows; row++) {
                    float[] mine = Arrays.copyOfRange(logits, row * vocab, (row + 1) * vocab);
                    wrong += actual[row] == cases[row].token(mine) ? 0 : 1;
                    cases[row] = next(cases[row], Math.max(0, actual[row]), maxTokens);
                }
            }
        }
        return wrong;
    }

    private SamplingCase samplingCase(int vocab, int maxTokens, int row) {
        float temperature = new float[] {0, 0.05f, 0.7f, 1, 3}[random.nextInt(5)];
        int topK = new int[] {0, 0, 1, 2, 50, 1000, 5000, vocab}[random.nextInt(8)];
        float topP = new float[] {1, 1, 0.95f, 0.5f, 0.01f}[random.nextInt(5)];
        float minP = new float[] {0, 0, 0.05f, 1}[random.nextInt(4)];
        double uniform = new double[] {0x1p-30, 1 - 0x1p-30, random.nextDouble()}[row % 5 == 0 ? row % 3 : 2];
        Optional<long[]> mask = random.nextInt(3) > 0 || vocab < 10
                ? Optional.empty()
                : Optional.of(random.longs(Math.ceilDiv(vocab, Long.SIZE)).toArray());
        int[] biased = random.nextInt(3) > 0
                ? new int[0]
                : random.ints(40, 0, vocab).distinct().toArray();
        float[] biases = new float[biased.length];
        for (int i = 0; i < biases.length; i++) {
            biases[i] = 8 * random.nextFloat() - 4;
        }
        boolean hasPenalties = random.nextBoolean();
        int[] tokens = hasPenalties
                ? random.ints(1 + random.nextInt(maxTokens / 2), 0, vocab).toArray()
                : new int[0];
        return new SamplingCase(
                temperature,
                topK,
                topP,
                minP,
                uniform,
                mask,
                biased,
                biases,
                hasPenalties ? 0.5f + random.nextFloat() : 1,
                hasPenalties ? random.nextFloat() - 0.5f : 0,
                hasPenalties ? random.nextFloat() - 0.5f : 0,
                tokens,
                tokens.length / 2);
    }

    private static void addCase(CudaSampler sampler, int row, SamplingCase wish) {
        sampler.add(row, wish.temperature(), wish.topK(), wish.topP(), wish.minP(), wish.uniform());
        wish.mask().ifPresent(sampler::mask);
        sampler.bias(wish.biasedTokens(), wish.biases());
        if (wish.tokens().length > 0) {
            sampler.penalise(
                    wish.repetition(),
                    wish.frequency(),
                    wish.presence(),
                    row,
                    wish.tokens(),
                    wish.tokens().length,
                    wish.promptTokens());
        }
    }

    /// The same wishes for the token after the one that was chosen.
    private SamplingCase next(SamplingCase wish, int token, int maxTokens) {
        int[] tokens = wish.tokens();
        if (tokens.length > 0 && tokens.length < maxTokens) {
            tokens = Arrays.copyOf(tokens, tokens.length + 1);
            tokens[tokens.length - 1] = token;
        }
        return new SamplingCase(
                wish.temperature(),
                wish.topK(),
                wish.topP(),
                wish.minP(),
                random.nextDouble(),
                wish.mask(),
                wish.biasedTokens(),
                wish.biases(),
                wish.repetition(),
                wish.frequency(),
                wish.presence(),
                tokens,
                wish.promptTokens());
    }

    /// Pearson's chi-square of many draws, over the value that one in a hundred thousand right samplers
    /// exceeds.
    private void distribution() {
        int vocab = 1000;
        float[] logits = new float[vocab];
        for (int i = 0; i < vocab; i++) {
            logits[i] = 2 * (float) random.nextGaussian();
        }
        List<SamplingCase> cases = List.of(
                SamplingCase.of(1, 0, 1, 0),
                SamplingCase.of(0.7f, 40, 1, 0),
                SamplingCase.of(1, 0, 0.9f, 0),
                SamplingCase.of(1.3f, 100, 0.8f, 0.05f));
        for (SamplingCase wish : cases) {
            add(
                    "sample, distribution of draws: temperature %.1f, top-k %d, top-p %.2f, min-p %.2f"
                            .formatted(wish.temperature(), wish.topK(), wish.topP(), wish.minP()),
                    chiSquare(logits, wish),
                    1);
        }
    }

    private double chiSquare(float[] logits, SamplingCase wish) {
        int rows = 256;
        int rounds = 80;
        int[] found = new int[logits.length];
        try (DeviceArrays arrays = new DeviceArrays(context, gpu.stream());
                CudaSampler sampler = new CudaSampler(context, gpu, rows, 1, 1, logits.length)) {
            float[] copies = new float[rows * logits.length];
            for (int row = 0; row < rows; row++) {
                System.arraycopy(logits, 0, copies, row * logits.length, logits.length);
            }
            long device = arrays.floats(copies);
            long tokens = arrays.poisoned(rows * 4L);
            for (int round = 0; round < rounds; round++) {
                sampler.begin();
                for (int row = 0; row < rows; row++) {
                    double uniform = random.nextDouble();
                    sampler.add(row, wish.temperature(), wish.topK(), wish.topP(), wish.minP(), uniform);
                }
                sampler.launch(device, tokens);
                for (int token : arrays.readInts(tokens, rows)) {
                    if (token < 0) {
                        return Double.NaN;
                    }
                    found[token]++;
                }
            }
        }
        return overCritical(found, wish.probabilities(logits), rows * rounds);
    }

    private static double overCritical(int[] found, double[] probabilities, int draws) {
        double chiSquare = 0;
        double rare = 0; // those expected less than five times are counted together
        int rareFound = 0;
        int cells = 0;
        for (int token = 0; token < found.length; token++) {
            double expected = draws * probabilities[token];
            if (expected == 0 && found[token] > 0) {
                return Double.NaN;
            }
            if (expected < 5) {
                rare += expected;
                rareFound += found[token];
            } else {
                chiSquare += Math.pow(found[token] - expected, 2) / expected;
                cells++;
            }
        }
        if (rare >= 5) {
            chiSquare += Math.pow(rareFound - rare, 2) / rare;
            cells++;
        }
        int degrees = Math.max(1, cells - 1);
        // E. B. Wilson, M. M. Hilferty (1931): the cube root of chi-square is nearly normal.
        double share = 2.0 / (9 * degrees);
        return chiSquare / (degrees * Math.pow(1 - share + 4.26 * Math.sqrt(share), 3));
    }

    /// Rotating, storing and both attentions over one pool: sequences with one row and sequences with several,
    /// which begin anywhere in their context, in blocks without order.
    private void attention(int blockTokens) {
        for (int window : WINDOWS) {
            AttentionShape windowed = shape.withWindowTokens(window);
            String of = ", " + shape.heads() + "/" + shape.kvHeads() + " heads of " + shape.headDim() + ", blocks of "
                    + blockTokens + (window == AttentionShape.UNBOUNDED ? "" : ", window " + window);
            boolean hasNorms = random.nextBoolean();
            double[] errors = attention(windowed, blockTokens, hasNorms, Lengths.any(random));
            of += hasNorms ? ", norms" : "";
            double tolerance = hasNorms ? NORMED_TOLERANCE : TOLERANCE;
            add("rotate_and_store: queries" + of, errors[0], tolerance);
            add("rotate_and_store: cache" + of, errors[1], tolerance);
            add("paged_decode" + of, errors[2], tolerance);
            add("paged_prefill" + of, errors[3], tolerance);
            AttentionShape shared =
                    window == AttentionShape.UNBOUNDED ? windowed : shape.withWindowTokens(SHARED_WINDOW + window);
            add("paged_prefill, few rows" + of, attention(shared, blockTokens, hasNorms, FEW_ROWS)[3], tolerance);
            Lengths many = Lengths.singles(random);
            add("paged_decode, many" + of, attention(windowed, blockTokens, hasNorms, many)[2], tolerance);
        }
    }

    /// @param contexts tokens of each sequence
    /// @param starts the row at which each begins, and the end of the last one
    /// @param singles sequences with one row, the first ones
    private record Lengths(int[] contexts, int[] starts, int singles) {
        static Lengths any(Random random) {
            int singles = MAX_SEQUENCES / 2;
            int[] contexts = new int[MAX_SEQUENCES];
            int[] starts = new int[MAX_SEQUENCES + 1];
            for (int s = 0; s < contexts.length; s++) {
                contexts[s] = CONTEXTS[random.nextInt(CONTEXTS.length)];
                contexts[s] = s == 0 ? LONG_CONTEXT : contexts[s];
                int count = s < singles ? 1 : 1 + random.nextInt(contexts[s]);
                starts[s + 1] = starts[s] + count;
            }
            return new Lengths(contexts, starts, singles);
        }

        /// So many that decode attention takes more tokens at a time.
        static Lengths singles(Random random) {
            int[] contexts = IntStream.range(0, MANY_SEQUENCES)
                    .map(s -> s % 10 == 0 ? LONG_CONTEXT + random.nextInt(1500) : 1 + random.nextInt(300))
                    .toArray();
            return new Lengths(
                    contexts, IntStream.rangeClosed(0, MANY_SEQUENCES).toArray(), MANY_SEQUENCES);
        }
    }

    private double[] attention(AttentionShape windowed, int blockTokens, boolean hasNorms, Lengths lengths) {
        int maxBlocks = Math.ceilDiv(MAX_TOKENS, blockTokens);
        int[] contexts = lengths.contexts;
        int[] starts = lengths.starts;
        int singles = lengths.singles;
        int numSequences = contexts.length;
        int numBlocks = 0;
        for (int context1 : contexts) {
            numBlocks += Math.ceilDiv(context1, blockTokens);
        }
        int[] pool = IntStream.range(0, numBlocks).toArray();
        for (int i = numBlocks - 1; i > 0; i--) {
            int j = random.nextInt(i + 1);
            int swap = pool[i];
            pool[i] = pool[j];
            pool[j] = swap;
        }
        int rows = starts[numSequences];
        int[] positions = new int[rows];
        int[] rowSequence = new int[rows];
        int[] tables = new int[numSequences * maxBlocks];
        SequenceRows sequences = new SequenceRows();
        int used = 0;
        for (int s = 0; s < numSequences; s++) {
            int blocks = Math.ceilDiv(contexts[s], blockTokens);
            int[] table = Arrays.copyOfRange(pool, used, used + blocks);
            used += blocks;
            System.arraycopy(table, 0, tables, s * maxBlocks, blocks);
            int count = starts[s + 1] - starts[s];
            sequences.add(starts[s], count, contexts[s] - count, table);
            for (int i = 0; i < count; i++) {
                positions[starts[s] + i] = contexts[s] - count + i;
                rowSequence[starts[s] + i] = s;
            }
        }
        float[] qkv = numbers(rows * shape.rowSize());
        float[] queryNorm = numbers(shape.headDim());
        float[] keyNorm = numbers(shape.headDim());
        RotaryTable rotary = new RotaryTable(frequencies(shape.headDim()));
        float[] cosSin = new float[MAX_TOKENS * shape.headDim()];
        float[] line = new float[shape.headDim()];
        for (int p = 0; p < MAX_TOKENS; p++) {
            rotary.copyRow(p, line);
            System.arraycopy(line, 0, cosSin, p * line.length, line.length);
        }
        int poolElements = numBlocks * LAYERS * 2 * shape.kvHeads() * blockTokens * shape.headDim();
        float[] cached = numbers(poolElements);
        try (DeviceArrays arrays = new DeviceArrays(context, gpu.stream());
                PagedKv host =
                        new PagedKv(numBlocks, LAYERS, shape.kvHeads(), blockTokens, shape.headDim(), DType.BF16)) {
            for (int i = 0; i < poolElements; i++) {
                host.segment().setAtIndex(ValueLayout.JAVA_SHORT, i, DType.floatToBf16(cached[i]));
            }
            long poolAddress = arrays.bf16(cached);
            PagedKv device = PagedKv.onDevice(
                    numBlocks,
                    LAYERS,
                    shape.kvHeads(),
                    blockTokens,
                    shape.headDim(),
                    DType.BF16,
                    _ -> poolAddress,
                    () -> {});
            long deviceQkv = arrays.bf16(qkv);
            long deviceTables = arrays.ints(tables);
            gpu.rotateAndStore(
                    deviceQkv,
                    hasNorms ? arrays.bf16(queryNorm) : 0,
                    hasNorms ? arrays.bf16(keyNorm) : 0,
                    1e-6f,
                    arrays.floats(cosSin),
                    new CudaOps.Rows(arrays.ints(positions), arrays.ints(rowSequence), deviceTables, maxBlocks),
                    device,
                    LAYER,
                    rows);
            long deviceContexts = arrays.ints(contexts);
            long out = arrays.poisoned((long) rows * shape.outSize() * 2);
            int window = windowed.windowTokens();
            gpu.decodeAttention(
                    deviceQkv, device, LAYER, deviceTables, maxBlocks, deviceContexts, out, singles, window);
            int longest = 0;
            int longestContext = 0;
            for (int s = singles; s < numSequences; s++) {
                longest = Math.max(longest, starts[s + 1] - starts[s]);
                longestContext = Math.max(longestContext, contexts[s]);
            }
            if (singles < numSequences) {
                gpu.prefillAttention(
                        deviceQkv,
                        device,
                        LAYER,
                        deviceTables + 4L * singles * maxBlocks,
                        maxBlocks,
                        arrays.ints(starts) + 4L * singles,
                        deviceContexts + 4L * singles,
                        out,
                        new CudaOps.Prompts(numSequences - singles, singles, rows - singles, longest, longestContext),
                        window);
            }

            if (hasNorms) {
                cpu.rmsNormHeads(qkv, shape, rows, queryNorm, keyNorm, 1e-6f);
            }
            cpu.rotateAndStore(qkv, shape, rotary, host, LAYER, sequences);
            float[] expected = new float[rows * shape.outSize()];
            cpu.attention(qkv, windowed, host, LAYER, sequences, expected);

            float[] actual = arrays.readBf16(out, expected.length);
            int split = starts[singles] * shape.outSize();
            float[] hostPool = new float[poolElements];
            for (int i = 0; i < poolElements; i++) {
                hostPool[i] = DType.bf16ToFloat(host.segment().getAtIndex(ValueLayout.JAVA_SHORT, i));
            }
            return new double[] {
                CheckResult.relativeError(queries(arrays.readBf16(deviceQkv, qkv.length), rows), queries(qkv, rows)),
                CheckResult.relativeError(arrays.readBf16(poolAddress, poolElements), hostPool),
                CheckResult.relativeError(Arrays.copyOf(actual, split), Arrays.copyOf(expected, split)),
                CheckResult.relativeError(
                        Arrays.copyOfRange(actual, split, actual.length),
                        Arrays.copyOfRange(expected, split, expected.length))
            };
        }
    }

    /// The rotated heads of queries in rows of queries, keys and values.
    private float[] queries(float[] qkv, int rows) {
        float[] queries = new float[rows * shape.outSize()];
        for (int row = 0; row < rows; row++) {
            System.arraycopy(qkv, row * shape.rowSize(), queries, row * shape.outSize(), shape.outSize());
        }
        return queries;
    }

    private static float[] frequencies(int headDim) {
        float[] frequencies = new float[headDim / 2];
        for (int i = 0; i < frequencies.length; i++) {
            frequencies[i] = (float) Math.pow(10_000, -2.0 * i / headDim);
        }
        return frequencies;
    }
}
