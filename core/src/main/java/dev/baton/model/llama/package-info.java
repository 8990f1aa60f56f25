/// The Llama architecture (`LlamaForCausalLM`).
///
/// May depend on: `model`, `tensor`.
@NullMarked
package dev.baton.model.llama;

import org.jspecify.annotations.NullMarked;
