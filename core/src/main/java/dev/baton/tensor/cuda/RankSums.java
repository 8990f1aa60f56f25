package dev.baton.tensor.cuda;

import dev.baton.tensor.TensorException;
import dev.baton.tensor.cuda.owned.Communicator;
import dev.baton.tensor.cuda.owned.Context;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// What a rank of a model adds up and gathers with the others, each by whatever is faster for its size: small
/// arrays by [PeerSums], large ones over NCCL. Where there is one of both, it does all.
///
/// All ranks call the same in the same order, with the same sizes. Used from one thread at a time. Owns the
/// kernels, not the links.
public final class RankSums implements AutoCloseable {
    /// In one step each rank sends all bytes to all others; NCCL sends parts, in several steps. vLLM leaves its
    /// one-step kernel at 512 KiB with four GPUs and 256 KiB with eight; ours sends twice the bytes.
    private static final int FEW_RANKS = 2;
    private static final int SOME_RANKS = 4;
    private static final long MOST_BYTES_OF_FEW = 512 << 10;
    private static final long MOST_BYTES_OF_SOME = 256 << 10;
    private static final long MOST_BYTES = 128 << 10;

    private final RankLinks links;
    private final @Nullable PeerSums peers;
    private final long mostBytes;

    /// @param context the rank's, current on this thread
    /// @param columns of the rows that are added up
    public RankSums(Context context, RankLinks links, int columns, Map<String, String> environment) {
        this.links = links;
        this.peers = links.inbox() == null ? null : new PeerSums(context, links.inbox(), columns, environment);
        this.mostBytes = mostBytes(links.ranks(), links.nccl() != null, peers != null);
    }

    /// Most bytes of an array that the kernels are given.
    static long mostBytes(int ranks, boolean hasNccl, boolean hasPeers) {
        if (!hasPeers) {
            return 0;
        }
        if (!hasNccl) {
            return Long.MAX_VALUE;
        }
        return ranks <= FEW_RANKS ? MOST_BYTES_OF_FEW : ranks <= SOME_RANKS ? MOST_BYTES_OF_SOME : MOST_BYTES;
    }

    private static <T> T present(@Nullable T way) {
        if (way == null) {
            throw new TensorException("the ranks have no such connection");
        }
        return way;
    }

    /// Launches every kernel with nothing to do.
    public void launchEmpty(CudaOps ops) {
        if (peers != null) {
            peers.launchEmpty(ops.stream());
        }
    }

    /// Whether rows are added up by [#allReduceAddRmsNorm], not by [#allReduce].
    public boolean isFused(int rows, int columns) {
        return (long) rows * columns * Short.BYTES <= mostBytes;
    }

    /// Sums bf16 numbers of all ranks, in place, over NCCL.
    public void allReduce(CudaOps ops, long address, long count) {
        Communicator nccl = present(links.nccl());
        nccl.allReduce(ops.stream(), address, count);
    }

    /// `residual += sum of all ranks' delta`, each rounded, then the normalisation of that into `out`.
    public void allReduceAddRmsNorm(
            CudaOps ops, long delta, long residual, long weight, long out, int rows, int columns, float epsilon) {
        present(peers).allReduceAddRmsNorm(ops.stream(), delta, residual, weight, out, rows, columns, epsilon);
    }

    /// Makes whole rows of what each rank has of them.
    ///
    /// @param parts f32 `(ranks, rows, columns)`, of which this rank's is there
    /// @param out f32 `(rows, ranks, columns)`
    public void allGather(CudaOps ops, long parts, long out, int rows, int columns) {
        long bytes = (long) rows * columns * Float.BYTES;
        long own = parts + links.rank() * bytes;
        if (bytes <= mostBytes) {
            present(peers).allGather(ops.stream(), own, out, rows, columns);
        } else {
            present(links.nccl()).allGather(ops.stream(), own, parts, bytes);
            ops.joinRanks(parts, out, links.ranks(), rows, columns);
        }
    }

    @Override
    public void close() {
        if (peers != null) {
            peers.close();
        }
    }
}
