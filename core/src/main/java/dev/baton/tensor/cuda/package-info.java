/// The operations of a transformer step on an NVIDIA GPU, in bf16 with sums in f32: kernels that are compiled
/// for the device when the program starts, and cuBLASLt for the matrix products. Nothing of CUDA is loaded
/// before [dev.baton.tensor.cuda.owned.Context#open] is called, and nothing but the driver and CUDA's libraries
/// has to be there.
///
/// `raw` are CUDA's functions, `checked` adds exceptions, `owned` adds owners. This package alone knows what a
/// kernel takes.
///
/// May depend on: `tensor`.
@NullMarked
package dev.baton.tensor.cuda;

import org.jspecify.annotations.NullMarked;
