package dev.baton.tensor.cuda.owned;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import dev.baton.tensor.cuda.checked.CublasLt;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Comparator;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.ToDoubleFunction;
import java.util.stream.IntStream;

/// Matrix products on the device: `(rows, inputs)` times the transpose of weights `(outputs, inputs)`, all
/// row-major, bf16 with sums in f32, by cuBLASLt with the algorithm that was fastest when it was measured here.
///
/// What was not measured takes the algorithm of the next larger number of rows that was, or else the library's own
/// choice. Used from one thread at a time, on one stream: products share a workspace.
public final class Blas implements AutoCloseable {
    /// What NVIDIA recommends for Hopper, twice.
    private static final long WORKSPACE_BYTES = 64L << 20;

    /// Algorithms that are tried for a product, of those that the library thinks best, in its order; and how
    /// many of them, the fastest of one try each, are measured more closely.
    private static final int CANDIDATES = 32;

    private static final int FINALISTS = 4;
    private static final int ROUNDS = 3;

    private final Context context;
    private final CublasLt lib;
    private final long handle;
    private final DeviceMemory memory;
    private final long workspace;
    private final Arena arena = Arena.ofShared();
    private final MemorySegment one = arena.allocateFrom(JAVA_FLOAT, 1f);
    private final MemorySegment zero = arena.allocateFrom(JAVA_FLOAT, 0f);
    private final MemorySegment scratch = arena.allocate(Long.BYTES, Long.BYTES);
    private final Map<Form, TreeMap<Integer, MemorySegment>> measured = new HashMap<>();
    private final Map<Form, Map<Integer, Product>> products = new HashMap<>();
    private final Map<String, MemorySegment> restored = new HashMap<>();

    /// @param environment where `CUDA_HOME` is looked up
    public Blas(Context context, Map<String, String> environment) {
        this.context = context;
        this.lib = new CublasLt(environment);
        this.handle = lib.create();
        this.memory = new DeviceMemory(context);
        this.workspace = memory.allocate(WORKSPACE_BYTES, "cuBLASLt's workspace");
    }

    /// What a choice of algorithms holds for.
    public String version() {
        return "cuBLASLt " + lib.version() + ", workspace " + WORKSPACE_BYTES + ", best of " + CANDIDATES;
    }

    /// The algorithms that were measured or restored, in order: a line each, of the form, the rows and the
    /// library's own 64 bytes.
    public String choices() {
        Map<String, MemorySegment> all = new TreeMap<>(restored);
        measured.forEach((form, byRows) -> byRows.forEach((rows, algorithm) -> all.put(line(form, rows), algorithm)));
        StringBuilder lines = new StringBuilder();
        all.forEach((product, algorithm) -> lines.append(product)
                .append(HexFormat.of().formatHex(algorithm.toArray(ValueLayout.JAVA_BYTE)))
                .append('\n'));
        return lines.toString();
    }

    /// Takes algorithms that were measured before, on a device and by a library like these: [#measure] uses
    /// them as far as the library can do these products with them.
    ///
    /// @param lines as [#choices] gave them
    public void restore(String lines) {
        lines.lines().forEach(line -> {
            int end = line.lastIndexOf(' ') + 1;
            byte[] bytes = HexFormat.of().parseHex(line, end, line.length());
            if (bytes.length == CublasLt.ALGORITHM_BYTES) {
                MemorySegment algorithm = arena.allocate(CublasLt.ALGORITHM_BYTES, Long.BYTES);
                algorithm.copyFrom(MemorySegment.ofArray(bytes));
                restored.put(line.substring(0, end), algorithm);
            }
        });
    }

    private static String line(Form form, int rows) {
        return form.inputs + " " + form.outputs + " " + form.floats + " " + form.bias + " " + form.adds + " " + rows
                + " ";
    }

    /// A product but for the number of its rows.
    ///
    /// @param inputs columns of the left factor and of the weights
    /// @param outputs rows of the weights, columns of the result
    /// @param floats whether the result is f32 instead of bf16
    /// @param bias whether a bias in bf16, one value an output, is added
    /// @param adds whether the product is added to what the result holds, and the sum rounded once
    public record Form(int inputs, int outputs, boolean floats, boolean bias, boolean adds) {}

    /// cuBLASLt's description of a product, in its column-major view: the weights are the first factor.
    private record Product(long operation, long weights, long input, long result, MemorySegment algorithm) {}

    /// Multiplies.
    ///
    /// @param weights address of `(outputs, inputs)`
    /// @param bias address of `(outputs)`; not read unless the form has a bias
    /// @param input address of `(rows, inputs)`
    /// @param result address of `(rows, outputs)`; read as well by a form that adds
    public void multiply(Stream stream, Form form, int rows, long weights, long bias, long input, long result) {
        Map<Integer, Product> ofForm = products.computeIfAbsent(form, _ -> new HashMap<>());
        Product product = ofForm.get(rows);
        if (product == null) {
            product = describe(form, rows, bias);
            ofForm.put(rows, product);
        }
        run(stream, product, form, weights, bias, input, result);
    }

    private void run(Stream stream, Product product, Form form, long weights, long bias, long input, long result) {
        if (form.bias) {
            lib.setBias(product.operation, bias, scratch);
        }
        lib.multiply(
                handle,
                product.operation,
                one,
                form.adds ? one : zero,
                weights,
                product.weights,
                input,
                product.input,
                result,
                product.result,
                product.algorithm,
                workspace,
                WORKSPACE_BYTES,
                stream.handle());
    }

    private Product describe(Form form, int rows, long bias) {
        long operation = lib.createOperation(form.bias ? bias : 0);
        long weights = lib.createLayout(CublasLt.BF16, form.inputs, form.outputs);
        long input = lib.createLayout(CublasLt.BF16, form.inputs, rows);
        long result = lib.createLayout(form.floats ? CublasLt.F32 : CublasLt.BF16, form.outputs, rows);
        return new Product(operation, weights, input, result, choose(form, rows, operation, weights, input, result));
    }

    private MemorySegment choose(Form form, int rows, long operation, long weights, long input, long result) {
        Map.Entry<Integer, MemorySegment> near =
                measured.getOrDefault(form, new TreeMap<>()).ceilingEntry(rows);
        if (near != null && lib.fits(handle, operation, weights, input, result, WORKSPACE_BYTES, near.getValue())) {
            return near.getValue();
        }
        return lib.algorithms(arena, handle, operation, weights, input, result, WORKSPACE_BYTES, 1)
                .getFirst();
    }

    /// Measures the library's best algorithms for one product and keeps the fastest, unless that was restored.
    ///
    /// @param weights addresses of matrices to take in turn, enough of them that none stays in the device's cache
    /// @param bias a bias for all of them; not read unless the form has one
    /// @param input address of `(rows, inputs)`
    /// @param result address of `(rows, outputs)`, overwritten; what is added to it stays there
    /// @return whether it was measured
    public boolean measure(Stream stream, Form form, int rows, List<Long> weights, long bias, long input, long result) {
        Product product = describe(form, rows, bias);
        MemorySegment known = restored.get(line(form, rows));
        if (known != null
                && lib.fits(
                        handle,
                        product.operation,
                        product.weights,
                        product.input,
                        product.result,
                        WORKSPACE_BYTES,
                        known)) {
            keep(form, rows, product, known);
            return false;
        }
        List<MemorySegment> algorithms = lib.algorithms(
                arena,
                handle,
                product.operation,
                product.weights,
                product.input,
                product.result,
                WORKSPACE_BYTES,
                CANDIDATES);
        record Timed(Product product, double millis) {}
        try (Event start = new Event(context);
                Event end = new Event(context)) {
            ToDoubleFunction<Product> millis = tried -> {
                start.record(stream);
                weights.forEach(address -> run(stream, tried, form, address, bias, input, result));
                end.record(stream);
                end.synchronize();
                return end.millisSince(start);
            };
            List<Product> finalists = algorithms.stream()
                    .map(algorithm ->
                            new Product(product.operation, product.weights, product.input, product.result, algorithm))
                    .map(tried -> {
                        run(stream, tried, form, weights.getFirst(), bias, input, result); // loads its kernel
                        return new Timed(tried, millis.applyAsDouble(tried));
                    })
                    .sorted(Comparator.comparingDouble(Timed::millis))
                    .limit(FINALISTS)
                    .map(Timed::product)
                    .toList();
            Product best = finalists.stream()
                    .map(tried -> new Timed(
                            tried,
                            IntStream.range(0, ROUNDS)
                                    .mapToDouble(_ -> millis.applyAsDouble(tried))
                                    .min()
                                    .orElseThrow()))
                    .min(Comparator.comparingDouble(Timed::millis))
                    .orElseThrow()
                    .product;
            keep(form, rows, product, best.algorithm);
            return true;
        }
    }

    private void keep(Form form, int rows, Product product, MemorySegment algorithm) {
        measured.computeIfAbsent(form, _ -> new TreeMap<>()).put(rows, algorithm);
        Product kept = new Product(product.operation, product.weights, product.input, product.result, algorithm);
        Product previous = products.computeIfAbsent(form, _ -> new HashMap<>()).put(rows, kept);
        if (previous != null) {
            end(previous);
        }
    }

    private void end(Product product) {
        lib.destroyOperation(product.operation);
        lib.destroyLayout(product.weights);
        lib.destroyLayout(product.input);
        lib.destroyLayout(product.result);
    }

    @Override
    public void close() {
        products.values().forEach(ofForm -> ofForm.values().forEach(this::end));
        products.clear();
        lib.destroy(handle);
        memory.close();
        arena.close();
    }
}
