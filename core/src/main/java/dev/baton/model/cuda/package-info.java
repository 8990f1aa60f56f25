/// The decoder of [dev.baton.model.decoder.DecoderSpec] on one NVIDIA GPU: weights in bf16 in its memory, a
/// decode step as one graph, prompts in chunks.
///
/// May depend on: `model`, `model.decoder`, `tensor`.
@NullMarked
package dev.baton.model.cuda;

import org.jspecify.annotations.NullMarked;
