package dev.baton.transfer.offload;

import dev.baton.kvcache.BlockHash;
import java.util.LinkedHashSet;
import java.util.Optional;
import java.util.SequencedSet;
import java.util.function.Predicate;

/// The adaptive replacement cache (N. Megiddo, D. S. Modha, FAST 2003): blocks that were asked for once and
/// blocks that were asked for again have a share each, and what was evicted lately tells which share was too
/// small. A scan of prompts that never come back does not push out those that do.
final class ArcPolicy implements EvictionPolicy {
    private final int capacity;
    private final LinkedHashSet<BlockHash> once = new LinkedHashSet<>();
    private final LinkedHashSet<BlockHash> often = new LinkedHashSet<>();
    private final LinkedHashSet<BlockHash> goneOnce = new LinkedHashSet<>();
    private final LinkedHashSet<BlockHash> goneOften = new LinkedHashSet<>();
    /// The share of `once`.
    private int target;
    /// Whether the block that was admitted last had been evicted from `often`.
    private boolean returnsToOften;

    ArcPolicy(int capacity) {
        this.capacity = capacity;
    }

    @Override
    public void touch(BlockHash block) {
        if (once.remove(block) || often.remove(block)) {
            often.addLast(block);
        }
    }

    @Override
    public void admit(BlockHash block) {
        returnsToOften = false;
        if (goneOnce.contains(block)) {
            target = Math.min(capacity, target + Math.max(1, goneOften.size() / goneOnce.size()));
            goneOnce.remove(block);
            often.addLast(block);
        } else if (goneOften.contains(block)) {
            target = Math.max(0, target - Math.max(1, goneOnce.size() / goneOften.size()));
            goneOften.remove(block);
            often.addLast(block);
            returnsToOften = true;
        } else {
            once.addLast(block);
        }
        trim(goneOnce, capacity - Math.min(capacity, once.size()));
        trim(goneOften, 2 * capacity - once.size() - often.size() - goneOnce.size());
    }

    private static void trim(SequencedSet<BlockHash> ghosts, int most) {
        while (ghosts.size() > Math.max(0, most)) {
            ghosts.removeFirst();
        }
    }

    @Override
    public Optional<BlockHash> evict(Predicate<BlockHash> evictable) {
        boolean fromOnce = !once.isEmpty()
                && (once.size() > target || (returnsToOften && once.size() == target) || often.isEmpty());
        Optional<BlockHash> gone = fromOnce ? evict(once, goneOnce, evictable) : evict(often, goneOften, evictable);
        return gone.or(() -> fromOnce ? evict(often, goneOften, evictable) : evict(once, goneOnce, evictable));
    }

    private static Optional<BlockHash> evict(
            SequencedSet<BlockHash> from, SequencedSet<BlockHash> ghosts, Predicate<BlockHash> evictable) {
        Optional<BlockHash> oldest = from.stream().filter(evictable).findFirst();
        oldest.ifPresent(block -> {
            from.remove(block);
            ghosts.addLast(block);
        });
        return oldest;
    }

    @Override
    public void remove(BlockHash block) {
        if (!once.remove(block)) {
            often.remove(block);
        }
    }
}
