package dev.baton.tokenizer.jinja;

/// Python's `None`, so that no value inside the interpreter is `null`.
enum None {
    NONE
}
