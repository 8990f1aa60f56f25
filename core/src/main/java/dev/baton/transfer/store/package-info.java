/// What connectors have in common that keep single blocks elsewhere, under names that say what their tokens are:
/// which blocks are loaded and saved, when, on which threads, and who may still touch them. Where the blocks are
/// kept is a [dev.baton.transfer.store.BlockStore].
///
/// May depend on: `transfer`, `kvcache`, `tensor`.
@NullMarked
package dev.baton.transfer.store;

import org.jspecify.annotations.NullMarked;
