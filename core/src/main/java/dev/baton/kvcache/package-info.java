/// The paged KV cache's bookkeeping: which block belongs to whom, which is free, which prefix is already there.
/// Does no I/O.
///
/// May depend on: no other room.
@NullMarked
package dev.baton.kvcache;

import org.jspecify.annotations.NullMarked;
