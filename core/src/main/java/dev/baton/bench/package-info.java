/// Load generator: measures a serving deployment as `vllm bench serve` does, and reports in its form.
///
/// May depend on: `openai`, `http`, `tokenizer`. With `cli` the only room that writes to standard output.
@NullMarked
package dev.baton.bench;

import org.jspecify.annotations.NullMarked;
