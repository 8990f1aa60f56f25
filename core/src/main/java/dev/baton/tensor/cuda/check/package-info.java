/// Looks whether a GPU computes what the CPU computes, on fresh random numbers: every kernel, called as a model
/// calls it.
///
/// May depend on: `tensor`, `tensor.cpu`, `tensor.cuda`.
@NullMarked
package dev.baton.tensor.cuda.check;

import org.jspecify.annotations.NullMarked;
