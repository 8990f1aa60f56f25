/// The decoder that all families share (`Decoder`), and the little that one family's differs in from another's
/// (`DecoderSpec`).
///
/// May depend on: `model`, `tensor`.
@NullMarked
package dev.baton.model.decoder;

import org.jspecify.annotations.NullMarked;
