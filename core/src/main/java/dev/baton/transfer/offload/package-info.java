/// Blocks that outlive the pool: what is computed is kept in memory and in files, and comes back as hits of the
/// prefix cache. vLLM's `OffloadingConnector`.
///
/// May depend on: `transfer`, `kvcache`, `tensor`, `metrics`.
@NullMarked
package dev.baton.transfer.offload;

import org.jspecify.annotations.NullMarked;
