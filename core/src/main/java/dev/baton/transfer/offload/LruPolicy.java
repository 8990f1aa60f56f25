package dev.baton.transfer.offload;

import dev.baton.kvcache.BlockHash;
import java.util.LinkedHashSet;
import java.util.Optional;
import java.util.function.Predicate;

/// The block that nobody has asked for the longest goes first.
final class LruPolicy implements EvictionPolicy {
    private final LinkedHashSet<BlockHash> order = new LinkedHashSet<>();

    @Override
    public void touch(BlockHash block) {
        if (order.remove(block)) {
            order.addLast(block);
        }
    }

    @Override
    public void admit(BlockHash block) {
        order.addLast(block);
    }

    @Override
    public Optional<BlockHash> evict(Predicate<BlockHash> evictable) {
        Optional<BlockHash> oldest = order.stream().filter(evictable).findFirst();
        oldest.ifPresent(order::remove);
        return oldest;
    }

    @Override
    public void remove(BlockHash block) {
        order.remove(block);
    }
}
