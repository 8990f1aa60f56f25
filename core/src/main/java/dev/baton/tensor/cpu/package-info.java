/// The operations of a transformer step on the CPU, on f32 activations: a scalar reference and Vector API
/// versions that give the same bits, and the small thread pool that both run on.
///
/// Every result is defined as one sequence of IEEE f32 operations per output element, which depends on the
/// element's inputs alone: never on how many rows are computed together, on tiles, threads or the width of the
/// vectors. A sum of products is a chain of fused multiply-adds in index order; a plain sum is sixteen partial
/// sums (index modulo 16) and a fixed tree over them ([dev.baton.tensor.cpu.Sums]).
///
/// May depend on: `tensor`.
@NullMarked
package dev.baton.tensor.cpu;

import org.jspecify.annotations.NullMarked;
