/// CUDA's functions with failures as exceptions: what was being done, and the library's name for what went wrong.
///
/// May depend on: `tensor`, `tensor.cuda.raw`.
@NullMarked
package dev.baton.tensor.cuda.checked;

import org.jspecify.annotations.NullMarked;
