/// The connector that speaks vLLM's NIXL protocol over the real NIXL library: Batons and unmodified vLLM engines
/// take KV blocks from each other. `docs/nixl-connector.md` describes it.
///
/// May depend on: `kvcache`, `tensor`, `wire`, `metrics`.
@NullMarked
package dev.baton.transfer.nixl;

import org.jspecify.annotations.NullMarked;
