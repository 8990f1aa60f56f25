/// Moves KV blocks between instances: what a hand-off is, who may read until when, and the connectors that
/// carry the bytes. Never frees a block.
///
/// May depend on: `kvcache`, `tensor`, `wire`, `metrics`.
@NullMarked
package dev.baton.transfer;

import org.jspecify.annotations.NullMarked;
