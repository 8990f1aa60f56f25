package dev.baton.tokenizer.jinja;

import java.util.List;

/// What `range(...)` gives: a sequence of integers that is not a list.
record Range(List<Object> items) {}
