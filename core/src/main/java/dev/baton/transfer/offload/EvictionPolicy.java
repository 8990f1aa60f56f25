package dev.baton.transfer.offload;

import dev.baton.kvcache.BlockHash;
import java.util.Optional;
import java.util.function.Predicate;

/// Which block makes room for another. Not thread-safe.
interface EvictionPolicy {
    /// Makes the policy that `eviction_policy` names.
    ///
    /// @param capacity blocks that there is room for
    /// @return empty if there is none of that name
    static Optional<EvictionPolicy> of(String name, int capacity) {
        return switch (name) {
            case "lru" -> Optional.of(new LruPolicy());
            case "arc" -> Optional.of(new ArcPolicy(capacity));
            default -> Optional.empty();
        };
    }

    /// A block that is here was asked for.
    void touch(BlockHash block);

    /// A block comes in. To be called before [#evict], so that the policy knows for whom room is made.
    void admit(BlockHash block);

    /// The block that goes next, and forgets it.
    ///
    /// @param evictable whether a block may go now
    /// @return empty if none may
    Optional<BlockHash> evict(Predicate<BlockHash> evictable);

    /// A block is gone for another reason.
    void remove(BlockHash block);
}
