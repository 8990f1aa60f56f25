package dev.baton.tokenizer.jinja;

import java.util.List;

/// What `dict.keys()`, `dict.values()` and `dict.items()` give: it can be counted and walked, not indexed.
record DictView(String kind, List<Object> items) {}
