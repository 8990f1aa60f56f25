package dev.baton.tensor.cuda;

import static dev.baton.tensor.cuda.owned.Kernel.Parameter.FLOAT;
import static dev.baton.tensor.cuda.owned.Kernel.Parameter.INT;
import static dev.baton.tensor.cuda.owned.Kernel.Parameter.LONG;

import dev.baton.tensor.cuda.checked.Nvrtc;
import dev.baton.tensor.cuda.owned.Context;
import dev.baton.tensor.cuda.owned.Kernel;
import dev.baton.tensor.cuda.owned.KernelModule;
import dev.baton.tensor.cuda.owned.PeerInbox;
import dev.baton.tensor.cuda.owned.Stream;
import java.time.Duration;
import java.util.List;
import java.util.Map;

/// What one rank of several adds up and gathers with the others by kernels that write to each other's memory, in
/// one step: fast for small arrays, right for all. Sums are taken in f32 in the order of the ranks and rounded to
/// bf16 once, so all ranks have the same bits.
///
/// All ranks call the same in the same order, with the same sizes. Calls give work to a stream and return; they
/// may be part of graphs. Whether what came of it is worth anything says [PeerInbox#check] afterwards.
///
/// Used from one thread at a time. Owns the kernels, not the inbox.
///
/// Source: vLLM's custom all-reduce, and TensorRT-LLM's one-shot all-reduce with addition and norm; see
/// `peers.cu`.
public final class PeerSums implements AutoCloseable {
    private static final String FILE = "peers.cu";
    private static final int THREADS = 256;
    private static final int VECTOR = 8;
    private static final int VECTOR_BYTES = 16;
    /// Longer than a process may be stopped for and go on; a rank that fails is told of at once.
    private static final Duration PATIENCE = Duration.ofMinutes(2);

    /// Most thread blocks of a rank that has a device to itself.
    private static final int BLOCKS = 64;

    private final PeerInbox inbox;
    private final Map<String, KernelModule> modules;
    private final Kernel allReduce;
    private final Kernel allReduceAddRmsNorm;
    private final Kernel allGather;

    /// Compiles the kernels.
    ///
    /// @param context the rank's, current on this thread
    /// @param inbox made by [#connect]
    /// @param columns of the rows of [#allReduceAddRmsNorm], the same as there
    public PeerSums(Context context, PeerInbox inbox, int columns, Map<String, String> environment) {
        this(context, inbox, columns, PATIENCE, environment);
    }

    /// The same.
    ///
    /// @param patience how long a kernel waits for another rank, in whole seconds
    public PeerSums(Context context, PeerInbox inbox, int columns, Duration patience, Map<String, String> environment) {
        this.inbox = inbox;
        this.modules = new KernelCompiler(context, new Nvrtc(environment), KernelCache.ofUser(environment))
                .load(
                        List.of(FILE),
                        Map.of(
                                "RANKS", inbox.ranks(),
                                "VECTORS", vectors(columns),
                                "SHARED_DEVICE", inbox.sharesDevice() ? 1 : 0,
                                "PATIENCE_SECONDS", Math.toIntExact(patience.toSeconds())));
        KernelModule module = modules.values().iterator().next();
        Kernel.Shape shape = new Kernel.Shape(THREADS, 0, true);
        this.allReduce = module.kernel("all_reduce", shape, List.of(LONG, LONG, LONG, LONG));
        this.allReduceAddRmsNorm =
                module.kernel("all_reduce_add_rms_norm", shape, List.of(LONG, LONG, LONG, LONG, INT, INT, FLOAT, LONG));
        this.allGather = module.kernel("all_gather", shape, List.of(LONG, LONG, INT, INT, LONG));
    }

    /// Lets ranks reach each other's memory.
    ///
    /// @param contexts by rank, for which [PeerInbox#missing] is empty
    /// @param columns most columns of a row that is normalised
    public static List<PeerInbox> connect(List<Context> contexts, int columns) {
        long perSender = 2L * VECTOR_BYTES * THREADS * vectors(columns); // a number beside each word
        return PeerInbox.connect(contexts, blocks(contexts), 2L * contexts.size() * perSender);
    }

    /// Vectors of a row that a thread has.
    private static int vectors(int columns) {
        return Math.ceilDiv(columns, VECTOR * THREADS);
    }

    /// All blocks of a kernel wait for other ranks at the same time. Where those are on the same device, half
    /// of its multiprocessors stay free of such blocks, so that a rank that is behind can always go on.
    private static int blocks(List<Context> contexts) {
        int blocks = BLOCKS;
        for (Context context : contexts) {
            long ranks = contexts.stream()
                    .filter(other -> other.device() == context.device())
                    .count();
            if (ranks > 1) {
                blocks = Math.min(blocks, blocksOfOne(context.info().multiprocessors(), (int) ranks));
            }
        }
        return blocks;
    }

    /// Thread blocks of one of several ranks on a device.
    static int blocksOfOne(int multiprocessors, int ranks) {
        return Math.clamp(multiprocessors / (2 * ranks), 1, BLOCKS);
    }

    private int grid(long units) {
        return Math.clamp(units, 1, inbox.blocks());
    }

    /// Launches every kernel with nothing to do, so that its first launch is not one in which others wait for it.
    public void launchEmpty(Stream stream) {
        allReduce(stream, 0, 0, 0);
        allReduceAddRmsNorm(stream, 0, 0, 0, 0, 0, 0, 0);
        allGather(stream, 0, 0, 0, 0);
    }

    /// Sums bf16 numbers of all ranks.
    ///
    /// @param from aligned to 16 bytes
    /// @param to the same, and may be `from`
    public void allReduce(Stream stream, long from, long to, long count) {
        allReduce
                .begin()
                .add(from)
                .add(to)
                .add(count)
                .add(inbox.table())
                .launch(stream, grid(Math.ceilDiv(count, (long) THREADS * VECTOR)), 1, 1);
    }

    /// `residual += sum of all ranks' delta`, each rounded, then the normalisation of that into `out`: what
    /// [CudaOps#addRmsNorm] does behind a sum in bf16.
    public void allReduceAddRmsNorm(
            Stream stream, long delta, long residual, long weight, long out, int rows, int columns, float epsilon) {
        allReduceAddRmsNorm
                .begin()
                .add(delta)
                .add(residual)
                .add(weight)
                .add(out)
                .add(rows)
                .add(columns)
                .add(epsilon)
                .add(inbox.table())
                .launch(stream, grid(rows), 1, 1);
    }

    /// Makes whole rows of what each rank has of them.
    ///
    /// @param part f32 `(rows, columns)`, columns a multiple of 4
    /// @param out f32 `(rows, ranks, columns)`
    public void allGather(Stream stream, long part, long out, int rows, int columns) {
        int vectors = columns * Float.BYTES / VECTOR_BYTES;
        allGather
                .begin()
                .add(part)
                .add(out)
                .add(rows)
                .add(vectors)
                .add(inbox.table())
                .launch(stream, grid(Math.ceilDiv((long) rows * vectors, THREADS)), 1, 1);
    }

    @Override
    public void close() {
        modules.values().forEach(KernelModule::close);
    }
}
