/// The connector built in: a decoder pulls the blocks that it misses over TCP, each one checksummed, straight
/// from and into the off-heap pools.
///
/// May depend on: `transfer`, `kvcache`, `tensor`, `wire`, `metrics`.
@NullMarked
package dev.baton.transfer.tcp;

import org.jspecify.annotations.NullMarked;
