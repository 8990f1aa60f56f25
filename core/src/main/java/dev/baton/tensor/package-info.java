/// Tensors in off-heap memory and the operations on them: the only room that knows how numbers are laid out and
/// summed.
///
/// May depend on: no other room.
@NullMarked
package dev.baton.tensor;

import org.jspecify.annotations.NullMarked;
