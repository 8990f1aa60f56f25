/// One instance's OpenAI server: requests in, engine requests out, tokens back as text, whole or as a stream.
///
/// May depend on: `engine`, `transfer` (its records only), `grammar`, `openai`, `http`, `tokenizer`, `metrics`.
@NullMarked
package dev.baton.serving;

import org.jspecify.annotations.NullMarked;
