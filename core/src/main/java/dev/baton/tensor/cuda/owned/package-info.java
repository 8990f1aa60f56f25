/// CUDA's things with one owner each and an end: contexts, memory, streams, events, kernels, graphs, products.
///
/// Whatever belongs to a context is used on a thread on which [dev.baton.tensor.cuda.owned.Context#makeCurrent] was
/// called, and closed before it.
///
/// May depend on: `tensor`, `tensor.cuda.checked`.
@NullMarked
package dev.baton.tensor.cuda.owned;

import org.jspecify.annotations.NullMarked;
