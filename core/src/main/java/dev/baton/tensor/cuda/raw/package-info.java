/// CUDA's C functions as Java methods with exactly their types, each giving back the library's own status.
/// Nothing is loaded before a class of this package is made.
///
/// Host memory is a [java.lang.foreign.MemorySegment]; device memory and the libraries' handles are `long`.
///
/// May depend on: `tensor`.
@NullMarked
package dev.baton.tensor.cuda.raw;

import org.jspecify.annotations.NullMarked;
