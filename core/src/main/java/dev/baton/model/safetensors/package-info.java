/// Reads checkpoints in the safetensors format through a memory map, whole or in shards, and names everything
/// that is wrong with one.
///
/// May depend on: `model`, `tensor`.
@NullMarked
package dev.baton.model.safetensors;

import org.jspecify.annotations.NullMarked;
