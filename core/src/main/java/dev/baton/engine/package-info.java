/// The engine: continuous batching over a paged KV cache on one thread. Knows neither HTTP nor JSON nor OpenAI.
///
/// May depend on: `kvcache`, `transfer`, `model`, `tensor`, `metrics`.
@NullMarked
package dev.baton.engine;

import org.jspecify.annotations.NullMarked;
