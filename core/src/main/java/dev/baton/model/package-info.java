/// Model architectures: reads a Hugging Face folder and runs one step of a causal language model over a paged KV
/// cache.
///
/// May depend on: `tensor`.
@NullMarked
package dev.baton.model;

import org.jspecify.annotations.NullMarked;
