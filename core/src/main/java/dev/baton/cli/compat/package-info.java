/// Other projects' proxies by their file names: one class each takes exactly that proxy's flags, with its defaults,
/// and says which router stands in for it.
///
/// May depend on: what `cli` may.
@NullMarked
package dev.baton.cli.compat;

import org.jspecify.annotations.NullMarked;
