/// Text to token ids and back, and conversations to prompts: what a Hugging Face model folder says in
/// `tokenizer.json`, `tokenizer_config.json` and `chat_template.jinja`.
///
/// Start at [dev.baton.tokenizer.Tokenizer]. Depends on no other room.
@NullMarked
package dev.baton.tokenizer;

import org.jspecify.annotations.NullMarked;
