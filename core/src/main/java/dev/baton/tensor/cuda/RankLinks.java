package dev.baton.tensor.cuda;

import dev.baton.tensor.TensorException;
import dev.baton.tensor.cuda.owned.Communicator;
import dev.baton.tensor.cuda.owned.Context;
import dev.baton.tensor.cuda.owned.PeerInbox;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// What connects a rank with the others: NCCL, each other's memory, or both. NCCL takes no two ranks on one GPU,
/// and memory is reached by each GPU of a host or not, depending on how they are wired.
///
/// Used from one thread at a time; [#abort] comes from any.
///
/// @param nccl null where ranks share a GPU
/// @param inbox null where GPUs cannot reach each other's memory, or are not to
public record RankLinks(
        int rank,
        int ranks,
        @Nullable Communicator nccl,
        @Nullable PeerInbox inbox) implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(RankLinks.class);

    /// Connects ranks; waits until they are. The last one's context is current afterwards.
    ///
    /// @param contexts by rank
    /// @param columns of the rows that are added up
    /// @param isNcclAlone whether GPUs are not to write to each other's memory by kernels of this program
    /// @throws TensorException if there is no way
    public static List<RankLinks> connect(
            List<Context> contexts, int columns, boolean isNcclAlone, Map<String, String> environment) {
        boolean areShared = PeerInbox.areShared(contexts);
        Optional<String> missing = PeerInbox.missing(contexts);
        refuse(areShared, isNcclAlone, missing);
        if (!isNcclAlone) {
            missing.ifPresent(why -> LOG.info("All sums between the GPUs go over NCCL: {}", why));
        }
        List<Communicator> communicators = areShared ? List.of() : Communicator.connect(contexts, environment);
        try {
            List<PeerInbox> inboxes =
                    isNcclAlone || missing.isPresent() ? List.of() : PeerSums.connect(contexts, columns);
            List<RankLinks> links = new ArrayList<>();
            for (int rank = 0; rank < contexts.size(); rank++) {
                links.add(new RankLinks(
                        rank,
                        contexts.size(),
                        communicators.isEmpty() ? null : communicators.get(rank),
                        inboxes.isEmpty() ? null : inboxes.get(rank)));
            }
            return links;
        } catch (RuntimeException | Error e) {
            communicators.forEach(Communicator::abort);
            throw e;
        }
    }

    /// @throws TensorException if ranks on one GPU are to add up as they cannot
    static void refuse(boolean areShared, boolean isNcclAlone, Optional<String> missing) {
        if (areShared && isNcclAlone) {
            throw new TensorException("two ranks are on one GPU, which NCCL cannot do: give each a GPU of its own"
                    + " (--devices), or leave out --disable-custom-all-reduce");
        }
        if (areShared && missing.isPresent()) {
            throw new TensorException("two ranks are on one GPU, which NCCL cannot do, and " + missing.orElseThrow()
                    + ": give each a GPU of its own (--devices)");
        }
    }

    /// How the ranks add up, for people.
    public String description() {
        String over = nccl == null ? "" : "NCCL " + nccl.version();
        return inbox == null ? over : over.isEmpty() ? "peer memory" : "peer memory and " + over;
    }

    /// Whether something has failed, so that nothing can be added up any more.
    public boolean hasEnded() {
        return (nccl != null && nccl.hasEnded()) || (inbox != null && inbox.hasEnded());
    }

    /// Looks whether what was added up so far is worth anything, once the stream's work is done.
    ///
    /// @throws TensorException if it is not
    public void check() {
        if (inbox != null) {
            inbox.check();
        }
    }

    /// Ends whatever waits for another rank.
    public void abort() {
        if (inbox != null) {
            inbox.abort();
        }
        if (nccl != null) {
            nccl.abort();
        }
    }

    /// In the rank's context, after the graphs that they are in, once no rank's kernels run any more.
    @Override
    public void close() {
        if (inbox != null) {
            inbox.close();
        }
        if (nccl != null) {
            nccl.close();
        }
    }
}
