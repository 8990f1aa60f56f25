/// Tool calls in a model's output: one incremental parser for each format, and the registry of their names
/// (`--tool-call-parser`).
///
/// Start at [dev.baton.serving.tools.ToolParsers]. Pure functions over text. May depend on: `openai` (its records),
/// `http` (JSON).
@NullMarked
package dev.baton.serving.tools;

import org.jspecify.annotations.NullMarked;
