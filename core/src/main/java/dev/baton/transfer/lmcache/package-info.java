/// The connector of LMCache's chunks: keys and values of a prompt are kept in pieces of 256 tokens, named by
/// what the tokens are, in memory, on disk and on servers that other engines share. `docs/lmcache-connector.md`
/// describes it.
///
/// May depend on: `transfer`, `transfer.tcp`, `transfer.mooncakestore`, `wire`, `kvcache`, `tensor`.
@NullMarked
package dev.baton.transfer.lmcache;

import org.jspecify.annotations.NullMarked;
