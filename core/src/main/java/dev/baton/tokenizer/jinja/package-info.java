/// An interpreter for the part of Jinja that chat templates use, with the settings that `transformers` compiles
/// them with: `trim_blocks`, `lstrip_blocks`, loop controls, no escaping, nothing mutable.
///
/// Text goes through [dev.baton.tokenizer.jinja.Lexer] and [dev.baton.tokenizer.jinja.Parser] to a tree
/// ([dev.baton.tokenizer.jinja.Statement], [dev.baton.tokenizer.jinja.Expression]), which
/// [dev.baton.tokenizer.jinja.Evaluator] walks. Values behave as Python's do, see
/// [dev.baton.tokenizer.jinja.Values].
/// Whatever is not covered fails by name; nothing is skipped silently. Depends on nothing.
@NullMarked
package dev.baton.tokenizer.jinja;

import org.jspecify.annotations.NullMarked;
